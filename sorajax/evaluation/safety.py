"""How often the filters and the watermark err, and how long they and the signature take."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
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
HARMLESS = "ok"
CLIP = (17, 64, 64, 3)


def measure(options: Safety) -> Measured:
    """Measures what is asked for, and prints the tables."""
    parts = [PARTS[name](options) for name in dict.fromkeys(options.part)]
    figures = {name: value for part in parts for name, value in part.figures.items()}
    tables = {name: text for part in parts for name, text in part.tables.items()}
    print(*tables.values(), sep="\n")
    weights = next((part.weights for part in parts if part.weights != NO_WEIGHTS), NO_WEIGHTS)
    return Measured(figures, tables, "; ".join(part.settings for part in parts), weights)


def filters(options: Safety) -> Measured:
    """Reads the list, filters it and captions of the world, and times the parts."""
    lines = read_lines(options.list)
    captions = corpus(np.random.default_rng(options.seed), options.num)
    alarms = sum(category_of(text) is not None for text in captions)
    by_language = {name: rates([one for one in lines if one[0] == name]) for name in unique(lines, 0)}
    by_category = {name: rates([one for one in lines if one[1] == name]) for name in CATEGORIES}
    milliseconds = times([text for _, _, text in lines])
    tables = {
        "safety-languages": table(
            ("language", "recall", "false alarms"),
            [(name, share(*found["recall"]), share(*found["alarms"])) for name, found in by_language.items()],
        ),
        "safety-categories": table(
            ("category", "recall"), [(CATEGORIES[name], share(*found["recall"])) for name, found in by_category.items()]
        ),
        "safety-times": table(
            ("part", "measured", "bar"),
            [
                ("false alarms of the prompt filter on captions of the world", share(alarms, len(captions)), "-"),
                ("the prompt filter, per prompt", f"{milliseconds['prompt']:.2f} ms", "at most 5 ms"),
                ("signing an mp4 of 17 frames of 64x64", f"{milliseconds['sign']:.1f} ms", "at most 50 ms"),
                ("the frame filter, per frame", f"{milliseconds['frame']:.0f} ms", "-"),
            ],
        ),
    }
    figures: dict[str, Any] = {"languages": by_language, "categories": by_category, "milliseconds": milliseconds}
    figures["world"] = [alarms, len(captions)]
    return Measured(figures, tables, f"{len(lines)} lines, {len(captions)} captions, seed {options.seed}")


PARTS: dict[str, Callable[[Safety], Measured]] = {
    "filters": filters,
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


def unique(lines: Sequence[Line], column: int) -> list[str]:
    """The values of a column, in order."""
    return list(dict.fromkeys(line[column] for line in lines))


def rates(lines: Sequence[Line]) -> dict[str, tuple[int, int]]:
    """Of the lines to refuse how many are refused, and of the harmless ones how many: each with their number."""
    found = [(kind != HARMLESS, category_of(text) is not None) for _, kind, text in lines]
    recall = [refused for harmful, refused in found if harmful]
    alarms = [refused for harmful, refused in found if not harmful]
    return {"recall": (sum(recall), len(recall)), "alarms": (sum(alarms), len(alarms))}


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
