"""Every way to ask, as what is given: each task lays its pixels on windows of the model's length, and samples them.

    animate   the still, then what the prompt says          extend    a clip, and what comes after or before it
    between   a first and a last picture, and their middle   connect   one clip, a bridge, another clip
    edit      a clip, again, as the prompt says              loop      a clip, and a bridge from its end to its start

A task yields one video per prompt and seed, in the request's order. None of them adds an argument to the model or to a
sampler: see `sorajax.given` and `sorajax.diffusion.known`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from sorajax.given import Given, fitted
from sorajax.pipeline import Pipeline
from sorajax.request import BadRequest, Request
from sorajax.video import Frames, Video

Direction = Literal["forward", "backward"]
FASTEST, SLOWEST = 30.0, 4.0  # frames per second that a clip may keep


def animate(pipeline: Pipeline, request: Request, still: Video) -> Iterator[Video]:
    """Begins with the still, as the autoencoder shows it, and goes on as the prompt says."""
    request = shaped(pipeline, request, still)
    head = frames_of(pipeline, request, still)[:1]
    yield from sampled(pipeline, request, Given(head=head, exact=False))


def extend(pipeline: Pipeline, request: Request, clip: Video, direction: Direction) -> Iterator[Video]:
    """The clip, untouched, and `seconds` (or `frames`) more after or before it, window by window.

    Each window continues the last frames of what there is, up to half its length.
    """
    request = shaped(pipeline, request, clip)
    fps, stride, window = rate(request), pipeline.config.vae.stride[0], pipeline.config.frames[0]
    start = frames_of(pipeline, request, clip)
    wanted = request.frames or round((request.seconds or (window - 1) / 2 / fps) * fps)
    if wanted < 1:
        raise BadRequest(f"an extension of {request.seconds} s at {fps:g} fps has no frame: ask for 1 second or more")
    forward = direction == "forward"
    groups = (window - 1) // stride // 2
    for one in each(request):
        film = start
        while len(film) < len(start) + wanted:
            seed = (one.seed + len(film) - len(start)) % 2**32
            if forward:
                context = min(groups, (len(film) - 1) // stride) * stride + 1
                given = Given(head=film[-context:])
            else:
                context = max(1, min(groups, len(film) // stride)) * stride
                given = Given(tail=lengthened(film, context)[:context])
            new = next(sampled(pipeline, replace(one, seed=seed, frames=window, seconds=None), given))
            fresh = new.frames[context:] if forward else new.frames[:-context]
            film = np.concatenate([film, fresh] if forward else [fresh, film])
        count = len(start) + wanted
        yield Video(film[:count] if forward else film[-count:], fps, {**new.metadata, "seed": one.seed})


def between(pipeline: Pipeline, request: Request, first: Video, last: Video) -> Iterator[Video]:
    """From one picture to another; the last one fills one latent frame, of which its first pixel frame is shown."""
    request = shaped(pipeline, request, first)
    stride = pipeline.config.vae.stride[0]
    head, end = frames_of(pipeline, request, first)[:1], frames_of(pipeline, request, last)[-1:]
    given = Given(head=head, tail=np.repeat(end, stride, 0))
    for video in sampled(pipeline, request, given):
        yield replace(video, frames=video.frames[: len(video.frames) - stride + 1])


def connect(pipeline: Pipeline, request: Request, first: Video, second: Video) -> Iterator[Video]:
    """One clip, `seconds` (or `frames`) of bridge, rounded to the model's stride, and the other clip."""
    request = shaped(pipeline, request, first)
    before, after = frames_of(pipeline, request, first), frames_of(pipeline, request, second)
    for one in each(request):
        yield bridged(pipeline, one, before, after)


def loop(pipeline: Pipeline, request: Request) -> Iterator[Video]:
    """A clip, and a bridge of half its length from its end to its start: played again and again it has no seam."""
    request = shaped(pipeline, request, None)
    for one in each(request):
        clip = next(sampled(pipeline, one))
        part = replace(one, frames=None, seconds=None)
        whole = bridged(pipeline, part, clip.frames, clip.frames)
        yield replace(whole, frames=whole.frames[: len(whole.frames) - len(clip.frames)])


def edit(
    pipeline: Pipeline, request: Request, clip: Video, strength: float, mask: np.ndarray | None = None
) -> Iterator[Video]:
    """The clip as the prompt says; with a mask (bool [y x], of the clip's size) only where that is true."""
    request = shaped(pipeline, request, clip)
    frames = frames_of(pipeline, request, clip)
    stride = pipeline.config.vae.stride[0]
    whole = lengthened(frames, -(-(len(frames) - 1) // stride) * stride + 1)
    region = mask
    if mask is not None:
        picture = Video(np.repeat(mask[None, :, :, None], 3, -1).astype(np.uint8) * 255, 1.0)
        region = frames_of(pipeline, replace(request, fps=1.0), picture)[0].mean(-1) > 127
    given = Given(rough=whole, strength=strength, region=region)
    for video in sampled(pipeline, replace(request, frames=len(whole), seconds=None), given):
        yield replace(video, frames=video.frames[: len(frames)])


def bridged(pipeline: Pipeline, request: Request, before: Frames, after: Frames) -> Video:
    """Both clips, and between them a bridge; half a window of each is known to the model where they are so long."""
    stride, window = pipeline.config.vae.stride[0], pipeline.config.frames[0]
    groups = max(1, (window - 1) // stride // 4)
    head = min(groups, (len(before) - 1) // stride) * stride + 1
    tail = min(groups, max(1, len(after) // stride)) * stride
    wanted = request.frames or round((request.seconds or 0) * rate(request))
    new = max(stride, round(wanted / stride) * stride) if wanted else max(stride, window - head - tail)
    after = lengthened(after, tail)
    given = Given(head=before[-head:], tail=after[:tail])
    video = next(sampled(pipeline, replace(request, frames=head + new + tail, seconds=None), given))
    return replace(video, frames=np.concatenate([before[:-head], video.frames, after[tail:]]))


def sampled(pipeline: Pipeline, request: Request, given: Given | None = None) -> Iterator[Video]:
    """The request's videos, of each of which `given` is known."""
    return pipeline.stream(request, pipeline.plan(request), given=given)


def each(request: Request) -> Iterator[Request]:
    """A request for every prompt and seed."""
    for prompt in request.prompts:
        for index in range(request.num):
            yield replace(request, prompts=(prompt,), num=1, seed=request.seed + index)


def shaped(pipeline: Pipeline, request: Request, like: Video | None) -> Request:
    """The request with its size and rate decided: those asked for, else the model's nearest to what is given."""
    sizes = pipeline.config.sizes
    height, width = sizes[0]
    if like is not None:
        _, y, x, _ = like.frames.shape
        height, width = min(sizes, key=lambda size: (abs(np.log(size[1] * y / (size[0] * x))), abs(size[0] - y)))
        if len(like.frames) > 1 and SLOWEST <= like.fps <= FASTEST:
            request = replace(request, fps=request.fps or like.fps)
    return replace(
        request,
        fps=request.fps or pipeline.config.fps,
        width=request.width or width,
        height=request.height or height,
    )


def rate(request: Request) -> float:
    """Frames per second of a request that is `shaped`."""
    assert request.fps
    return request.fps


def frames_of(pipeline: Pipeline, request: Request, video: Video) -> Frames:
    """The video's frames at the size and rate of a request that is `shaped`."""
    assert request.width is not None
    assert request.height is not None
    pipeline.plan(replace(request, frames=None, seconds=None))  # its size is checked before any work
    still = len(video.frames) == 1
    return fitted(video, request.width, request.height, video.fps if still else rate(request))


def lengthened(frames: Frames, count: int) -> Frames:
    """At least so many frames: the last one is repeated."""
    missing = max(0, count - len(frames))
    return np.concatenate([frames, np.repeat(frames[-1:], missing, 0)])
