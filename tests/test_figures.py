"""Figures in pages are those of the shipped weights, say how they were measured, and are the same on every page."""

from itertools import combinations
from typing import Any

import pytest

from sorajax.evaluation.benchmark_options import SAMPLED, Benchmark
from sorajax.evaluation.markdown import MARK, OPEN, blocks, fingerprint, weights_of
from sorajax.evaluation.options import (
    Agent,
    Caching,
    Captions,
    Compare,
    Craftax,
    Instrument,
    Play,
    Readers,
    Reconstruction,
    Safety,
    Spread,
    Tasks,
    World,
)
from sorajax.language.captioner import LANGUAGE
from sorajax.models.folder import PLAY, WORLD, WORLD_FAST
from sorajax.safety.watermark import WEIGHTS
from tests import ROOT

CARDS = [folder / "MODEL_CARD.md" for folder in (WORLD, WORLD_FAST)]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *CARDS]
TABLES = [(str(page.relative_to(ROOT)), name) for page in PAGES for name in blocks(page.read_text())]
EXPERIMENTS = ("configs/world_encoder.py",)
"""Whose benchmark has a table."""
MARKS = Safety(part=("watermark", "alarms")).tables
"""Measured with the watermark's weights."""
COMPARED = ("captions-value", "distill-targets-4", "distill-targets-2", "distill-targets-1")
NOT_SHIPPED = ("craftax", *COMPARED)
"""Of models that are not in the package; the pages say how to train them."""


def known(name: str, block: str = "") -> bool:
    """Whether a command writes a table of this name."""
    words = name.split("-")
    if words[:2] == ["tasks", "fast"]:
        return name in Tasks("world-fast", rows=tuple(words[2:])).tables
    if words[0] == "tasks":
        return name in Tasks(rows=tuple(words[1:])).tables
    if words[0] == "plan":  # as `sorajax.plan --markdown` names it; its text is what is printed
        return "```text" in block
    if words[0] == "reference":
        return name in Benchmark("reference", part=tuple(words[1:])).tables  # type: ignore[arg-type]
    if words[0] == "caching":
        return name in Caching(steps=int(words[1]) if len(words) > 1 else None).tables
    if "readers" in words:
        width, height, frames = map(int, words[-1].split("x")) if "x" in words[-1] else (64, 64, 17)
        models = ("world", "world-fast")
        return any(name in Readers(model=model, size=(width, height), frames=frames).tables for model in models)
    commands: list[Any] = [World(), World(model="world-fast"), Reconstruction(), Instrument(), Safety(), Captions()]
    commands += [Play(), Agent(), Craftax(), Spread(), Spread("world-fast"), Safety(part=("unseen",))]
    commands += [Benchmark(program) for program in ("clip", "cost", "films", "serve", EXPERIMENTS[0])]
    commands += [Benchmark(program, model="world-fast") for program in SAMPLED]
    commands += [Benchmark(EXPERIMENTS[0], remat=True), *(Compare((), table=name) for name in COMPARED)]
    return any(name in command.tables for command in commands)


def expected(name: str) -> str:
    """What a table's line says of the weights."""
    if name in MARKS:
        return fingerprint(WEIGHTS)
    if name == "instrument" or name.startswith(("plan-", "safety-")):
        return "none"
    if name in Captions().tables:
        return fingerprint(LANGUAGE)
    if name.startswith(("world-fast", "tasks-fast")) or name.endswith("-fast"):
        return fingerprint(WORLD_FAST)
    if name in ("play", "agent"):
        return fingerprint(PLAY)
    return "random" if name.split("-")[0] in ("reference", "remat", "streamed") else fingerprint(WORLD)


def rows(block: str) -> list[list[str]]:
    """The cells of each row."""
    lines = [line for line in block.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def figures(name: str, block: str) -> dict[tuple[str, ...], str]:
    """Values of a table by what they are, under the same key in each table that has them."""
    cells = rows(block)
    if name in ("world", "world-short"):
        splits = ("seen", "held out")
        return {(row[0], split): row[1 + i].split(" (")[0] for row in cells[1:] for i, split in enumerate(splits)}
    if name in ("reconstruction", "reconstruction-short"):
        return {("PSNR",): next(row[1] for row in cells if row[0] in ("PSNR", "all kinds"))}
    return {(name, str(number), str(place)): cell for number, row in enumerate(cells) for place, cell in enumerate(row)}


def differing(tables: dict[tuple[str, str], str]) -> list[str]:
    """Figures that two tables give differently; `tables` by page and name."""
    found = []
    for (one, first), (two, second) in combinations(tables.items(), 2):
        ours, theirs = figures(one[1], first), figures(two[1], second)
        found += [
            f"{key}: {one} {ours[key]}, {two} {theirs[key]}"
            for key in ours.keys() & theirs.keys()
            if ours[key] != theirs[key]
        ]
    return found


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_figures_are_those_of_the_shipped_weights(page, name):
    said = weights_of(blocks((ROOT / page).read_text())[name])
    assert said is not None, f"{page}: {name} does not say how it was measured: write it with --markdown"
    assert name in NOT_SHIPPED or said == expected(name), (
        f"{page}: {name} was measured with other weights: measure it anew"
    )


def test_pages_state_equal_figures():
    assert not differing({(page, name): blocks((ROOT / page).read_text())[name] for page, name in TABLES})


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_a_command_writes_each_table(page, name):
    block = blocks((ROOT / page).read_text())[name]
    assert known(name, block)
    assert rows(block) or name.startswith("plan-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_mark_has_an_end(page):
    text = page.read_text()
    assert OPEN.findall(text) == [found["name"] for found in MARK.finditer(text)]
    assert text.count("<!-- end: ") == len(OPEN.findall(text))


def test_tables_that_differ_are_found():
    short = "| read back | seen | held out | bar |\n|---|---|---|---|\n| shape | 94.5% | 91.4% | at least 85% |\n"
    whole = "| attribute | seen | held out |\n|---|---|---|\n| shape | 94.5% (89.1 to 97.3) | 91.4% (85.3 to 95.1) |\n"
    tables = {("a", "world"): whole, ("b", "world-short"): short}
    assert not differing(tables)
    assert len(differing({**tables, ("c", "world-short"): short.replace("91.4", "91.5")})) == 2
    assert figures("reconstruction", "| all kinds | 32.8 dB |\n") == figures(
        "reconstruction-short", "| PSNR | 32.8 dB |"
    )
    assert not known("worlds")
    assert known("world-readers")
    assert known("world-fast-readers-96x96x33")
    assert not known("world-fast-readers-64x64x17")
    assert not known("tasks-two words")


def test_the_line_below_a_table_is_parsed(tmp_path):
    line = "<sub>`python -m sorajax.evaluate world`; seed 0; commit abc1234+; weights 0123456789ab; 2 CPU cores</sub>"
    assert weights_of(f"| a |\n\n{line}\n") == "0123456789ab"
    assert weights_of("| a |\n") is None
    assert weights_of(line.replace("weights ", "")) is None
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert fingerprint(tmp_path) != fingerprint(WORLD)
