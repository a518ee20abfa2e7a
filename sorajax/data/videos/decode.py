"""Clips from video files: exact in time, upright, at the size of a bucket, without reading the whole file.

A clip is read by seeking to the key frame before its start and decoding from there. At each time k / fps the clip has
the frame that is on screen, by the frames' time stamps, which makes variable frame rates constant. Frames are rotated
and mirrored as the file states, scaled to cover the bucket and centre-cropped; the aspect ratio is preserved.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sorajax.data.buckets import Bucket
from sorajax.data.videos.listing import is_picture, open_video
from sorajax.media.decoding import check_index, decode_track, duration_of, seconds_of, start_of, stated_rate
from sorajax.media.image_reader import to_rgb
from sorajax.media.pixels import display_matrix, is_turned, pixels_of, shown_width

ROUNDING = 0.5  # frames by which a file may be shorter than the clip


class BrokenVideo(ValueError):
    """A file that is missing, cut short, or no video."""


class EndsEarly(BrokenVideo):
    """A readable file without frames at a time within its stated duration."""


@dataclass(frozen=True)
class Facts:
    """Properties of a video file: duration in seconds, average frames per second, and upright size in pixels.

    A still image has a duration of 0 seconds.
    """

    seconds: float
    fps: float
    height: int
    width: int
    still: bool = False


@contextmanager
def _stream(path: str) -> Iterator[tuple[Any, Any]]:
    """(container, video stream) of a file; errors of opening and decoding become BrokenVideo, on one line."""
    import av

    try:
        with open_video(path) as file:
            try:
                check_index(file)
            except ValueError as error:
                raise _broken(path, error) from error
            with av.open(file) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield container, stream
    except (av.error.FFmpegError, OSError, IndexError, MemoryError) as error:
        raise _broken(path, error) from error


def _still(path: str) -> Any:
    """The first frame of an image file, upright, composited over white. Raises BrokenVideo."""
    import av
    from PIL import Image

    try:
        with open_video(path) as file, Image.open(file) as image:
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(to_rgb(image, "white")), format="rgb24")
    except (OSError, SyntaxError, ValueError, IndexError, MemoryError, Image.DecompressionBombError) as error:
        raise _broken(path, error) from error


def _broken(path: str, error: BaseException) -> BrokenVideo:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return BrokenVideo(f"{path}: {reason}")


def probe(path: str) -> Facts:
    """Properties of a file, from its first frame and its last packets. Raises BrokenVideo."""
    if is_picture(path):
        picture = _still(path)
        return Facts(0.0, 0.0, picture.height, picture.width, still=True)
    with _stream(path) as (container, stream):
        if (timed_frame := next(decode_track(container, stream), None)) is None:
            raise BrokenVideo(f"{path}: no frame can be decoded")
        frame = timed_frame[1]
        matrix, wide = display_matrix(frame), shown_width(frame, stream.sample_aspect_ratio)
        turned = matrix is not None and is_turned(matrix)
        height, width = (wide, frame.height) if turned else (frame.height, wide)
        fps = stated_rate(stream)
        if (seconds := seconds_of(container, stream)) <= 0:
            raise BrokenVideo(f"{path}: its duration is unknown")
        return Facts(seconds, fps, height, width)


def read_clip(
    path: str, start: float, frames: int, fps: float, size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "t h w 3"]:
    """`frames` frames at `fps` frames per second from `start` seconds on, at `size` (height, width); None: the size of
    the first frame. Transparent pixels become white.

    Where the file is up to half a frame too short, its last frame is repeated. Raises EndsEarly where it is shorter,
    and BrokenVideo where it cannot be read.
    """
    if is_picture(path):
        if frames > 1:
            raise EndsEarly(f"{path}: a still picture has 1 frame, not {frames}")
        return pixels_of(_still(path), None, size)[None]
    moments = start + np.arange(frames) / fps
    clip: list[np.ndarray] = []
    with _stream(path) as (container, stream):
        first, aspect = start_of(stream), stream.sample_aspect_ratio

        def to_pixels(frame: Any) -> UInt8[np.ndarray, "h w 3"]:
            return pixels_of(frame, aspect, size or (clip[0].shape[:2] if clip else None))

        if start > 0:
            container.seek(int((start + first) / stream.time_base), stream=stream, backward=True)
        before, last = None, -np.inf
        for moment, frame in decode_track(container, stream):
            now = moment - first
            while len(clip) < frames and before is not None and moments[len(clip)] < now - 1e-4:
                clip.append(to_pixels(before))
            before, last = frame, now
            if len(clip) == frames:
                break
        if before is None:
            raise EndsEarly(f"{path}: no frame can be decoded at {start:g} s")
        duration = duration_of(before, stream)  # of the last frame
        repeated = to_pixels(before) if len(clip) < frames else None
        while len(clip) < frames and moments[len(clip)] < last + duration + ROUNDING / fps:
            clip.append(repeated)  # type: ignore[arg-type]
    if len(clip) < frames:
        raise EndsEarly(f"{path}: ends at {last:g} s, before {moments[-1]:g} s")
    return np.stack(clip)


def least_waste(
    seconds: float, height: int, width: int, buckets: Sequence[Bucket], fps: float, still: bool = False
) -> tuple[Bucket, int] | None:
    """The bucket that uses most of a video part of `seconds` and this size, and the number of consecutive clips of it
    that fit; None where none fits.

    The score of a bucket is the share of the frame inside the crop, times the share of the duration that whole clips
    cover, times 1 / scale^2 where the frame is enlarged; ties go to the bucket with more pixels. A bucket of single
    frames is chosen for a still image, and where no longer one fits.
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
