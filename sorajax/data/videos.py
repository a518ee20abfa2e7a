"""Clips out of video files: exact in time, upright, covered by a bucket's frame, without reading the whole file.

A clip is read by seeking to the key frame before its start and decoding from there. Each moment k / fps of the clip
takes the frame that is on screen then, by the frames' own time stamps, so that variable rates come out even. Frames
are turned as the file's display matrix says, scaled until they cover the bucket, and cut in the middle: never
stretched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sorajax.data.buckets import Bucket
from sorajax.data.listing import is_picture, opened
from sorajax.formats import pixels_of, shown_width, upright

ROUNDING = 0.5  # frames of the clip that a file's own duration may be short of it


class BrokenVideo(ValueError):
    """A file that is gone, cut short, or no video."""


class EndsEarly(BrokenVideo):
    """A file that can be read, but has no frames where it says it has."""


@dataclass(frozen=True)
class Facts:
    """What a file says of itself: seconds, frames per second (the average), and its size in pixels once upright.

    A still picture lasts 0 seconds.
    """

    seconds: float
    fps: float
    height: int
    width: int
    still: bool = False


@contextmanager
def _stream(path: str) -> Iterator[tuple[Any, Any]]:
    """(container, video stream) of a file; whatever goes wrong inside becomes BrokenVideo, on one line."""
    import av

    try:
        with opened(path) as file, av.open(file) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.error.FFmpegError, OSError, IndexError, MemoryError) as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise BrokenVideo(f"{path}: {said}") from error


def probe(path: str) -> Facts:
    """A file's facts, from its header and first frame. Raises BrokenVideo."""
    with _stream(path) as (container, stream):
        frame = next(container.decode(stream), None)
        if frame is None:
            raise BrokenVideo(f"{path}: no frame can be decoded")
        if is_picture(path):
            return Facts(0.0, 0.0, frame.height, frame.width, still=True)
        wide = shown_width(frame, stream.sample_aspect_ratio)
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = float(container.duration or 0) / 1_000_000
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        turned = round(getattr(frame, "rotation", 0) / 90) % 2
        height, width = (wide, frame.height) if turned else (frame.height, wide)
        if seconds <= 0 and fps > 0:
            seconds = stream.frames / fps
        if seconds <= 0:
            raise BrokenVideo(f"{path}: it does not say how long it lasts")
        return Facts(seconds, fps, height, width)


def read_clip(
    path: str, start: float, frames: int, fps: float, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "t h w 3"]:
    """`frames` frames at `fps` per second from `start` seconds on; `size` is (height, width) to cover, None the file's.

    Where the file ends up to half a frame early its last frame is held; raises EndsEarly where it ends before that and
    BrokenVideo where it cannot be read.
    """
    moments = start + np.arange(frames) / fps
    chosen: list[np.ndarray] = []
    with _stream(path) as (container, stream):
        first, aspect = float((stream.start_time or 0) * stream.time_base), stream.sample_aspect_ratio
        if start > 0:
            container.seek(int((start + first) / stream.time_base), stream=stream, backward=True)
        before, last = None, -np.inf
        for frame in container.decode(stream):
            shown = float(frame.time or 0.0) - first
            while len(chosen) < frames and before is not None and moments[len(chosen)] < shown - 1e-4:
                chosen.append(_pixels(before, size, aspect))
            before, last = frame, shown
            if len(chosen) == frames:
                break
        if before is None:
            raise EndsEarly(f"{path}: no frame can be decoded at {start:g} s")
        span = 1 / float(stream.average_rate or fps)  # how long the last frame stays
        held = _pixels(before, size, aspect) if len(chosen) < frames else None
        while len(chosen) < frames and moments[len(chosen)] < last + span + ROUNDING / fps:
            chosen.append(held)  # type: ignore[arg-type]
    if len(chosen) < frames:
        raise EndsEarly(f"{path}: ends at {last:g} s, before {moments[-1]:g} s")
    return np.stack(chosen)


def _pixels(frame: Any, size: tuple[int, int] | None, aspect: Fraction | None) -> UInt8[np.ndarray, "h w 3"]:
    """A frame's pixels, upright and square (see `shown_width`), scaled to cover `size` and cut in the middle."""
    rotation, wide = getattr(frame, "rotation", 0), shown_width(frame, aspect)
    if size is None:
        return np.ascontiguousarray(pixels_of(frame, aspect))
    turned = round(rotation / 90) % 2
    height, width = (wide, frame.height) if turned else (frame.height, wide)
    scale = max(size[0] / height, size[1] / width)
    rows, columns = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    method = "AREA" if scale < 1 else "BICUBIC"
    wide, high = (rows, columns) if turned else (columns, rows)
    scaled = frame.reformat(width=wide, height=high, format="rgb24", interpolation=method)
    pixels = upright(scaled.to_ndarray(), rotation)
    top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])


def least_waste(
    seconds: float, height: int, width: int, buckets: Sequence[Bucket], fps: float, still: bool = False
) -> tuple[Bucket, int] | None:
    """The bucket that wastes least of a part of `seconds` and this size, and how many clips of it fit in a row.

    What is used is the share of the picture inside the cut, times the share of the time that whole clips cover, times
    1 / scale^2 where the picture must be enlarged. Among equals the bucket with more pixels wins. A bucket of single
    frames is taken for a still picture, and where nothing longer fits. None where nothing fits.
    """
    seconds = 1 / fps if still else seconds

    def clips(bucket: Bucket) -> int:
        return int((seconds * fps + ROUNDING) // bucket.frames)

    def used(bucket: Bucket) -> tuple[float, int]:
        scale = max(bucket.height / height, bucket.width / width)
        picture = bucket.height * bucket.width / (scale**2 * height * width)
        time = min(1.0, clips(bucket) * bucket.frames / (seconds * fps))
        return round(picture * time / max(1.0, scale) ** 2, 6), int(np.prod(bucket.size))

    films = [bucket for bucket in buckets if bucket.frames > 1 and clips(bucket)]
    if not (fitting := films or [bucket for bucket in buckets if bucket.frames == 1 and clips(bucket)]):
        return None
    best = max(fitting, key=used)
    return best, clips(best) if best.frames > 1 else 1
