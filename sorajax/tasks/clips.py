"""Text to video and image to video at any length, and storyboards: films of several scenes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from sorajax.errors import BadRequest
from sorajax.media.video import Film, Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import CUT, MOST_SECONDS, Request, StoryboardScene
from sorajax.sampling.settings import Settings
from sorajax.sampling.shots import Shot, as_new_shot, shots_of
from sorajax.sampling.store import WindowStores
from sorajax.tasks.shaping import check_own_length, frame_of, frames_in, plan_and_note, rate, single_requests, with_size
from sorajax.tasks.table import TASKS


def text(pipeline: Pipeline, request: Request, stores: WindowStores | None = None) -> Iterator[Video | Film]:
    """Text to video: clips of the prompts, of any length up to an hour."""
    settings = plan_and_note(pipeline, request)
    if not settings.in_windows:
        yield from clips(pipeline, request, settings, None, stores)
        return
    for number, one in enumerate(single_requests(request)):
        yield make_film(pipeline, settings, shots_of(one.prompts[0], settings.frames), one.seed, number, stores)


def animate(
    pipeline: Pipeline, request: Request, still: Video, stores: WindowStores | None = None
) -> Iterator[Video | Film]:
    """Image to video: clips that begin with the still, as the autoencoder reconstructs it, and follow the prompt."""
    request = with_size(pipeline, request, still)
    head = frame_of(pipeline, request, still, "first")
    settings = plan_and_note(pipeline, request)
    if not settings.in_windows:
        yield from clips(pipeline, request, settings, ConditioningFrames(head=head, exact=False), stores)
        return
    for number, one in enumerate(single_requests(request)):
        shots = shots_of(one.prompts[0], settings.frames, Video(head, still.fps))
        yield make_film(pipeline, settings, shots, one.seed, number, stores)


def clips(
    pipeline: Pipeline,
    request: Request,
    settings: Settings,
    conditioning: ConditioningFrames | None,
    stores: WindowStores | None,
) -> Iterator[Video | Film]:
    """Videos of one window; if some may be finished already, each is a `Film`, sampled when it is read."""
    if stores is None or not stores.resume:
        yield from pipeline.stream(request, settings, conditioning=conditioning)
        return
    for one in single_requests(request):
        frames = (video.frames for video in pipeline.stream(one, settings, conditioning=conditioning))
        metadata = pipeline.metadata(settings, one.prompts[0], one.seed)
        yield Film(frames, settings.frames, settings.height, settings.width, settings.fps, metadata)


def storyboard(
    pipeline: Pipeline, request: Request, scenes: Sequence[StoryboardScene], stores: WindowStores | None = None
) -> Iterator[Video | Film]:
    """One film of several scenes, each with its own prompt; the request's settings apply, its prompts do not.

    A scene that continues has no seam. A cut begins a new shot: only its prompt carries over what stays the same ("the
    same red ball").
    """
    pictures = [scene.picture() for scene in scenes]
    request = with_size(pipeline, request, next((picture for picture in pictures if picture is not None), None))
    if (total := sum(scene.seconds for scene in scenes)) > MOST_SECONDS:
        raise BadRequest(f"the scenes last {total:g} seconds together: use at most {MOST_SECONDS}, an hour")
    check_own_length(request, TASKS["storyboard"].own_length)
    prompts = tuple(as_new_shot(scene.prompt) for scene in scenes)
    settings = plan_and_note(pipeline, replace(request, prompts=prompts, frames=None, seconds=None))
    shots = []
    for scene, prompt, picture in zip(scenes, prompts, pictures, strict=True):
        image = None if picture is None else Video(frame_of(pipeline, request, picture, "first"), picture.fps)
        shots_of_scene = shots_of(prompt, frames_in(scene.seconds, rate(request)), image)
        cut = scene.join == "cut" or CUT.match(prompt.strip()) is not None
        shots += [replace(shots_of_scene[0], cut=cut), *shots_of_scene[1:]]
    for number, (_, seed) in enumerate(request.clips):
        yield make_film(pipeline, settings, shots, seed, number, stores)


def make_film(
    pipeline: Pipeline, settings: Settings, shots: Sequence[Shot], seed: int, number: int, stores: WindowStores | None
) -> Film:
    """Film number `number` of a request; with `stores` its windows are stored on disk."""
    film = pipeline.film(settings, shots, seed)
    if stores is None:
        return film
    images = [shot.image and sha256(shot.image.frames.tobytes()).hexdigest() for shot in shots]
    return pipeline.film(settings, shots, seed, store=stores(number, {**film.described(), "images": images}))
