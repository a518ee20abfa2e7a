"""Extending a clip after its end, before its beginning, or both."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
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
from sorajax.tasks.bridge import leading
from sorajax.tasks.shaping import (
    frames_of,
    lengthened,
    planned,
    rate,
    requested_frames,
    sampled,
    shaped,
    single_requests,
)


def extend(pipeline: Pipeline, request: Request, clip: Video, direction: Direction = "forward") -> Iterator[Video]:
    """The clip, untouched, and `seconds` (or `frames`) more after it, before it, or both."""
    if direction not in get_args(Direction):
        raise BadRequest(f"direction {direction!r} is not allowed: use {', '.join(get_args(Direction))}")
    if direction != "forward" and pipeline.config.conditioning.needs_first_frame:
        raise BadRequest(
            f"{pipeline.name} begins from pictures, and cannot make what comes before a clip: say --direction forward"
        )
    request = shaped(pipeline, request, clip)
    fps, start = rate(request), frames_of(pipeline, request, clip)
    if request.seconds and round(request.seconds * fps) < 1:
        raise BadRequest(
            f"an extension of {request.seconds} s at {fps:g} fps has no frame: ask for {1 / fps:.3g} seconds or more"
        )
    wanted = requested_frames(request) or max(1, (pipeline.config.window - 1) // 2)
    for one in single_requests(request):
        settings = planned(pipeline, replace(one, frames=None, seconds=None))
        parts = [start]
        if direction in ("forward", "both"):
            parts = [*parts, after(pipeline, one, settings, start, wanted)]
        if direction in ("backward", "both"):
            parts = [before(pipeline, one, settings, start, wanted), *parts]
        said = pipeline.metadata(settings, one.prompts[0], one.seed)
        yield Video(np.concatenate(parts), fps, said)


def after(pipeline: Pipeline, one: Request, settings: Settings, start: Frames, wanted: int) -> Frames:
    """So many frames that follow a clip: a film of which its end is given, and whose prompt may name cuts. See
    `match_colours`."""
    stride = pipeline.config.vae.stride[0]
    most = overlap((pipeline.config.film_window - 1) // stride + 1)
    head = start[-(min(most, (len(start) - 1) // stride) * stride + 1) :]
    first, *others = shots_of(one.prompts[0], wanted)
    shots = [replace(first, frames=len(head) + first.frames), *others]
    if CUT.match(one.prompts[0].strip()):  # at once
        shots = [replace(first, frames=len(head)), replace(first, cut=True), *others]
    film, end = pipeline.film(settings, shots, one.seed, head).whole().frames, shots[0].frames
    return np.concatenate([match_colours([(len(head) - 1, head[-1])], film[:end])[len(head) :], film[end:]])


def before(pipeline: Pipeline, one: Request, settings: Settings, end: Frames, wanted: int) -> Frames:
    """So many frames that lead to a clip; where the prompt names cuts, after a film of the other shots."""
    *others, last = shots_of(one.prompts[0], wanted)
    led = leading_up(pipeline, replace(one, prompts=(last.prompt,)), end, last.frames)
    return np.concatenate([pipeline.film(settings, others, one.seed).whole().frames, led]) if others else led


def leading_up(pipeline: Pipeline, one: Request, end: Frames, wanted: int) -> Frames:
    """So many frames that lead to a clip, window by window, each of which knows the beginning of what there is: a third
    of a window, or two latents: of less a pace is guessed, and more would leave a seam after every few frames."""
    stride, window = pipeline.config.vae.stride[0], pipeline.config.film_window
    most = (window - 1) // stride
    groups = max(1, most // 3, min(2, most - 1))
    film = end
    for number in count():
        if len(film) >= len(end) + wanted:
            break
        context = max(1, min(groups, (len(film) - 1) // stride)) * stride
        context += context + 1 < window  # a frame of its past, where something new is left beside it
        conditioning = leading(pipeline, None, lengthened(film, context)[:context], window - context)
        request = replace(one, seed=(one.seed + number) % 2**32, frames=window, seconds=None)
        film = np.concatenate([next(sampled(pipeline, request, conditioning)).frames[:-context], film])
    return film[-len(end) - wanted : -len(end)]
