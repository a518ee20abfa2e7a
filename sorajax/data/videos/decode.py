"""Clips out of video files: exact in time, upright, covered by a bucket's frame, without reading the whole file.

A clip is read by seeking to the key frame before its start and decoding from there. Each moment k / fps of the clip
takes the frame that is on screen then, by the frames' own time stamps, so that variable rates come out even. Frames
are turned and mirrored as the file says, scaled until they cover the bucket, and cut in the middle: never stretched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sorajax.data.buckets import Bucket
from sorajax.data.videos.listing import is_picture, opened
from sorajax.media.decoding import decode_track, duration_of, seconds_of, start_of, stated_rate
from sorajax.media.formats import display_matrix, is_turned, pixels_of, shown_width, to_rgb

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
        raise _broken(path, error) from error


def _still(path: str) -> Any:
    """A picture as a frame: its first, upright, over white. Raises BrokenVideo."""
    import av
    from PIL import Image

    try:
        with opened(path) as file, Image.open(file) as image:
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(to_rgb(image, "white")), format="rgb24")
    except (OSError, SyntaxError, ValueError, IndexError, MemoryError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error


def _broken(path: str, error: BaseException) -> BrokenVideo:
    said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return BrokenVideo(f"{path}: {said}")


def probe(path: str) -> Facts:
    """A file's facts, from its first frame and its last packets. Raises BrokenVideo."""
    if is_picture(path):
        picture = _still(path)
        return Facts(0.0, 0.0, picture.height, picture.width, still=True)
    with _stream(path) as (container, stream):
        if (found := next(decode_track(container, stream), None)) is None:
            raise BrokenVideo(f"{path}: no frame can be decoded")
        frame = found[1]
        matrix, wide = display_matrix(frame), shown_width(frame, stream.sample_aspect_ratio)
        turned = matrix is not None and is_turned(matrix)
        height, width = (wide, frame.height) if turned else (frame.height, wide)
        fps = stated_rate(stream)
        if (seconds := seconds_of(container, stream)) <= 0:
            raise BrokenVideo(f"{path}: it does not say how long it lasts")
        return Facts(seconds, fps, height, width)


def read_clip(
    path: str, start: float, frames: int, fps: float, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "t h w 3"]:
    """`frames` frames at `fps` per second from `start` seconds on; `size` is (height, width) to cover, None the first
    frame's. What is transparent is white.

    Where the file ends up to half a frame early its last frame is held; raises EndsEarly where it ends before that and
    BrokenVideo where it cannot be read.
    """
    if is_picture(path):
        if frames > 1:
            raise EndsEarly(f"{path}: a still picture has 1 frame, not {frames}")
        return pixels_of(_still(path), None, size)[None]
    moments = start + np.arange(frames) / fps
    chosen: list[np.ndarray] = []
    with _stream(path) as (container, stream):
        first, aspect = start_of(stream), stream.sample_aspect_ratio

        def taken(frame: Any) -> UInt8[np.ndarray, "h w 3"]:
            return pixels_of(frame, aspect, size or (chosen[0].shape[:2] if chosen else None))

        if start > 0:
            container.seek(int((start + first) / stream.time_base), stream=stream, backward=True)
        before, last = None, -np.inf
        for moment, frame in decode_track(container, stream):
            shown = moment - first
            while len(chosen) < frames and before is not None and moments[len(chosen)] < shown - 1e-4:
                chosen.append(taken(before))
            before, last = frame, shown
            if len(chosen) == frames:
                break
        if before is None:
            raise EndsEarly(f"{path}: no frame can be decoded at {start:g} s")
        span = duration_of(before, stream)  # how long the last frame stays
        held = taken(before) if len(chosen) < frames else None
        while len(chosen) < frames and moments[len(chosen)] < last + span + ROUNDING / fps:
            chosen.append(held)  # type: ignore[arg-type]
    if len(chosen) < frames:
        raise EndsEarly(f"{path}: ends at {last:g} s, before {moments[-1]:g} s")
    return np.stack(chosen)


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
