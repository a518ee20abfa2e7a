"""Steps around sampling: expanding prompts before it, and choosing the best of several clips after it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sorajax.commands.arguments import Arguments
from sorajax.commands.failures import attempt
from sorajax.devices.distributed import Processes
from sorajax.errors import BadRequest
from sorajax.language.endpoint import Endpoint
from sorajax.media.video import Film, Video
from sorajax.sampling.request import Request, StoryboardScene
from sorajax.tasks.table import Task

if TYPE_CHECKING:
    from sorajax.language.remote_expander import Shown

Score = Callable[[Video, str], float]
APART = 2**16
"""Between the seeds of the clips of which one is chosen."""


def endpoint_of(arguments: Arguments) -> Endpoint | None:
    """The chat server that expands prompts, if the options name one. Raises BadRequest."""
    url, model = arguments.endpoint, arguments.expand_model
    if url is None and model is None:
        return None
    if url is None or model is None or not arguments.expand:
        raise BadRequest(
            "a chat server expands prompts with --expand --endpoint URL --expand-model NAME: give all three"
        )
    endpoint = Endpoint(url, model)
    _ = endpoint.client  # what is missing is said now
    return endpoint


def expanded(
    pipeline: Any, request: Request, task: Task, inputs: list[Any], endpoint: Endpoint | None, processes: Processes
) -> tuple[Request, list[Any]]:
    """The request and its inputs with expanded prompts: those of a storyboard's scenes, or the request's. Raises
    BadRequest, and Failure where there is no expander. Process 0 expands for all."""
    scenes: Sequence[StoryboardScene] = inputs[0] if "scenes" in task.inputs else ()
    prompts = [scene.prompt for scene in scenes] or request.prompts
    expand = partial(pipeline.expand, seed=request.seed, endpoint=endpoint)

    def all_of_them() -> list[str]:
        work = [partial(expand_scene, expand, scene) for scene in scenes]
        work = work or [partial(expand, prompt, shown=shown_by(task), inputs=inputs) for prompt in prompts]
        with ThreadPoolExecutor(endpoint.parallel if endpoint else 1) as pool:
            return list(pool.map(attempt, work))

    from sorajax.sampling.wording import remember  # it imports jax, which takes seconds

    texts = processes.from_first(all_of_them)
    for text, prompt in zip(texts, prompts, strict=True):
        remember(pipeline, text, prompt)
    if not scenes:
        return replace(request, prompts=tuple(texts)), inputs
    return request, [tuple(replace(scene, prompt=text) for scene, text in zip(scenes, texts, strict=True))]


def expand_scene(expand: Callable[..., str], scene: StoryboardScene) -> str:
    """The expanded prompt of a scene, which may begin with a picture."""
    if scene.image is None:
        return expand(scene.prompt)
    picture = scene.image if isinstance(scene.image, Video) else Video.load(scene.image)
    return expand(scene.prompt, shown="picture", inputs=[picture])


def shown_by(task: Task) -> "Shown":
    """How a task's files relate to its prompt: what the expander is shown."""
    if "strength" in task.options:
        return "edit"
    return next((kind for kind in task.inputs if kind != "scenes"), "text")


def best(
    make: Callable[..., Iterator[Video | Film]], count: int, score: Score, request: Request, stores: Any = None
) -> Iterator[Video | Film]:
    """For each clip of a request the best of `count`, by a score of video and prompt; its metadata say so. The seeds
    are the clip's own, and that plus multiples of `APART`. Windows of films are not stored."""
    for prompt, seed in request.clips:
        seeds = tuple((seed + number * APART) % 2**32 for number in range(count))
        several = replace(request, prompts=(prompt,) * count, num=1, seed=seed, seeds=seeds)
        clips = [clip.whole() for clip in make(several)]
        scores = [score(clip, prompt) for clip in clips]
        chosen = max(range(count), key=scores.__getitem__)
        more = {"best_of": count, "score": round(scores[chosen], 4)}
        yield replace(clips[chosen], metadata={**clips[chosen].metadata, **more})
