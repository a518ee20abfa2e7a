"""CONTRIBUTING.md says where to change what: its files exist, and they define or use the names beside them."""

import re

import pytest

from tests import ROOT

CHANGES = {
    "the number of layers",
    "a sampler",
    "a task",
    "the autoencoder's stride",
    "a reward",
    "a column of a manifest",
    "the table of a new open model",
    "a mesh axis",
    "an output format",
    "a prompt filter",
}
"""Ten common changes that the table must have."""
ROW = re.compile(r"^\| ((?:a|an|the|how) [^|]+?) \| (.*) \|$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
NAME = re.compile(r"(\w+)(?:\(\.\.\.\))?")


def changes() -> dict[str, list[str]]:
    """What is changed -> the words in backticks of its row."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return {what: SPAN.findall(rest) for what, rest in ROW.findall(text[text.index("## Where to change what") :])}


def located(spans: list[str]) -> tuple[list[str], str]:
    """The files of a row that do not exist, and the text of those that do. A bare file name is in the folder of a path
    before it; a folder stands for all its files."""
    missing, texts, folder = [], [], ROOT
    for span in spans:
        if not re.fullmatch(r"[\w./-]+", span) or not ("/" in span or span.endswith(".py")):
            continue
        path = ROOT / span if "/" in span else folder / span
        files = sorted(path.glob("*.py")) if path.is_dir() else [path]
        missing += [] if path.exists() else [span]
        texts += [file.read_text() for file in files if file.is_file()]
        folder = path if path.is_dir() else path.parent
    return missing, "\n".join(texts)


def absent(spans: list[str]) -> list[str]:
    """Files of a row that do not exist, and names that are in none of its files."""
    missing, text = located(spans)
    names = [match[1] for span in spans if (match := NAME.fullmatch(span))]
    return missing + [name for name in names if not re.search(rf"\b{name}\b", text)]


def test_the_table_has_the_ten_changes():
    assert not CHANGES - changes().keys()


@pytest.mark.parametrize("what", [what for what, spans in changes().items() if any("/" in span for span in spans)])
def test_files_and_names_of_a_change_exist(what):
    assert not absent(changes()[what])


def test_missing_files_and_names_are_found():
    assert absent(["sorajax/diffusion/samplers.py", "SAMPLERS", "flow.py"]) == []
    assert absent(["sorajax/diffusion/samplers.py", "no_such_name", "shard(...)", "gone.py", "sorajax/gone/"]) == [
        "gone.py",
        "sorajax/gone/",
        "no_such_name",
        "shard",
    ]
