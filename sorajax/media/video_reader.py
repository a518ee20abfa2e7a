"""Video files are read with PyAV, at a constant frame rate. Callers use `sorajax.media.video`."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sorajax.errors import note
from sorajax.media import MAX_FPS
from sorajax.media.decoding import check_index, decode_track, limit_durations, rate_of, stated_seconds
from sorajax.media.formats import parse_metadata
from sorajax.media.frames import Content, FrameBuffer
from sorajax.media.pixels import pixels_of, shown_width


def frame_range(path: Path, count: int, fps: float, start: float, end: float) -> slice:
    """Indices of the frames, of `count`, from `start` to `end` seconds. Raises ValueError where there are none."""
    last = count if end >= count / fps else round(end * fps)
    if start >= count / fps:
        raise ValueError(f"{path} lasts {count / fps:g} s and has no frame at {start:g} s: trim an earlier part")
    if (first := round(start * fps)) >= last:
        raise ValueError(
            f"{path}: no frame begins from {start:g} to {end:g} s, and one lasts {1 / fps:g} s: trim a longer part"
        )
    return slice(first, last)


def read_film(path: Path, start: float = 0.0, end: float = math.inf, behind: str = "white") -> Content:
    """The frames from `start` to `end` seconds, at a constant frame rate of at most `MAX_FPS`.

    Frames of another size than the first one's are scaled to cover it and centre-cropped. Raises ValueError for a file
    that cannot be read.
    """
    import av

    try:
        with path.open("rb") as file:
            check_index(file)
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it has no video track")
            fps = rate_of(container, container.streams.video[0], path)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if not fps:
                raise ValueError("it has no frame rate")
            times, frames, ended = read_frames(container, stream, fps, start, end, behind, path)
            resampled = resample(np.array(times), fps)
            if not len(resampled):
                raise ValueError("it has no frame")
            has_sound, metadata = bool(container.streams.audio), parse_metadata(container.metadata.get("comment"))
            stated = 0.0 if ended else stated_seconds(container, stream)
    except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no readable video ({error}): perhaps cut short, or of another format") from error
    if has_sound:
        note(f"the sound of {path} is dropped: clips are silent")
    seconds = len(resampled) / fps
    if stated > seconds + max(0.5, 2 / fps):
        note(f"{path} states a duration of {stated:.3g} s, and ends after {seconds:.3g}: perhaps cut short")
    indices = resampled[frame_range(path, len(resampled), fps, start, end)]
    available = range(indices[0], indices[-1] + 1)
    if (dropped := len(available) - len(set(indices))) > len(available) / 50:
        note(f"{path} has a variable frame rate: {dropped} of {len(available)} frames are dropped at {fps:.3g} fps")
    return Content(frames.take(indices), fps, metadata)


def read_frames(
    container: Any, stream: Any, fps: float, start: float, end: float, behind: str, path: Path
) -> tuple[list[float], "FrameBuffer", bool]:
    """Times of a video's frames in seconds; the frames from `start` to `end` and, as rates may vary, one more on each
    side; and whether reading ended before the file. Frames closer to each other than at `MAX_FPS` are skipped."""
    times, frames, sizes = list[float](), FrameBuffer(), set[tuple[int, int]]()
    aspect, ended = stream.sample_aspect_ratio, False
    size: tuple[int, int] | None = None
    for moment, frame in limit_durations(decode_track(container, stream), path):
        if times and moment - times[-1] < 0.9 / MAX_FPS:
            continue
        times.append(moment)
        sizes.add((frame.width, frame.height))
        if moment - times[0] < start - 1 / fps:
            frames.drop()
        frames.add(pixels := pixels_of(frame, aspect, size, behind))
        size = pixels.shape[0], pixels.shape[1]
        if ended := moment - times[0] > end + 1 / fps:
            break
    if size is not None and len(sizes) > 1:
        note(f"{path} changes its frame size: all frames are resized to the first one's, {size[1]}x{size[0]}")
    if times and shown_width(frame, aspect) != frame.width:
        note(f"the pixels of {path} are not square: it is resized to its display width")
    return times, frames, ended


def resample(times: Float[np.ndarray, " t"], fps: float) -> Int[np.ndarray, " t2"]:
    """Indices of the frames nearest to the times of a constant rate; every frame where the rate is constant already.

    times: presentation times in seconds.
    """
    if len(times) < 2:
        return np.arange(len(times))
    moments = times[0] + np.arange(round((times[-1] - times[0]) * fps) + 1) / fps
    return np.searchsorted((times[1:] + times[:-1]) / 2, moments)
