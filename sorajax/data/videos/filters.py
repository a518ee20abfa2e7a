"""Shot detection, and the filters that reject clips: dark, static, text-heavy and duplicate ones.

Measurements use a few small frames of a clip. Shots are detected by PySceneDetect, perceptual hashes are ImageHash's
(the DCT hash of Zauner 2010), and text is found with OpenCV's morphology.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from sorajax.data.videos.listing import open_video

SAMPLED = 5  # frames of a clip that are measured
HASHED = (0, 2, 4)  # those of them in the perceptual hash
BITS = 64 * len(HASHED)


@dataclass(frozen=True)
class Filters:
    """Limits beyond which a clip is rejected."""

    dark: float = 0.05
    """Least mean brightness, in [0, 1]."""
    static: float = 0.03
    """Least change between sampled frames, in [0, 1], in the block of the 8 x 8 blocks of a frame that changes most."""
    duplicate: int = 6
    """Largest Hamming distance of two duplicates' perceptual hashes of 192 bits; -1 keeps duplicates."""
    text: float = 1.0
    """Largest share of the frame that text may cover, in [0, 1]; 1 turns the filter off."""
    cuts: float = 3.0
    """Ratio of a frame's change to that of its neighbours from which on it starts a shot (PySceneDetect's adaptive
    threshold); 0: every video is one shot."""

    def __post_init__(self) -> None:
        for name in ("dark", "static", "text"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"filters.{name} is {getattr(self, name)}: it must be in [0, 1]")
        if not -1 <= self.duplicate < BITS or self.cuts < 0:
            raise ValueError(f"filters.duplicate must be in [-1, {BITS}) and filters.cuts 0 or more")


def shots(path: str, start: float, end: float, threshold: float) -> list[tuple[float, float]]:
    """The shots, as (start, end) in seconds, between two times of a video. Errors of decoding are raised as they
    are."""
    if threshold == 0:
        return [(start, end)]
    import cv2
    from scenedetect import AdaptiveDetector, SceneManager
    from scenedetect.backends.pyav import VideoStreamAv

    class OneSize(VideoStreamAv):
        """Resizes all frames to the size of the first; PySceneDetect ignores frames of another size."""

        size: tuple[int, int] | None = None

        def read(self, decode: bool = True) -> np.ndarray | bool:
            pixels = super().read(decode)
            if not isinstance(pixels, np.ndarray):
                return pixels
            self.size = self.size or (pixels.shape[1], pixels.shape[0])
            same = pixels.shape[1::-1] == self.size
            return pixels if same else cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA)

    with open_video(path) as file:
        stream = OneSize(file, suppress_output=True)
        if start > 0:
            stream.seek(start)
        manager = SceneManager()
        manager.add_detector(AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=4))
        manager.detect_scenes(stream, end_time=end)
        scenes = [(a.seconds, b.seconds) for a, b in manager.get_scene_list()]
    if len(scenes) < 2:
        return [(start, end)]
    return [(max(a, start), min(b, end)) for a, b in scenes[:-1]] + [(scenes[-1][0], end)]


@dataclass(frozen=True)
class Measurements:
    """Measurements of a clip: brightness and change in [0, 1], perceptual hash, and share of the frame with text."""

    brightness: float
    change: float
    fingerprint: int
    text: float


def measure(frames: UInt8[np.ndarray, "t h w 3"], with_text: bool = False) -> Measurements:
    """The measurements of a clip. The change of a single frame is 1, so that images pass the filter."""
    import imagehash
    from PIL import Image

    chosen = np.linspace(0, len(frames) - 1, SAMPLED).round().astype(int)
    small = [Image.fromarray(frames[index]).resize((64, 64), Image.Resampling.BOX) for index in chosen]
    pixels = np.stack([np.asarray(image, np.float32) for image in small]) / 255
    blocks = np.abs(np.diff(pixels, axis=0)).reshape(-1, 8, 8, 8, 8, 3).mean(axis=(2, 4, 5))
    change = float(blocks.max()) if len(frames) > 1 else 1.0
    hashes = [imagehash.phash(small[index]).hash for index in HASHED]
    bits = np.concatenate([item.reshape(-1) for item in hashes])
    fingerprint = int("".join("01"[int(bit)] for bit in bits), 2)
    text = max(text_coverage(frames[index]) for index in chosen[[0, -1]]) if with_text else 0.0
    return Measurements(float(pixels.mean()), change, fingerprint, text)


def text_coverage(frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """Estimated share of a frame that text covers: wide, dense groups of strong edges."""
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


def rejection_reason(clip: Measurements, filters: Filters) -> str | None:
    """The reason why a clip is rejected, with its value and the limit; None where it is accepted."""
    if clip.brightness < filters.dark:
        return f"too dark: brightness {clip.brightness:.3f}, limit {filters.dark:g}"
    if clip.change < filters.static:
        return f"static: change {clip.change:.4f}, limit {filters.static:g}"
    if clip.text > filters.text:
        return f"text-heavy: {clip.text:.2f} of the picture, limit {filters.text:g}"
    return None


def duplicates(fingerprints: Sequence[int], limit: int) -> dict[int, int]:
    """{index of a duplicate: index of the earlier clip that it duplicates}, exact.

    By the pigeonhole principle, two hashes that differ in at most `limit` bits agree in at least one of `limit` + 1
    bands of bits.
    """
    if limit < 0:
        return {}
    edges = np.linspace(0, BITS, limit + 2).astype(int)
    bands: list[dict[int, list[int]]] = [{} for _ in range(limit + 1)]
    originals: dict[int, int] = {}
    for number, value in enumerate(fingerprints):
        keys = [(value >> int(a)) & ((1 << int(b - a)) - 1) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        near = {other for band, key in zip(bands, keys, strict=True) for other in band.get(key, ())}
        same = [other for other in near if (fingerprints[other] ^ value).bit_count() <= limit]
        if same:
            originals[number] = min(same)
            continue
        for band, key in zip(bands, keys, strict=True):
            band.setdefault(key, []).append(number)
    return originals
