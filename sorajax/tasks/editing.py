"""Editing (SDEdit, Meng et al. 2022) and blending: sampling starts from the source clip, noised up to time
`strength`."""

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
    pad_frames,
    requested_frames,
    sample_at_once,
    single_requests,
    with_size,
)
from sorajax.tasks.table import TASKS


def edit(
    pipeline: Pipeline, request: Request, clip: Video, strength: float, mask: np.ndarray | None = None
) -> Iterator[Video]:
    """The clip changed by the prompt; with a mask (bool [y x], resized and cropped as the clip is) only where it is
    true. strength: 0 keeps the clip, 1 ignores it."""
    check_own_length(request, TASKS["edit"].own_length)
    check_strength(strength)
    request = with_size(pipeline, request, clip)
    frames = frames_of(pipeline, request, clip)
    if mask is not None and np.ndim(mask) != 2:
        raise BadRequest(f"the mask has the shape {np.shape(mask)}: give booleans of shape [y x]")
    region = None if mask is None else fit_mask(mask, *frames.shape[2:0:-1])
    yield from edit_frames(pipeline, request, ConditioningFrames(source_clip=frames, strength=strength, region=region))


def blend(pipeline: Pipeline, request: Request, first: Video, second: Video, strength: float) -> Iterator[Video]:
    """The first clip turning into the second: their crossfade, edited with `strength`; the first clip's first frame and
    the second clip's last ones are fixed. It is as long as the shorter clip, or as the request's `seconds` or
    `frames`."""
    check_strength(strength)
    request = with_size(pipeline, request, first)
    ours, theirs = frames_of(pipeline, request, first), frames_of(pipeline, request, second)
    requested, stride = requested_frames(request), pipeline.config.vae.stride[0]
    count = requested or min(len(ours), len(theirs))
    if not requested and len(ours) != len(theirs):
        note(f"clips of {len(ours)} and {len(theirs)} frames are blended in {count}: use --seconds for another length")
    if count > min(len(ours), len(theirs)):
        note(f"a blend of {count} frames is longer than its clips, of {len(ours)} and {len(theirs)}: ends stand still")
    ours, theirs = pad_frames(ours, count)[:count], pad_frames(theirs, count)[:count]
    mixed = crossfade(ours, theirs)
    head, tail = (ours[:1], theirs[-stride:]) if count > 1 + stride else (None, None)
    conditioning = ConditioningFrames(head=head, tail=tail, source_clip=mixed, strength=strength)
    yield from edit_frames(pipeline, request, conditioning)


def edit_frames(pipeline: Pipeline, request: Request, conditioning: ConditioningFrames) -> Iterator[Video]:
    """Samples clips from a noised source clip. A clip longer than the model's window is sampled in overlapping windows,
    each with the end of the one before fixed."""
    frames = conditioning.source_clip
    assert frames is not None
    stride, window = pipeline.config.vae.stride[0], pipeline.config.window
    shared = overlap((window - 1) // stride + 1) * stride + 1 if window > 1 else 0

    def edit_part(request: Request, start: int, stop: int, head: Frames | None) -> Iterator[Video]:
        part = frames[start:stop]
        padded = pad_frames(part, (latents_for(len(part), stride) - 1) * stride + 1)
        tail = conditioning.tail if stop >= len(frames) else None
        if tail is not None:
            left = len(padded) - (0 if head is None else len(head))
            tail = pad_frames(tail, len(tail) + len(padded) - len(part))[-left:]
        fixed = replace(conditioning, head=head, tail=tail, source_clip=padded)
        for video in sample_at_once(pipeline, replace(request, frames=len(padded), seconds=None), fixed):
            yield replace(video, frames=video.frames[: len(part)])

    if len(frames) <= window:
        yield from edit_part(request, 0, window, conditioning.head)
        return
    ends = [window]
    while ends[-1] < len(frames):
        ends.append(ends[-1] - shared + window)
    if len(frames) - ends[-2] < stride < window - shared:  # the last window would be shorter than the tail
        ends[-2] -= stride
    for one in single_requests(request):
        film = next(edit_part(one, 0, ends[0], conditioning.head))
        for number, end in enumerate(ends[1:], 1):
            part, start = replace(one, seed=window_seed(one.seed, number)), len(film.frames) - shared
            video = next(edit_part(part, start, end, film.frames[start:] if shared else None))
            film = replace(film, frames=np.concatenate([film.frames, video.frames[shared:]]))
        yield film
