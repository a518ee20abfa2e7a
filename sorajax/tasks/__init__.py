"""Every way to ask, as what is given: each task lays its pixels on windows of the model's length, and samples them.

    text      what the prompt says, of any length            storyboard   several prompts, one after another
    animate   the still, then what the prompt says           extend       a clip, and what comes after or before it
    between   a first and a last picture, and their middle   connect      one clip, a bridge, another clip
    fill      a clip with a gap, which is made               edit         a clip, again, as the prompt says
    blend     a clip that becomes another one                loop         a clip that ends where it begins

A task yields one video per prompt and seed, in the request's order; what is longer than the model's window, or perhaps
finished already, comes as a `Film`, made while it is saved. None of them adds an argument to the model or to a sampler:
see `sampling.conditions`, `sampling.film`, `diffusion.fixed_frames` and, of loops, `diffusion.looped`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import Any, Literal, Protocol, get_args

import numpy as np

from sorajax.diffusion.looped import Cycle
from sorajax.errors import BadRequest, note
from sorajax.media.video import Film, Frames, Video
from sorajax.sampling.conditions import ConditioningFrames, fitted_mask, in_colours_of
from sorajax.sampling.film import Shot, WindowStore, as_new_shot, latents_for, overlap, shots_of, window_seed
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import CUT, MOST_SECONDS, Request, StoryboardScene
from sorajax.sampling.settings import Settings
from sorajax.tasks.shaping import (
    check_own_length,
    frame_of,
    frames_in,
    frames_of,
    lengthened,
    rate,
    requested_frames,
    shaped,
    single_requests,
)

Direction = Literal["forward", "backward", "both"]
AT_ONCE = 8  # of the model's longest windows
LEADING = 0.93  # the strength that is left to what leads to a clip, over a crossfade of what lies around it


class WindowStores(Protocol):
    """Where the windows of films are kept."""

    @property
    def resume(self) -> bool:
        """Whether some videos may be finished already, and need not be made."""
        ...

    def __call__(self, number: int, said: Any) -> WindowStore:
        """Of the film of that number; `said`, JSON values, is what makes it."""
        ...


def text(pipeline: Pipeline, request: Request, stores: WindowStores | None = None) -> Iterator[Video | Film]:
    """What the prompts say, a minute long if need be."""
    settings = planned(pipeline, request)
    if not settings.in_windows:
        yield from clips(pipeline, request, settings, None, stores)
        return
    for number, one in enumerate(single_requests(request)):
        yield filmed(pipeline, one, shots_of(one.prompts[0], settings.frames), number, stores)


def animate(
    pipeline: Pipeline, request: Request, still: Video, stores: WindowStores | None = None
) -> Iterator[Video | Film]:
    """Begins with the still, as the autoencoder shows it, and goes on as the prompt says."""
    request = shaped(pipeline, request, still)
    head = frame_of(pipeline, request, still, "first")
    settings = planned(pipeline, request)
    if not settings.in_windows:
        yield from clips(pipeline, request, settings, ConditioningFrames(head=head, exact=False), stores)
        return
    for number, one in enumerate(single_requests(request)):
        shots = shots_of(one.prompts[0], settings.frames, Video(head, still.fps))
        yield filmed(pipeline, one, shots, number, stores)


def clips(
    pipeline: Pipeline,
    request: Request,
    settings: Settings,
    conditioning: ConditioningFrames | None,
    stores: WindowStores | None,
) -> Iterator[Video | Film]:
    """Videos of one window; where some may be finished, each is made when it is read."""
    if stores is None or not stores.resume:
        yield from pipeline.stream(request, settings, conditioning=conditioning)
        return
    for one in single_requests(request):
        yield pipeline.later(one, settings, conditioning)


def storyboard(
    pipeline: Pipeline, request: Request, scenes: Sequence[StoryboardScene], stores: WindowStores | None = None
) -> Iterator[Video | Film]:
    """Scene after scene, each as its own prompt says; the request's prompts do not count, its settings do.

    A scene that continues has no seam. A cut begins anew: what stays the same is what its prompt names ("the same red
    ball").
    """
    pictures = [None if scene.image is None else Video.load(scene.image) for scene in scenes]
    request = shaped(pipeline, request, next((picture for picture in pictures if picture is not None), None))
    if (total := sum(scene.seconds for scene in scenes)) > MOST_SECONDS:
        raise BadRequest(f"the scenes last {total:g} seconds together: use at most {MOST_SECONDS}, an hour")
    check_own_length(request, "a storyboard is as long as its scenes")
    prompts = tuple(as_new_shot(scene.prompt) for scene in scenes)
    planned(pipeline, replace(request, prompts=prompts, frames=None, seconds=None))  # or refuses
    shots = []
    for scene, prompt, picture in zip(scenes, prompts, pictures, strict=True):
        image = None if picture is None else Video(frame_of(pipeline, request, picture, "first"), picture.fps)
        shots_of_scene = shots_of(prompt, frames_in(scene.seconds, rate(request)), image)
        cut = scene.join == "cut" or CUT.match(prompt.strip()) is not None
        shots += [replace(shots_of_scene[0], cut=cut), *shots_of_scene[1:]]
    for number, seed in enumerate(range(request.seed, request.seed + request.num)):
        yield filmed(pipeline, replace(request, seed=seed), shots, number, stores)


def filmed(pipeline: Pipeline, one: Request, shots: Sequence[Shot], number: int, stores: WindowStores | None) -> Film:
    """A film of the request's settings."""
    film = pipeline.film(one, shots, one.seed)
    if stores is None:
        return film
    images = [shot.image and sha256(shot.image.frames.tobytes()).hexdigest() for shot in shots]
    return pipeline.film(one, shots, one.seed, kept=stores(number, {**film.described(), "images": images}))


def extend(pipeline: Pipeline, request: Request, clip: Video, direction: Direction) -> Iterator[Video]:
    """The clip, untouched, and `seconds` (or `frames`) more after it, before it, or both."""
    if direction not in get_args(Direction):
        raise BadRequest(f"direction {direction!r} is not allowed: use {', '.join(get_args(Direction))}")
    if direction != "forward" and pipeline.config.known == "channels":
        raise BadRequest(
            f"{pipeline.name} begins from pictures, and cannot make what comes before a clip: say --direction forward"
        )
    request = shaped(pipeline, request, clip)
    fps, start = rate(request), frames_of(pipeline, request, clip)
    if request.seconds and round(request.seconds * fps) < 1:
        raise BadRequest(
            f"an extension of {request.seconds} s at {fps:g} fps has no frame: ask for {1 / fps:.3g} seconds or more"
        )
    wanted = requested_frames(request) or max(1, (pipeline.window - 1) // 2)
    for one in single_requests(request):
        parts = [start]
        if direction in ("forward", "both"):
            parts = [*parts, after(pipeline, one, start, wanted)]
        if direction in ("backward", "both"):
            parts = [before(pipeline, one, start, wanted), *parts]
        settings = planned(pipeline, replace(one, frames=None, seconds=None))
        said = pipeline.metadata(settings, one.prompts[0], one.seed)
        yield Video(np.concatenate(parts), fps, said)


def after(pipeline: Pipeline, one: Request, start: Frames, wanted: int) -> Frames:
    """So many frames that follow a clip: a film of which its end is given, and whose prompt may name cuts. See
    `in_colours_of`."""
    stride = pipeline.config.vae.stride[0]
    most = overlap((pipeline.film_window - 1) // stride + 1)
    head = start[-(min(most, (len(start) - 1) // stride) * stride + 1) :]
    first, *others = shots_of(one.prompts[0], wanted)
    shots = [replace(first, frames=len(head) + first.frames), *others]
    if CUT.match(one.prompts[0].strip()):  # at once
        shots = [replace(first, frames=len(head)), replace(first, cut=True), *others]
    film, end = pipeline.film(one, shots, one.seed, head).whole().frames, shots[0].frames
    return np.concatenate([in_colours_of([(len(head) - 1, head[-1])], film[:end])[len(head) :], film[end:]])


def before(pipeline: Pipeline, one: Request, end: Frames, wanted: int) -> Frames:
    """So many frames that lead to a clip; where the prompt names cuts, after a film of the other shots."""
    *others, last = shots_of(one.prompts[0], wanted)
    led = leading_up(pipeline, replace(one, prompts=(last.prompt,)), end, last.frames)
    return np.concatenate([pipeline.film(one, others, one.seed).whole().frames, led]) if others else led


def leading_up(pipeline: Pipeline, one: Request, end: Frames, wanted: int) -> Frames:
    """So many frames that lead to a clip, window by window, each of which knows the beginning of what there is: a third
    of a window, or two latents: of less a pace is guessed, and more would leave a seam after every few frames."""
    stride, window = pipeline.config.vae.stride[0], pipeline.film_window
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


def between(pipeline: Pipeline, request: Request, first: Video, last: Video) -> Iterator[Video]:
    """From one picture to another, in stride * n + 2 frames: the last one fills one latent frame, of which its first
    pixel frame is shown. A model that is told in pixels what it knows makes stride * n + 1, and is told of one."""
    if pipeline.config.vision is not None:
        note(f"{pipeline.name} was trained on first pictures alone, and may not hold the last one")
    request = shaped(pipeline, request, first)
    stride = pipeline.config.vae.stride[0]
    copies, rest = (1, 1) if pipeline.config.known == "channels" else (stride, 2)
    wanted = requested_frames(request) or max(pipeline.film_window + 1 - copies, stride + rest)
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


def fill(pipeline: Pipeline, request: Request, clip: Video, start: float, end: float) -> Iterator[Video]:
    """The clip with its frames from `start` to `end` seconds made anew, between what comes before and after them."""
    check_own_length(request, "a gap is as long as it is said")
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


def loop(pipeline: Pipeline, request: Request) -> Iterator[Video]:
    """A clip of the prompt without a seam from its end to its start, however often it is played: `seconds` (or
    `frames`) of it, by default as much as the model's longest clip, in whole latents, two at least."""
    if cut := next((prompt for prompt in request.prompts if CUT.search(prompt)), None):
        raise BadRequest(f'"{cut}" asks for a cut, and a loop has no seam: leave "Cut to:" out, or --loop')
    request = shaped(pipeline, request, None)
    stride, window = pipeline.config.vae.stride[0], pipeline.window
    length = max(2, (window - 1) // stride)
    wanted = requested_frames(request) or length * stride
    cycle = Cycle(max(2, round(wanted / stride)), length)
    check_at_once(pipeline, cycle.size * stride)
    if cycle.size * stride != wanted:
        least = f"the model makes {stride}n, {2 * stride} at least"
        note(f"a loop of {wanted} frames is rounded to {cycle.size * stride}: {least}")
    view = planned(pipeline, replace(request, frames=cycle.length * stride + 1, seconds=None), at_once=True)
    yield from pipeline.stream(request, view, cycle=cycle)


def edit(
    pipeline: Pipeline, request: Request, clip: Video, strength: float, mask: np.ndarray | None = None
) -> Iterator[Video]:
    """The clip as the prompt says; with a mask (bool [y x], of the clip's size) only where that is true."""
    check_own_length(request, "an edit is as long as its clip")
    request = shaped(pipeline, request, clip)
    frames = frames_of(pipeline, request, clip)
    if mask is not None and np.ndim(mask) != 2:
        raise BadRequest(f"the mask has the shape {np.shape(mask)}: give one picture of booleans, [y x]")
    region = None if mask is None else fitted_mask(mask, *frames.shape[2:0:-1])
    yield from remade(pipeline, request, ConditioningFrames(source_clip=frames, strength=strength, region=region))


def blend(pipeline: Pipeline, request: Request, first: Video, second: Video, strength: float) -> Iterator[Video]:
    """A clip that becomes another: their crossfade, slow at both ends, made again from `strength`, between the first
    frame of the one and the last ones of the other. As long as the shorter one, or as `seconds` (or `frames`) says."""
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
    stride, window = pipeline.config.vae.stride[0], pipeline.window
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


def bridged(pipeline: Pipeline, request: Request, before: Frames, after: Frames, wanted: int | None) -> Video:
    """Both clips, and between them a bridge of so many frames, by default as many as fit; of each the model knows a
    quarter of its longest window, where it is so long: of less of the second clip it does not see how fast that begins.
    """
    stride, window = pipeline.config.vae.stride[0], pipeline.window
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
    if pipeline.config.known == "channels":  # told what is known, and nothing roughly
        return ConditioningFrames(head=head, tail=tail)
    first = tail[:1] if head is None else head[-1:]
    led = crossfade(*(np.broadcast_to(end, (new + 2, *end.shape[1:])) for end in (first, tail[:1])))[1:-1]
    parts = [led, tail] if head is None else [head, led, tail]
    return ConditioningFrames(head=head, tail=tail, source_clip=np.concatenate(parts), strength=LEADING)


def crossfade(first: Frames, second: Frames) -> Frames:
    """From the first frame of one clip to the last one of another of the same length, slow at both ends."""
    line = np.linspace(0, 1, len(first), dtype=np.float32)
    pairs = zip(line * line * (3 - 2 * line), first, second, strict=True)
    return np.stack([np.round((1 - share) * a + share * b).astype(np.uint8) for share, a, b in pairs])


def sampled(pipeline: Pipeline, request: Request, conditioning: ConditioningFrames | None = None) -> Iterator[Video]:
    """The request's videos, of each of which `given` is known, made at once."""
    settings = planned(pipeline, request, at_once=True)
    check_at_once(pipeline, settings.frames)
    if settings.frames > pipeline.window:
        trained = f"the model was trained on {pipeline.window}"
        note(f"{settings.frames} frames are made at once, and {trained}; they may look worse")
    return pipeline.stream(request, settings, conditioning=conditioning)


def planned(pipeline: Pipeline, request: Request, at_once: bool = False) -> Settings:
    """What a request comes to with the model; whatever was not asked for is noted. Raises BadRequest."""
    settings = pipeline.plan(request, at_once)
    for text in settings.notes:
        note(text)
    return settings


def check_at_once(pipeline: Pipeline, frames: int) -> None:
    """Raises BadRequest for more frames than can be made at once in a time that somebody waits."""
    if frames > (most := AT_ONCE * pipeline.window):
        raise BadRequest(
            f"{frames} frames would be made at once, what is given among them, and {pipeline.name} makes "
            f"{most} at most: ask for a shorter clip, bridge or gap"
        )
