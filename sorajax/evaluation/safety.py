"""How often the filters and the watermark err, and how long they and the signature take."""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sorajax.errors import BadRequest
from sorajax.evaluation import watermark
from sorajax.evaluation.markdown import NO_WEIGHTS, Measured, table
from sorajax.evaluation.options import Safety
from sorajax.media.video import Video
from sorajax.safety import provenance
from sorajax.safety.certificates import make_credentials
from sorajax.safety.frames import PER_SECOND, highest, opennsfw
from sorajax.safety.prompts import CATEGORIES, category_of
from sorajax.world.captions import corpus

Line = tuple[str, str, str]
Rates = dict[str, tuple[int, int]]
HARMLESS = "ok"
CLIP = (17, 64, 64, 3)


def measure(options: Safety) -> Measured:
    """Measures the requested parts, and prints the tables."""
    parts = [PARTS[name](options) for name in dict.fromkeys(options.part)]
    figures = {name: value for part in parts for name, value in part.figures.items()}
    tables = {name: text for part in parts for name, text in part.tables.items()}
    print(*tables.values(), sep="\n")
    weights = next((part.weights for part in parts if part.weights != NO_WEIGHTS), NO_WEIGHTS)
    return Measured(figures, tables, "; ".join(part.settings for part in parts), weights)


def filters(options: Safety) -> Measured:
    """Reads the lists, filters them and captions of the world, and times the parts."""
    lists = {path.stem: read_lines(path) for path in options.list}
    lines = [line for one in lists.values() for line in one]
    captions = corpus(np.random.default_rng(options.seed), options.num)
    alarms = sum(category_of(text) is not None for text in captions)
    milliseconds = times([text for _, _, text in lines])
    figures, tables = rates_of(lists, "safety")
    tables["safety-times"] = table(
        ("part", "measured", "bar"),
        [
            ("false alarms of the prompt filter on captions of the world", share(alarms, len(captions)), "-"),
            ("the prompt filter, per prompt", f"{milliseconds['prompt']:.2f} ms", "at most 5 ms"),
            ("signing an mp4 of 17 frames of 64x64", f"{milliseconds['sign']:.1f} ms", "at most 50 ms"),
            ("the frame filter, per frame", f"{milliseconds['frame']:.0f} ms", "-"),
        ],
    )
    figures |= {"milliseconds": milliseconds, "world": [alarms, len(captions)]}
    return Measured(figures, tables, f"{len(lines)} lines, {len(captions)} captions, seed {options.seed}")


def apart(name: str, options: Safety) -> Measured:
    """Filters lists in tables of their own, whose names begin so, that the other parts leave as they are."""
    lists = {path.stem: read_lines(path) for path in options.list}
    figures, tables = rates_of(lists, name)
    return Measured(figures, tables, f"{sum(map(len, lists.values()))} lines")


PARTS: dict[str, Callable[[Safety], Measured]] = {
    "filters": filters,
    "first": partial(apart, "safety-first"),
    "later": partial(apart, "safety-later"),
    "watermark": watermark.measure,
    "alarms": watermark.measure_alarms,
}


def read_lines(path: Path) -> list[Line]:
    """Language, category and text of each line. Raises BadRequest for a file that is no such list."""
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]
    except OSError as error:
        raise BadRequest(f"--list {path} cannot be read ({error.strerror}): name a list of a checkout") from error
    if wrong := next((row for row in rows if len(row) != 3 or row[1] not in (HARMLESS, *CATEGORIES)), None):
        raise BadRequest(
            f"--list {path}: {len(wrong)} columns or another category: write LANGUAGE, CATEGORY or ok, TEXT"
        )
    return [(row[0], row[1], row[2]) for row in rows]


def rates_of(lists: Mapping[str, Sequence[Line]], name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Recall and false alarms of lists by language and by category: as figures, and as tables whose names begin so."""
    languages = {stem: by_language(lines) for stem, lines in lists.items()}
    categories = {stem: by_category(lines) for stem, lines in lists.items()}
    titles = {code: code for found in languages.values() for code in found}
    return {"languages": languages, "categories": categories}, {
        f"{name}-languages": rate_table("language", titles, languages),
        f"{name}-categories": rate_table("category", CATEGORIES, categories),
    }


def rate_table(title: str, rows: Mapping[str, str], found: Mapping[str, Mapping[str, Rates]]) -> str:
    """Recall and false alarms of each list, a row for each language or category."""
    header = [f"{stem}: {rate}" for stem in found for rate in ("recall", "false alarms")]
    none: Rates = {"recall": (0, 0), "alarms": (0, 0)}
    pairs = {key: [one.get(key, none) for one in found.values()] for key in rows}
    return table(
        (title, *header),
        [
            (name, *(share(*rates[rate]) for rates in pairs[key] for rate in ("recall", "alarms")))
            for key, name in rows.items()
        ],
    )


def by_language(lines: Sequence[Line]) -> dict[str, Rates]:
    """By language, how many lines to refuse are refused, and how many harmless ones: each with their number."""
    found: dict[str, Rates] = {}
    for code in dict.fromkeys(language for language, _, _ in lines):
        refused = [(kind, category_of(text) is not None) for language, kind, text in lines if language == code]
        found[code] = {
            "recall": counted(caught for kind, caught in refused if kind != HARMLESS),
            "alarms": counted(caught for kind, caught in refused if kind == HARMLESS),
        }
    return found


def by_category(lines: Sequence[Line]) -> dict[str, Rates]:
    """By category, how many of its lines are refused, and how many harmless lines are refused as it."""
    found = [(kind, category_of(text)) for _, kind, text in lines]
    return {
        name: {
            "recall": counted(category is not None for kind, category in found if kind == name),
            "alarms": counted(category == name for kind, category in found if kind == HARMLESS),
        }
        for name in CATEGORIES
    }


def counted(found: Iterable[bool]) -> tuple[int, int]:
    """How many are true, and how many there are."""
    values = list(found)
    return sum(values), len(values)


def share(count: int, total: int) -> str:
    """A count and its share."""
    return f"{100 * count / max(1, total):.1f}% ({count} of {total})"


def times(texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of computing: the median of each part."""
    frames = np.full(CLIP, 90, np.uint8)
    classify = opennsfw()
    with tempfile.TemporaryDirectory() as folder:
        video = Video(frames, 8.0, {"model": "world"})
        path, signer = video.save(Path(folder) / "clip.mp4"), make_credentials()
        plain = path.read_bytes()

        def sign() -> None:
            path.write_bytes(plain)
            provenance.sign(path, ".mp4", video.metadata, signer)

        found = {
            "prompt": timed(lambda: [category_of.__wrapped__(text) for text in texts]) / len(texts),
            "sign": timed(sign),
        }
    shown = replace(video, frames=frames[:: round(video.fps / PER_SECOND)]).frames
    found["frame"] = float("nan") if classify is None else timed(lambda: highest(classify, shown)) / len(shown)
    return found


def timed(work: Callable[[], Any], repeats: int = 11) -> float:
    """The median time of computing of some calls, in milliseconds, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - begun))
    return median(taken)
