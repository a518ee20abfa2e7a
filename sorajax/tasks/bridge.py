"""What lies between: two pictures, two clips, or the two sides of a gap."""

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
    lengthened,
    rate,
    requested_frames,
    sampled,
    shaped,
    single_requests,
)
from sorajax.tasks.table import TASKS

LEADING = 0.93  # the strength that is left to what leads to a clip, over a crossfade of what lies around it


def between(pipeline: Pipeline, request: Request, first: Video, last: Video) -> Iterator[Video]:
    """From one picture to another, in stride * n + 2 frames: the last one fills one latent frame, of which its first
    pixel frame is shown. A model that is told in pixels what it knows makes stride * n + 1, and is told of one."""
    if pipeline.config.vision is not None:
        note(f"{pipeline.name} was trained on first pictures alone, and may not hold the last one")
    request = shaped(pipeline, request, first)
    stride = pipeline.config.vae.stride[0]
    copies = pipeline.config.conditioning.last_frame_copies(stride)
    rest = min(2, copies)
    wanted = requested_frames(request) or max(pipeline.config.film_window + 1 - copies, stride + rest)
    frames = max(1, round((wanted - rest) / stride)) * stride + rest
    if frames != wanted:
        note(f"{wanted} frames with both pictures are rounded to {frames}: the model makes {stride}n+{rest} of them")
    head, end = frame_of(pipeline, request, first, "first"), frame_of(pipeline, request, last, "last")
    conditioning = ConditioningFrames(head=head, tail=np.repeat(end, copies, 0))
    for video in sampled(pipeline, replace(request, frames=frames + copies - 1, seconds=None), conditioning):
        yield replace(video, frames=video.frames[:frames])


def connect(pipeline: Pipeline, request: Request, first: Video, second: Video) -> Iterator[Video]:
    """One clip, `seconds` (or `frames`) of bridge, and the other clip."""
    request = shaped(pipeline, request, first)
    before, after = frames_of(pipeline, request, first), frames_of(pipeline, request, second)
    for one in single_requests(request):
        yield bridged(pipeline, one, before, after, requested_frames(request))


def fill(pipeline: Pipeline, request: Request, clip: Video, gap: tuple[float, float]) -> Iterator[Video]:
    """The clip with its frames in the gap, (start, end) in seconds, generated between those before and after it."""
    start, end = gap
    check_own_length(request, TASKS["fill"].own_length)
    if not 0 <= start < end:
        raise BadRequest(f"a gap from {start:g} to {end:g} s is none: say where it begins and ends, e.g. 1.0 and 1.5")
    request = shaped(pipeline, request, clip)
    frames = frames_of(pipeline, request, clip)
    first, last = (min(len(frames), round(moment * rate(request))) for moment in (start, min(end, clip.seconds)))
    if not 0 < first < last < len(frames):
        raise BadRequest(
            f"a gap from {start:g} to {end:g} s is not within the clip, which lasts {clip.seconds:g} s: "
            "leave a frame or more on both sides, and one to make"
        )
    for one in single_requests(request):
        yield bridged(pipeline, one, frames[:first], frames[last:], last - first)


def bridged(pipeline: Pipeline, request: Request, before: Frames, after: Frames, wanted: int | None) -> Video:
    """Both clips, and between them a bridge of so many frames, by default as many as fit; of each the model knows a
    quarter of its longest window, where it is so long: of less of the second clip it does not see how fast that begins.
    """
    stride, window = pipeline.config.vae.stride[0], pipeline.config.window
    groups = max(1, (window - 1) // stride // 4)
    head = min(groups, (len(before) - 1) // stride) * stride + 1
    tail = min(groups, max(1, (len(after) - 1) // stride)) * stride + 1
    new = wanted or max(window - head - tail, stride)
    tail += (-head - new - tail + 1) % stride  # the whole clip has stride * n + 1 frames
    held = lengthened(after, tail)[:tail]
    settings = replace(request, frames=head + new + tail, seconds=None)
    video = next(sampled(pipeline, settings, leading(pipeline, before[-head:], held, new)))
    made = video.frames[: head + new]
    return replace(video, frames=np.concatenate([before[:-head], made, after]))


def leading(pipeline: Pipeline, head: Frames | None, tail: Frames, new: int) -> ConditioningFrames:
    """What is given of a window whose end is a clip's beginning, and whose beginning, where there is one, is another
    clip's end. The `new` frames between them start as a noised crossfade of the nearest two (of the tail's first one
    alone, where it has no head): so they lead over from one ground to the other, and meet both ends without a jump."""
    first = tail[:1] if head is None else head[-1:]
    led = crossfade(*(np.broadcast_to(end, (new + 2, *end.shape[1:])) for end in (first, tail[:1])))[1:-1]
    parts = [led, tail] if head is None else [head, led, tail]
    frames = ConditioningFrames(head=head, tail=tail, source_clip=np.concatenate(parts), strength=LEADING)
    return pipeline.config.conditioning.supported(frames)


def crossfade(first: Frames, second: Frames) -> Frames:
    """From the first frame of one clip to the last one of another of the same length, slow at both ends."""
    line = np.linspace(0, 1, len(first), dtype=np.float32)
    pairs = zip(line * line * (3 - 2 * line), first, second, strict=True)
    return np.stack([np.round((1 - share) * a + share * b).astype(np.uint8) for share, a, b in pairs])
