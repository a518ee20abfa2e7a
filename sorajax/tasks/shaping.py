"""What is asked for and what is given, brought to one size, one rate and a length in frames, with a note of all that
differs from what was said."""

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

FASTEST, SLOWEST = 30.0, 4.0  # frames per second that a clip may keep
ALIKE = 0.1  # of the logarithm of width over height
AT_ONCE = 8  # of the model's longest windows
RATES_DIFFER = 0.01  # frames per second, that nobody is told of


def shaped(pipeline: Pipeline, request: Request, like: Video | None) -> Request:
    """The request with its size and rate decided: those asked for, else the model's nearest to what is given."""
    sizes = pipeline.config.sizes
    height, width = sizes[0]
    if like is not None:
        _, y, x, _ = like.frames.shape
        if pipeline.config.free_aspect:
            height, width = shape_of(pipeline, height * width, y / x)
        else:  # of shapes that are alike the nearest height
            far = {size: abs(np.log(size[1] * y / (size[0] * x))) for size in sizes}
            alike = [size for size in sizes if far[size] < min(far.values()) + ALIKE]
            height, width = min(alike, key=lambda size: abs(size[0] - y))
        if len(like.frames) > 1 and SLOWEST <= like.fps <= FASTEST:
            request = replace(request, fps=request.fps or like.fps)
    return replace(
        request,
        fps=request.fps or pipeline.config.fps,
        width=request.width or width,
        height=request.height or height,
    )


def shape_of(pipeline: Pipeline, area: int, aspect: float) -> tuple[int, int]:
    """Height and width in whole patches, of about so many pixels, as high as `aspect` times as wide."""
    (_, *strides), (_, *patches) = pipeline.config.vae.stride, pipeline.config.dit.patch
    units = [stride * patch for stride, patch in zip(strides, patches, strict=True)]
    sides = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    height, width = (max(1, int(side + 0.5) // unit) * unit for side, unit in zip(sides, units, strict=True))
    return height, width


def rate(request: Request) -> float:
    """Frames per second of a request that is `shaped`."""
    assert request.fps
    return request.fps


def requested_frames(request: Request) -> int:
    """Frames that a request that is `shaped` says; 0 where it leaves them open."""
    return request.frames or (frames_in(request.seconds, rate(request)) if request.seconds else 0)


def frames_in(seconds: float, fps: float) -> int:
    """So many seconds in frames, one at least; a note says where they are rounded."""
    frames = max(1, round(seconds * fps))
    if abs(seconds * fps - frames) > 1e-6:
        note(f"{seconds:g} s at {fps:g} fps is rounded to {frames} frames")
    return frames


def check_own_length(request: Request, why: str) -> None:
    """Raises BadRequest where a length is asked for of what has its own."""
    if request.frames or request.seconds:
        raise BadRequest(f"{why}: leave seconds and frames out")


def single_requests(request: Request) -> Iterator[Request]:
    """A request for every prompt and seed."""
    for prompt in request.prompts:
        for index in range(request.num):
            yield replace(request, prompts=(prompt,), num=1, seed=request.seed + index)


def frames_of(pipeline: Pipeline, request: Request, video: Video) -> Frames:
    """The video's frames at the size and rate of a request that is `shaped`."""
    assert request.width is not None
    assert request.height is not None
    pipeline.plan(replace(request, frames=None, seconds=None))  # its size is checked before any work
    t, y, x, _ = video.frames.shape
    what = "the picture" if t == 1 else "the clip"
    if (x, y) != (request.width, request.height):
        note(f"{what} of {x}x{y} is resized to {request.width}x{request.height}, cut where its shape differs")
    if t == 1:
        return fit_clip(video, request.width, request.height, video.fps)
    if abs(video.fps - rate(request)) > RATES_DIFFER:
        note(f"{what} has {video.fps:g} frames a second, and {rate(request):g} of them are taken")
    return fit_clip(video, request.width, request.height, rate(request))


def frame_of(pipeline: Pipeline, request: Request, video: Video, which: Literal["first", "last"]) -> Frames:
    """The picture that something begins or ends with, as `frames_of` gives it."""
    if len(video.frames) > 1:
        where = "begin" if which == "first" else "end"
        note(f"a clip of {len(video.frames)} frames is given to {where} with: its {which} one is taken")
    picture = video.frames[:1] if which == "first" else video.frames[-1:]
    return frames_of(pipeline, request, Video(picture, video.fps))


def lengthened(frames: Frames, count: int) -> Frames:
    """At least so many frames: the last one is repeated."""
    missing = max(0, count - len(frames))
    return np.concatenate([frames, np.repeat(frames[-1:], missing, 0)])


def planned(pipeline: Pipeline, request: Request, at_once: bool = False) -> Settings:
    """What a request comes to with the model; whatever was not asked for is noted. Raises BadRequest."""
    settings = pipeline.plan(request, at_once)
    for text in settings.notes:
        note(text)
    return settings


def sampled(pipeline: Pipeline, request: Request, conditioning: ConditioningFrames | None = None) -> Iterator[Video]:
    """The request's videos, of each of which `given` is known, made at once."""
    settings = planned(pipeline, request, at_once=True)
    check_at_once(pipeline, settings.frames)
    if settings.frames > pipeline.config.window:
        trained = f"the model was trained on {pipeline.config.window}"
        note(f"{settings.frames} frames are made at once, and {trained}; they may look worse")
    return pipeline.stream(request, settings, conditioning=conditioning)


def check_at_once(pipeline: Pipeline, frames: int) -> None:
    """Raises BadRequest for more frames than can be made at once in a time that somebody waits."""
    if frames > (most := AT_ONCE * pipeline.config.window):
        raise BadRequest(
            f"{frames} frames would be made at once, what is given among them, and {pipeline.name} makes "
            f"{most} at most: ask for a shorter clip, bridge or gap"
        )
