"""In-betweening: the frames between two pictures, between two clips, or in a gap of one clip."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sorajax.errors import BadRequest, note
from sorajax.media.video import Frames, Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request
from sorajax.tasks.shaping import (
    check_own_length,
    frame_of,
    frames_of,
    pad_frames,
    rate,
    requested_frames,
    sample_at_once,
    single_requests,
    with_size,
)
from sorajax.tasks.table import TASKS

CROSSFADE_STRENGTH = 0.93  # time to which a crossfade is noised where it is the source of new frames


def between(pipeline: Pipeline, request: Request, first: Video, last: Video) -> Iterator[Video]:
    """A clip from a first to a last picture, of stride * n + 2 frames: the last picture is encoded as one latent frame,
    whose first pixel frame is kept. A model that reads fixed frames as pixels makes stride * n + 1 frames."""
    if pipeline.config.vision is not None:
        note(f"{pipeline.name} was trained with first pictures only, and may not end with the last one")
    request = with_size(pipeline, request, first)
    stride = pipeline.config.vae.stride[0]
    copies = pipeline.config.conditioning.last_frame_copies(stride)
    rest = min(2, copies)
    requested = requested_frames(request) or max(pipeline.config.film_window + 1 - copies, stride + rest)
    frames = max(1, round((requested - rest) / stride)) * stride + rest
    if frames != requested:
        note(f"{requested} frames with both pictures are rounded to {frames}: the model makes {stride}n+{rest}")
    head, end = frame_of(pipeline, request, first, "first"), frame_of(pipeline, request, last, "last")
    conditioning = ConditioningFrames(head=head, tail=np.repeat(end, copies, 0))
    for video in sample_at_once(pipeline, replace(request, frames=frames + copies - 1, seconds=None), conditioning):
        yield replace(video, frames=video.frames[:frames])


def connect(pipeline: Pipeline, request: Request, first: Video, second: Video) -> Iterator[Video]:
    """The first clip, a bridge of the request's `seconds` or `frames`, and the second clip."""
    request = with_size(pipeline, request, first)
    before, after = frames_of(pipeline, request, first), frames_of(pipeline, request, second)
    for one in single_requests(request):
        yield bridge(pipeline, one, before, after, requested_frames(request))


def fill(pipeline: Pipeline, request: Request, clip: Video, gap: tuple[float, float]) -> Iterator[Video]:
    """The clip with the frames of the gap, (start, end) in seconds, generated from those before and after it."""
    start, end = gap
    check_own_length(request, TASKS["fill"].own_length)
    if not 0 <= start < end:
        raise BadRequest(f"a gap from {start:g} to {end:g} s is empty: give its start and end, e.g. 1.0 and 1.5")
    request = with_size(pipeline, request, clip)
    frames = frames_of(pipeline, request, clip)
    first, last = (min(len(frames), round(moment * rate(request))) for moment in (start, min(end, clip.seconds)))
    if not 0 < first < last < len(frames):
        raise BadRequest(
            f"a gap from {start:g} to {end:g} s is not within the clip, which lasts {clip.seconds:g} s: "
            "leave a frame or more on both sides, and at least one in the gap"
        )
    for one in single_requests(request):
        yield bridge(pipeline, one, frames[:first], frames[last:], last - first)


def bridge(pipeline: Pipeline, request: Request, before: Frames, after: Frames, count: int | None) -> Video:
    """Both clips with a bridge of `count` frames between them, by default as many as fit into a window.

    Of each clip a quarter of the model's window is fixed, if it is so long: less of the second clip does not show the
    model how fast its motion begins.
    """
    stride, window = pipeline.config.vae.stride[0], pipeline.config.window
    groups = max(1, (window - 1) // stride // 4)
    head = min(groups, (len(before) - 1) // stride) * stride + 1
    tail = min(groups, max(1, (len(after) - 1) // stride)) * stride + 1
    new = count or max(window - head - tail, stride)
    tail += (-head - new - tail + 1) % stride  # the sampled clip has stride * n + 1 frames
    end = pad_frames(after, tail)[:tail]
    settings = replace(request, frames=head + new + tail, seconds=None)
    video = next(sample_at_once(pipeline, settings, crossfade_conditioning(pipeline, before[-head:], end, new)))
    return replace(video, frames=np.concatenate([before[:-head], video.frames[: head + new], after]))


def crossfade_conditioning(pipeline: Pipeline, head: Frames | None, tail: Frames, new: int) -> ConditioningFrames:
    """Fixes a window's tail, the beginning of a clip, and its head, if any, the end of another clip.

    The `new` frames between them start from a noised crossfade of the two nearest frames; without a head, from the
    tail's first frame. So backgrounds change gradually, and the new frames join both ends without a jump.
    """
    first = tail[:1] if head is None else head[-1:]
    faded = crossfade(*(np.broadcast_to(end, (new + 2, *end.shape[1:])) for end in (first, tail[:1])))[1:-1]
    parts = [faded, tail] if head is None else [head, faded, tail]
    frames = ConditioningFrames(head=head, tail=tail, source_clip=np.concatenate(parts), strength=CROSSFADE_STRENGTH)
    return pipeline.config.conditioning.supported(frames)


def crossfade(first: Frames, second: Frames) -> Frames:
    """A smoothstep crossfade of two clips of the same length: the first frame is the first clip's, the last one the
    second clip's."""
    line = np.linspace(0, 1, len(first), dtype=np.float32)
    pairs = zip(line * line * (3 - 2 * line), first, second, strict=True)
    return np.stack([np.round((1 - share) * a + share * b).astype(np.uint8) for share, a, b in pairs])
