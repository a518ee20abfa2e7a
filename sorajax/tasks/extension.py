"""Extending a clip after its end, before its beginning, or both."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np

from sorajax.errors import BadRequest
from sorajax.media.video import Frames, Video
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.pixels import match_colours
from sorajax.sampling.request import CUT, Direction, Request
from sorajax.sampling.settings import Settings
from sorajax.sampling.shots import shots_of
from sorajax.sampling.windows import overlap
from sorajax.tasks.bridge import crossfade_conditioning
from sorajax.tasks.shaping import (
    frames_of,
    pad_frames,
    plan_and_note,
    rate,
    requested_frames,
    sample_at_once,
    single_requests,
    with_size,
)


def extend(pipeline: Pipeline, request: Request, clip: Video, direction: Direction = "forward") -> Iterator[Video]:
    """The clip, unchanged, with the request's `seconds` or `frames` added after it, before it, or on both sides."""
    if direction not in get_args(Direction):
        raise BadRequest(f"direction {direction!r} is not allowed: use {', '.join(get_args(Direction))}")
    if direction != "forward" and pipeline.config.conditioning.needs_first_frame:
        raise BadRequest(
            f"{pipeline.name} needs a first frame, and cannot extend a clip backward: use --direction forward"
        )
    request = with_size(pipeline, request, clip)
    fps, start = rate(request), frames_of(pipeline, request, clip)
    if request.seconds and round(request.seconds * fps) < 1:
        raise BadRequest(
            f"an extension of {request.seconds} s at {fps:g} fps has no frame: use {1 / fps:.3g} seconds or more"
        )
    added = requested_frames(request) or max(1, (pipeline.config.window - 1) // 2)
    for one in single_requests(request):
        settings = plan_and_note(pipeline, replace(one, frames=None, seconds=None))
        parts = [start]
        if direction in ("forward", "both"):
            parts = [*parts, frames_after(pipeline, one, settings, start, added)]
        if direction in ("backward", "both"):
            parts = [frames_before(pipeline, one, settings, start, added), *parts]
        yield Video(np.concatenate(parts), fps, pipeline.metadata(settings, one.prompts[0], one.seed))


def frames_after(pipeline: Pipeline, one: Request, settings: Settings, start: Frames, count: int) -> Frames:
    """`count` frames that follow a clip: a film that begins with the clip's end, and whose prompt may contain cuts. Its
    colours are matched to the clip's, see `match_colours`."""
    stride = pipeline.config.vae.stride[0]
    most = overlap((pipeline.config.film_window - 1) // stride + 1)
    head = start[-(min(most, (len(start) - 1) // stride) * stride + 1) :]
    first, *others = shots_of(one.prompts[0], count)
    shots = [replace(first, frames=len(head) + first.frames), *others]
    if CUT.match(one.prompts[0].strip()):  # the prompt begins with a cut
        shots = [replace(first, frames=len(head)), replace(first, cut=True), *others]
    film, end = pipeline.film(settings, shots, one.seed, head).whole().frames, shots[0].frames
    return np.concatenate([match_colours([(len(head) - 1, head[-1])], film[:end])[len(head) :], film[end:]])


def frames_before(pipeline: Pipeline, one: Request, settings: Settings, end: Frames, count: int) -> Frames:
    """`count` frames that lead to a clip. If the prompt contains cuts, the last shot leads to it, after a film of the
    other shots."""
    *others, last = shots_of(one.prompts[0], count)
    lead = sample_backward(pipeline, replace(one, prompts=(last.prompt,)), end, last.frames)
    return np.concatenate([pipeline.film(settings, others, one.seed).whole().frames, lead]) if others else lead


def sample_backward(pipeline: Pipeline, one: Request, end: Frames, count: int) -> Frames:
    """`count` frames that lead to a clip, sampled backward window by window.

    In each window the beginning of the film so far is fixed: a third of the window, or two latents. With less the model
    guesses the speed of motion; more would leave a seam after every few frames.
    """
    stride, window = pipeline.config.vae.stride[0], pipeline.config.film_window
    most = (window - 1) // stride
    groups = max(1, most // 3, min(2, most - 1))
    film = end
    for number in itertools.count():
        if len(film) >= len(end) + count:
            break
        context = max(1, min(groups, (len(film) - 1) // stride)) * stride
        context += context + 1 < window  # one more frame of context, if a new frame is still left
        tail = pad_frames(film, context)[:context]
        conditioning = crossfade_conditioning(pipeline, None, tail, window - context)
        request = replace(one, seed=(one.seed + number) % 2**32, frames=window, seconds=None)
        film = np.concatenate([next(sample_at_once(pipeline, request, conditioning)).frames[:-context], film])
    return film[-len(end) - count : -len(end)]
