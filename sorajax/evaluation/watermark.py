"""How often the watermark is read after a file was changed, how visible it is, and how often it is read where there is
none."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sorajax.data.covers import world_clips
from sorajax.evaluation.markdown import Measured, table
from sorajax.evaluation.options import Safety
from sorajax.media.formats import FILMS
from sorajax.media.frames import Frames
from sorajax.media.recoding import recoded
from sorajax.media.video import Video
from sorajax.safety import watermark
from sorajax.safety.code import CHECK

Change = Callable[[Frames, np.random.Generator], Frames]
SIZES = ((17, 256, 256), (17, 480, 832), (33, 96, 96), (17, 64, 64))
"""Frames, height and width."""
PLAIN = (5, 64, 64)
"""Clips without a mark."""
AT_ONCE = 2**20
"""Pixels that are rendered together."""
KEEP = 2 / 3
"""Share of height and width that a crop keeps."""


def resized(frames: Frames, factor: float) -> Frames:
    """Frames of another size, by bicubic interpolation."""
    from PIL import Image

    h, w = (round(factor * size / 2) * 2 for size in frames.shape[1:3])
    return np.stack([np.asarray(Image.fromarray(one).resize((w, h), Image.Resampling.BICUBIC)) for one in frames])


def cropped(frames: Frames, rng: np.random.Generator) -> Frames:
    """A random part that keeps two thirds of height and width."""
    h, w = (round(KEEP * size / 2) * 2 for size in frames.shape[1:3])
    y, x = (rng.integers(0, size - kept + 1) for size, kept in zip(frames.shape[1:3], (h, w), strict=True))
    return frames[:, y : y + h, x : x + w]


def recoloured(frames: Frames, rng: np.random.Generator) -> Frames:
    """Frames of another brightness, contrast and colour balance."""
    paint = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.85, 1.1) * (frames - 128.0) + 128 + rng.uniform(-12, 12)
    return np.clip(np.rint(paint), 0, 255).astype(np.uint8)


def compressed(frames: Frames) -> Frames:
    """Frames after H.264 at a constant rate factor of 28."""
    return recoded(frames, "libx264", 28)


CHANGES: dict[str, tuple[Change, str]] = {
    "none": (lambda frames, rng: frames, "-"),
    "H.264, CRF 28": (lambda frames, rng: compressed(frames), "at least 99%"),
    "resized to 0.5": (lambda frames, rng: resized(frames, 0.5), "at least 99%"),
    "resized to 2": (lambda frames, rng: resized(frames, 2), "at least 99%"),
    "a crop of two thirds": (cropped, "at least 99%"),
    "all three, with 0.5": (lambda frames, rng: cropped(resized(compressed(frames), 0.5), rng), "at least 99%"),
    "all three, with 2": (lambda frames, rng: cropped(resized(compressed(frames), 2), rng), "at least 99%"),
    "H.265, CRF 28": (lambda frames, rng: recoded(frames, "libx265", 28), "-"),
    "JPEG, quality 60": (lambda frames, rng: recoded(frames, "jpeg", 60), "-"),
    "another colour": (recoloured, "-"),
    "every second frame": (lambda frames, rng: frames[::2], "-"),
}
"""Changes of a clip, and the bar for sizes from 256x256 on."""


BARS = tuple(name for name, (_, bar) in CHANGES.items() if name == "none" or bar != "-")
SMALL = tuple(name for name in CHANGES if name in ("none", "H.264, CRF 28", "H.265, CRF 28", "another colour"))


def world(number: int, size: tuple[int, int, int], seed: int) -> Iterator[Frames]:
    """Clips of the world, of triples that training does not see."""
    at_once = max(1, AT_ONCE // (size[0] * size[1] * size[2]))
    for first in range(0, number, at_once):
        clips = world_clips(np.random.default_rng((seed, first)), at_once, *size, "held_out")
        yield from clips[: number - first]


def windows(folder: Path, size: tuple[int, int, int]) -> Iterator[Frames]:
    """Consecutive windows of the films in a folder, scaled and cut to the size."""
    from PIL import Image

    t, h, w = size
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in FILMS):
        frames = Video.load(path).frames
        factor = max(h / frames.shape[1], w / frames.shape[2])
        width, height = (max(n, round(factor * m)) for n, m in ((w, frames.shape[2]), (h, frames.shape[1])))
        y, x = (height - h) // 2, (width - w) // 2
        for start in range(0, len(frames) - t + 1, t):
            part = [Image.fromarray(one).resize((width, height)) for one in frames[start : start + t]]
            yield np.stack([np.asarray(one)[y : y + h, x : x + w] for one in part])


def psnr(before: Frames, after: Frames) -> float:
    """Peak signal-to-noise ratio of a clip, in decibels."""
    error = np.mean(np.square(after.astype(np.float32) - before))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def readings(clips: Iterator[Frames], seed: int, changes: Sequence[str]) -> dict[str, Any]:
    """Readings of marked and changed clips: how many are right, how many give another identifier, and the clips'
    PSNR."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {"clips": 0, "psnr": [], "wrong": 0, "read": dict.fromkeys(changes, 0)}
    for frames in clips:
        identifier = int(rng.integers(2**32))
        marked = watermark.embed(frames, identifier)
        found["clips"] += 1
        found["psnr"].append(round(psnr(frames, marked), 3))
        for name in changes:
            read = watermark.read(CHANGES[name][0](marked, rng))
            found["read"][name] += read[:1] == (identifier,)
            found["wrong"] += any(one != identifier for one in read)
    return found


def sources(options: Safety) -> Iterator[tuple[str, Iterator[Frames], tuple[str, ...]]]:
    """The clips to mark, by name, with the changes to apply. Small clips are only compressed."""
    for size in SIZES:
        t, h, w = size
        number = max(1, options.clips // (3 if h > 256 else 1))
        changes = tuple(CHANGES) if h == 256 else BARS if h > 256 else SMALL
        yield f"{w}x{h}, {t} frames", world(number, size, options.seed), changes
    if options.films is not None:
        for size in SIZES[:2]:
            chosen = islice(windows(options.films, size), 0, None, 3 if size[1] > 256 else 1)
            yield f"films, {size[2]}x{size[1]}", chosen, BARS


def measure(options: Safety) -> Measured:
    """Measures how often marks are read, and how visible they are."""
    found = {name: readings(clips, options.seed, changes) for name, clips, changes in sources(options)}
    rows = [(change, *(cell(one, change) for one in found.values()), bar) for change, (_, bar) in CHANGES.items()]
    lowest = min(min(one["psnr"]) for one in found.values())
    milliseconds = embedding_time()
    wrong, clips = (sum(one[name] for one in found.values()) for name in ("wrong", "clips"))
    marks = [
        ("lowest PSNR of a marked clip", f"{lowest:.2f} dB", "at least 42 dB"),
        ("marking 17 frames of 64x64", f"{milliseconds:.1f} ms", "at most 20 ms"),
        ("wrong identifiers read", str(wrong), "-"),
    ]
    tables = {
        "safety-watermark": table(("after", *found, "bar from 256x256 on"), rows),
        "safety-marks": table(("watermark", "measured", "bar"), marks),
    }
    figures = {"watermark": found, "embedding_milliseconds": milliseconds}
    return Measured(figures, tables, f"{clips} marked clips, seed {options.seed}", watermark.WEIGHTS)


def cell(found: dict[str, Any], change: str) -> str:
    """How many clips are read after a change."""
    if change not in found["read"]:
        return "-"
    count, total = found["read"][change], found["clips"]
    return f"{100 * count / max(1, total):.1f}% ({count} of {total})"


def measure_alarms(options: Safety) -> Measured:
    """Measures false alarms, on clips of the world and on the films' windows."""
    kinds = {"clips of the world": world(options.num, PLAIN, options.seed)}
    if options.films is not None:
        kinds["windows of films"] = windows(options.films, PLAIN)
    rows, figures = [], {}
    for name, clips in kinds.items():
        alarms = [bool(watermark.read(frames)) for frames in clips]
        figures[name] = [sum(alarms), len(alarms)]
        rows.append((name, f"{sum(alarms)} of {len(alarms)}", "0"))
    rows.append(("bound by the checksum", f"{watermark.ATTEMPTS / 2**CHECK:.1e} of a clip", "1e-6"))
    tables = {"safety-alarms": table(("clips without a watermark", "read as marked", "bar"), rows)}
    return Measured({"alarms": figures}, tables, f"clips of {PLAIN[2]}x{PLAIN[1]}", watermark.WEIGHTS)


def embedding_time(repeats: int = 11) -> float:
    """Milliseconds of computing for 17 frames of 64x64: the median, after a call that is not counted."""
    frames, taken = np.full((17, 64, 64, 3), 90, np.uint8), []
    watermark.embed(frames, 1)
    for _ in range(repeats):
        begun = time.process_time()
        watermark.embed(frames, 1)
        taken.append(1000 * (time.process_time() - begun))
    return median(taken)
