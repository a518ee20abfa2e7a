"""Clips that are fixed approximately: edits by a prompt, and blends of two clips."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sorajax.errors import BadRequest, note
from sorajax.media.video import Frames, Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.pixels import fit_mask
from sorajax.sampling.request import Request, check_strength
from sorajax.sampling.settings import latents_for
from sorajax.sampling.windows import overlap, window_seed
from sorajax.tasks.bridge import crossfade
from sorajax.tasks.shaping import (
    check_own_length,
    frames_of,
    lengthened,
    requested_frames,
    sampled,
    shaped,
    single_requests,
)
from sorajax.tasks.table import TASKS


def edit(
    pipeline: Pipeline, request: Request, clip: Video, strength: float, mask: np.ndarray | None = None
) -> Iterator[Video]:
    """The clip as the prompt says; with a mask (bool [y x], of the clip's size) only where that is true."""
    check_own_length(request, TASKS["edit"].own_length)
    check_strength(strength)
    request = shaped(pipeline, request, clip)
    frames = frames_of(pipeline, request, clip)
    if mask is not None and np.ndim(mask) != 2:
        raise BadRequest(f"the mask has the shape {np.shape(mask)}: give one picture of booleans, [y x]")
    region = None if mask is None else fit_mask(mask, *frames.shape[2:0:-1])
    yield from remade(pipeline, request, ConditioningFrames(source_clip=frames, strength=strength, region=region))


def blend(pipeline: Pipeline, request: Request, first: Video, second: Video, strength: float) -> Iterator[Video]:
    """A clip that becomes another: their crossfade, slow at both ends, made again from `strength`, between the first
    frame of the one and the last ones of the other. As long as the shorter one, or as `seconds` (or `frames`) says."""
    check_strength(strength)
    request = shaped(pipeline, request, first)
    ours, theirs = frames_of(pipeline, request, first), frames_of(pipeline, request, second)
    asked, stride = requested_frames(request), pipeline.config.vae.stride[0]
    wanted = asked or min(len(ours), len(theirs))
    if not asked and len(ours) != len(theirs):
        note(f"clips of {len(ours)} and {len(theirs)} frames are blended in {wanted}: say --seconds for another length")
    if wanted > min(len(ours), len(theirs)):
        note(f"a blend of {wanted} frames is longer than its clips, of {len(ours)} and {len(theirs)}: ends stand still")
    ours, theirs = lengthened(ours, wanted)[:wanted], lengthened(theirs, wanted)[:wanted]
    mixed = crossfade(ours, theirs)
    head, tail = (ours[:1], theirs[-stride:]) if wanted > 1 + stride else (None, None)
    yield from remade(pipeline, request, ConditioningFrames(head=head, tail=tail, source_clip=mixed, strength=strength))


def remade(pipeline: Pipeline, request: Request, conditioning: ConditioningFrames) -> Iterator[Video]:
    """What is given roughly, made anew. More than the model's longest clip has are made window by window, each of which
    knows the last one's end."""
    frames = conditioning.source_clip
    assert frames is not None
    stride, window = pipeline.config.vae.stride[0], pipeline.config.window
    kept = overlap((window - 1) // stride + 1) * stride + 1 if window > 1 else 0

    def made(request: Request, start: int, stop: int, head: Frames | None) -> Iterator[Video]:
        part = frames[start:stop]
        whole = lengthened(part, (latents_for(len(part), stride) - 1) * stride + 1)
        tail = conditioning.tail if stop >= len(frames) else None
        if tail is not None:
            left = len(whole) - (0 if head is None else len(head))
            tail = lengthened(tail, len(tail) + len(whole) - len(part))[-left:]
        known = replace(conditioning, head=head, tail=tail, source_clip=whole)
        for video in sampled(pipeline, replace(request, frames=len(whole), seconds=None), known):
            yield replace(video, frames=video.frames[: len(part)])

    if len(frames) <= window:
        yield from made(request, 0, window, conditioning.head)
        return
    ends = [window]
    while ends[-1] < len(frames):
        ends.append(ends[-1] - kept + window)
    if len(frames) - ends[-2] < stride < window - kept:  # the last window would not hold all of a tail
        ends[-2] -= stride
    for one in single_requests(request):
        film = next(made(one, 0, ends[0], conditioning.head))
        for number, end in enumerate(ends[1:], 1):
            asked, start = replace(one, seed=window_seed(one.seed, number)), len(film.frames) - kept
            video = next(made(asked, start, end, film.frames[start:] if kept else None))
            film = replace(film, frames=np.concatenate([film.frames, video.frames[kept:]]))
        yield film
