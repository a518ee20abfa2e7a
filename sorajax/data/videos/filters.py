"""What of a video is worth training on: where its shots end, and why a clip is left out.

Every number is measured on a few small frames of the clip. Shots come from PySceneDetect, perceptual hashes from
ImageHash (the DCT hash of Zauner 2010), and what looks like writing is found by OpenCV's morphology.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from sorajax.data.videos.listing import opened

SAMPLED = 5  # frames of a clip that are looked at
HASHED = (0, 2, 4)  # of those, in the perceptual hash
BITS = 64 * len(HASHED)


@dataclass(frozen=True)
class Filters:
    """Limits beyond which a clip is rejected."""

    dark: float = 0.05
    """Least mean brightness, of 1."""
    static: float = 0.03
    """Least change between sampled frames, of 1, in the sixty-fourth of the picture that changes most."""
    duplicate: int = 6
    """Of the 192 bits of two clips' perceptual hashes, those that may differ in duplicates; -1 keeps duplicates."""
    text: float = 1.0
    """Most of the picture that writing may cover, of 1; 1 does not look for it."""
    cuts: float = 3.0
    """How many times more than its neighbours a frame must change to begin a shot (PySceneDetect's adaptive
    threshold); 0 takes every video as one shot."""

    def __post_init__(self) -> None:
        for name in ("dark", "static", "text"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"filters.{name} is {getattr(self, name)}: it must be in [0, 1]")
        if not -1 <= self.duplicate < BITS or self.cuts < 0:
            raise ValueError(f"filters.duplicate must be in [-1, {BITS}) and filters.cuts 0 or more")


def shots(path: str, start: float, end: float, threshold: float) -> list[tuple[float, float]]:
    """The shots between two moments of a video, seconds. Raises BrokenVideo's causes as they come."""
    if threshold == 0:
        return [(start, end)]
    import cv2
    from scenedetect import AdaptiveDetector, SceneManager
    from scenedetect.backends.pyav import VideoStreamAv

    class OneSize(VideoStreamAv):
        """Makes all frames as large as the first: those of another size are not looked at."""

        size: tuple[int, int] | None = None

        def read(self, decode: bool = True) -> np.ndarray | bool:
            pixels = super().read(decode)
            if not isinstance(pixels, np.ndarray):
                return pixels
            self.size = self.size or (pixels.shape[1], pixels.shape[0])
            same = pixels.shape[1::-1] == self.size
            return pixels if same else cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA)

    with opened(path) as file:
        stream = OneSize(file, suppress_output=True)
        if start > 0:
            stream.seek(start)
        manager = SceneManager()
        manager.add_detector(AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=4))
        manager.detect_scenes(stream, end_time=end)
        found = [(a.seconds, b.seconds) for a, b in manager.get_scene_list()]
    if len(found) < 2:
        return [(start, end)]
    return [(max(a, start), min(b, end)) for a, b in found[:-1]] + [(found[-1][0], end)]


@dataclass(frozen=True)
class Looks:
    """What a clip measures: brightness and change in [0, 1], its perceptual hash, the share covered by writing."""

    brightness: float
    change: float
    fingerprint: int
    text: float


def looks(frames: UInt8[np.ndarray, "t h w 3"], with_text: bool = False) -> Looks:
    """Measures a clip. A single frame has change 1: a picture need not move."""
    import imagehash
    from PIL import Image

    chosen = np.linspace(0, len(frames) - 1, SAMPLED).round().astype(int)
    small = [Image.fromarray(frames[index]).resize((64, 64), Image.Resampling.BOX) for index in chosen]
    seen = np.stack([np.asarray(image, np.float32) for image in small]) / 255
    blocks = np.abs(np.diff(seen, axis=0)).reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4, 5))
    change = float(blocks.max()) if len(frames) > 1 else 1.0
    hashes = [imagehash.phash(small[index]).hash for index in HASHED]
    bits = np.concatenate([item.reshape(-1) for item in hashes])
    fingerprint = int("".join("01"[int(bit)] for bit in bits), 2)
    writing = max(written(frames[index]) for index in chosen[[0, -1]]) if with_text else 0.0
    return Looks(float(seen.mean()), change, fingerprint, writing)


def written(frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """The share of a frame that lines of writing seem to cover: wide, dense groups of strong vertical edges."""
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    _, strong = cv2.threshold(edges, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lines = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_RECT, (9, 1)))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(lines)
    area = 0
    for left, top, width, height, _ in boxes[1:]:
        dense = float((strong[top : top + height, left : left + width] > 0).mean())
        if height >= 6 and width >= 2.5 * height and dense > 0.4:
            area += width * height
    return min(1.0, area / grey.size)


def rejected(clip: Looks, filters: Filters) -> str | None:
    """Why a clip is left out, with its figure and the limit; None keeps it."""
    if clip.brightness < filters.dark:
        return f"too dark: brightness {clip.brightness:.3f}, limit {filters.dark:g}"
    if clip.change < filters.static:
        return f"static: change {clip.change:.4f}, limit {filters.static:g}"
    if clip.text > filters.text:
        return f"text-heavy: {clip.text:.2f} of the picture, limit {filters.text:g}"
    return None


def duplicates(fingerprints: Sequence[int], limit: int) -> dict[int, int]:
    """For each clip that is a duplicate of an earlier, kept one: that one's number. Exact, by the pigeonhole principle.

    Of `limit` + 1 bands of bits, one at least is the same in two hashes that differ in at most `limit` bits.
    """
    if limit < 0:
        return {}
    edges = np.linspace(0, BITS, limit + 2).astype(int)
    bands: list[dict[int, list[int]]] = [{} for _ in range(limit + 1)]
    found: dict[int, int] = {}
    for number, value in enumerate(fingerprints):
        keys = [(value >> int(a)) & ((1 << int(b - a)) - 1) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        near = {other for band, key in zip(bands, keys, strict=True) for other in band.get(key, ())}
        same = [other for other in near if (fingerprints[other] ^ value).bit_count() <= limit]
        if same:
            found[number] = min(same)
            continue
        for band, key in zip(bands, keys, strict=True):
            band.setdefault(key, []).append(number)
    return found
