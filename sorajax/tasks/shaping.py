"""Size, frame rate and length: requests and the user's pictures and clips are brought to the same ones. A note names
each value that differs from the user's."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from sorajax.errors import BadRequest, note
from sorajax.media.video import Frames, Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.pixels import fit_clip
from sorajax.sampling.request import Request
from sorajax.sampling.settings import Settings

FASTEST, SLOWEST = 30.0, 4.0  # frames per second that an input clip may keep
SAME_ASPECT = 0.1  # difference of the logarithms of width over height
WINDOWS_AT_ONCE = 8  # the longest clip in one window, in the model's windows
RATE_TOLERANCE = 0.01  # frames per second; a smaller difference is not noted


def with_size(pipeline: Pipeline, request: Request, like: Video | None) -> Request:
    """The request with width, height and fps filled in. Those that it leaves open follow the picture or clip `like`:
    the model's nearest size, and a clip's frame rate if it is 4 to 30."""
    sizes = pipeline.config.sizes
    height, width = sizes[0]
    if like is not None:
        _, y, x, _ = like.frames.shape
        if pipeline.config.free_aspect:
            height, width = shape_of(pipeline, height * width, y / x)
        else:  # the nearest height among sizes of nearly the nearest aspect ratio
            distance = {size: abs(np.log(size[1] * y / (size[0] * x))) for size in sizes}
            nearest = [size for size in sizes if distance[size] < min(distance.values()) + SAME_ASPECT]
            height, width = min(nearest, key=lambda size: abs(size[0] - y))
        if len(like.frames) > 1 and SLOWEST <= like.fps <= FASTEST:
            request = replace(request, fps=request.fps or like.fps)
    return replace(
        request,
        fps=request.fps or pipeline.config.fps,
        width=request.width or width,
        height=request.height or height,
    )


def shape_of(pipeline: Pipeline, area: int, aspect: float) -> tuple[int, int]:
    """Height and width in whole patches, of about `area` pixels; `aspect` is height over width."""
    (_, *strides), (_, *patches) = pipeline.config.vae.stride, pipeline.config.dit.patch
    units = [stride * patch for stride, patch in zip(strides, patches, strict=True)]
    sides = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    height, width = (max(1, int(side + 0.5) // unit) * unit for side, unit in zip(sides, units, strict=True))
    return height, width


def rate(request: Request) -> float:
    """Frames per second of a request that `with_size` has completed."""
    assert request.fps
    return request.fps


def requested_frames(request: Request) -> int:
    """Length in frames of a request that `with_size` has completed; 0 if it leaves the length open."""
    return request.frames or (frames_in(request.seconds, rate(request)) if request.seconds else 0)


def frames_in(seconds: float, fps: float) -> int:
    """Seconds in frames, at least one; a note if they are rounded."""
    frames = max(1, round(seconds * fps))
    if abs(seconds * fps - frames) > 1e-6:
        note(f"{seconds:g} s at {fps:g} fps is rounded to {frames} frames")
    return frames


def check_own_length(request: Request, why: str) -> None:
    """Raises BadRequest if the request sets a length for a task that has its own; `why` is the task's reason."""
    if request.frames or request.seconds:
        raise BadRequest(f"{why}: leave seconds and frames out")


def single_requests(request: Request) -> Iterator[Request]:
    """One request per prompt and seed, in order."""
    for prompt, seed in request.clips:
        yield replace(request, prompts=(prompt,), num=1, seed=seed, seeds=())


def frames_of(pipeline: Pipeline, request: Request, video: Video) -> Frames:
    """The video's frames at the size and rate of a request that `with_size` has completed."""
    assert request.width is not None
    assert request.height is not None
    pipeline.plan(replace(request, frames=None, seconds=None))  # checks the size before any work
    t, y, x, _ = video.frames.shape
    what = "the picture" if t == 1 else "the clip"
    if (x, y) != (request.width, request.height):
        note(f"{what} of {x}x{y} is resized to {request.width}x{request.height}, cropped if its aspect ratio differs")
    if t == 1:
        return fit_clip(video, request.width, request.height, video.fps)
    if abs(video.fps - rate(request)) > RATE_TOLERANCE:
        note(f"{what} has {video.fps:g} frames per second, and {rate(request):g} of them are used")
    return fit_clip(video, request.width, request.height, rate(request))


def frame_of(pipeline: Pipeline, request: Request, video: Video, which: Literal["first", "last"]) -> Frames:
    """A picture that a clip begins or ends with, at the request's size; for a clip its first or last frame."""
    if len(video.frames) > 1:
        note(f"a clip of {len(video.frames)} frames is given as a picture: its {which} frame is used")
    picture = video.frames[:1] if which == "first" else video.frames[-1:]
    return frames_of(pipeline, request, Video(picture, video.fps))


def pad_frames(frames: Frames, count: int) -> Frames:
    """At least `count` frames: the last one is repeated."""
    missing = max(0, count - len(frames))
    return np.concatenate([frames, np.repeat(frames[-1:], missing, 0)])


def plan_and_note(pipeline: Pipeline, request: Request, at_once: bool = False) -> Settings:
    """The request's settings, see `Pipeline.plan`, whose notes are issued. Raises BadRequest."""
    settings = pipeline.plan(request, at_once)
    for text in settings.notes:
        note(text)
    return settings


def sample_at_once(
    pipeline: Pipeline, request: Request, conditioning: ConditioningFrames | None = None
) -> Iterator[Video]:
    """The request's videos, each sampled in one window with the `conditioning` frames fixed."""
    settings = plan_and_note(pipeline, request, at_once=True)
    check_at_once(pipeline, settings.frames)
    if settings.frames > pipeline.config.window:
        trained = f"the model was trained on {pipeline.config.window}"
        note(f"{settings.frames} frames are sampled in one window, and {trained}; they may look worse")
    return pipeline.stream(request, settings, conditioning=conditioning)


def check_at_once(pipeline: Pipeline, frames: int) -> None:
    """Raises BadRequest for more frames in one window than `WINDOWS_AT_ONCE` allows, which would take too long."""
    if frames > (most := WINDOWS_AT_ONCE * pipeline.config.window):
        raise BadRequest(
            f"{frames} frames, fixed ones included, exceed the limit of {pipeline.name} for one window, {most}: "
            "use a shorter clip, bridge or gap"
        )
