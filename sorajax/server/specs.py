"""From a request's fields to a job: its task, its settings, and the properties of the video before it is made.

Mistakes are found here, before a job is queued, as far as the model's config shows them. What a worker finds later
ends the job with an error.
"""

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from sorajax.errors import BadRequest, Refused
from sorajax.models.sora import SoraConfig
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.sampling.request import (
    LARGEST_SEED,
    MOST_SECONDS,
    Request,
    StoryboardScene,
    check_strength,
    parse_size,
    parse_span,
    with_style,
)
from sorajax.sampling.settings import Settings, settings_for
from sorajax.server.failures import BLOCKED, ApiError, invalid
from sorajax.server.fields import SAME, Reference
from sorajax.server.jobs import Source
from sorajax.tasks.table import TASKS, Task

FORMER_MODELS = ("sora-2", "sora-2-pro")
FORMER_SIZES = ((720, 1280), (1280, 720), (1024, 1792), (1792, 1024), (1920, 1080), (1080, 1920))
"""Width and height of the closed API's videos: where the model does not make one, it makes its nearest shape."""
AREAS = 4  # a video has at most so many times the pixels of the model's largest size


@dataclass(frozen=True)
class Served:
    """The served model's name and config, with the operator's limits and policy."""

    name: str
    config: SoraConfig
    max_seconds: float = MOST_SECONDS
    policy: Policy = field(default_factory=Policy)


Find = Callable[[Reference, str], Source]
"""The source of a reference; the second argument names the field."""


def row_of(served: Served, values: Mapping[str, Any], task: Task, sources: list[Source], find: Find) -> dict[str, Any]:
    """The columns of `VIDEOS` for a request. values: its fields without the task's inputs. Raises ApiError."""
    check_model(served, values.get("model"))
    scenes, scene_entries = scenes_of(values, find)
    request = request_of(served, values, task, scenes)
    try:
        texts = [*request.prompts, request.negative or "", *(scene.prompt for scene in scenes)]
        Safety(served.policy).check_prompts(texts)
    except Refused as error:
        raise invalid(str(error), "prompt", BLOCKED) from error
    settings = settings_of(served, request, task, values)
    options, trim = task_options(values, task, find)
    entries = [source.entry for source in sources]
    spec: dict[str, Any] = {"request": as_json(request), "inputs": entries, "options": options}
    spec |= {"scenes": scene_entries} if scenes else {}
    spec |= {"trim": trim} if trim else {}
    seconds = length_of(request, settings, task, sources, scenes)
    if seconds > served.max_seconds:
        raise invalid(f"{seconds:g} seconds are not allowed here: use at most {served.max_seconds:g}", "seconds")
    batchable = not (entries or scenes or settings.in_windows)
    return {
        "model": served.name,
        "prompt": values.get("prompt") or request.prompts[0],
        "task": task.name,
        "spec": spec,
        "shape": shape_of(request, settings, task) if batchable else "",
        "seconds": seconds,
        "size": f"{settings.width}x{settings.height}",
        "priority": values.get("priority") or 0,
    }


def check_model(served: Served, name: str | None) -> None:
    """Raises ApiError for a model that is not served."""
    if name not in (None, "", served.name, *FORMER_MODELS):
        message = f"the model '{name[:80]}' is not served here: use '{served.name}'"
        raise ApiError(404, message, "model", "model_not_found")


def request_of(served: Served, values: Mapping[str, Any], task: Task, scenes: list[StoryboardScene]) -> Request:
    """The request for the model. Raises ApiError, which names the field."""
    values = {SAME.get(name, name): value for name, value in values.items() if value is not None}
    prompt = values.get("prompt") or ""
    if scenes:
        if prompt.strip():
            raise invalid(f"{task.own_length}: leave the prompt out", "prompt")
        prompt = scenes[0].prompt
    elif not prompt.strip():
        raise invalid('the prompt is empty: describe the video, e.g. "a red ball bounces on a grey floor"', "prompt")
    if values.get("style") and not scenes:  # theirs have it
        prompt = with_style(prompt, values["style"])
    known = {field.name for field in fields(Request)} - {"prompts", "num"}
    settings = {name: value for name, value in values.items() if name in known}
    if values.get("size"):
        if "width" in values or "height" in values:
            raise invalid("size and width or height are both set: give one of them", "size")
        settings["width"], settings["height"] = size_of(served.config, values["size"])
    if task.own_length and (given := [name for name in ("seconds", "frames") if name in settings]):
        raise invalid(f"{task.own_length.replace('--', '')}: leave {given[0]} out", given[0])
    settings.setdefault("seed", secrets.randbelow(LARGEST_SEED))
    try:
        request = Request((prompt,), **settings)
    except BadRequest as error:
        raise fault(error, field_at_fault(settings), values) from error
    check_area(served.config, request)
    return request


def size_of(config: SoraConfig, text: str) -> tuple[int, int]:
    """Width and height; a size of the closed API is replaced by the model's nearest. Raises ApiError."""
    try:
        width, height = parse_size(text)
    except BadRequest as error:
        raise invalid(str(error), "size") from error
    if (width, height) not in FORMER_SIZES or (height, width) in config.sizes:
        return width, height
    rows, columns = min(config.sizes, key=lambda size: (abs(math.log(size[1] * height / (size[0] * width))), -size[0]))
    return columns, rows


def check_area(config: SoraConfig, request: Request) -> None:
    """Raises ApiError for a size far beyond the model's."""
    most = AREAS * max(height * width for height, width in config.sizes)
    height, width = request.height or config.sizes[0][0], request.width or config.sizes[0][1]
    if height * width > most:
        sizes = ", ".join(f"{w}x{h}" for h, w in config.sizes)
        raise invalid(f"{width}x{height} is too large here: the model was trained at {sizes}", "size")


def field_at_fault(settings: Mapping[str, Any]) -> str | None:
    """The setting that `Request` refuses by itself."""
    for name, value in settings.items():
        try:
            Request(("a",), **{name: value})
        except BadRequest:
            return name
    return "frames" if "frames" in settings and "seconds" in settings else "prompt"


def fault(error: BadRequest, field: str | None, values: Mapping[str, Any]) -> ApiError:
    """The error of a field. Where `size` gave width and height, it names `size`."""
    if values.get("size") and field in ("width", "height"):
        return invalid(f"size {values['size']}: {error}", "size")
    return invalid(str(error), field)


def settings_of(served: Served, request: Request, task: Task, values: Mapping[str, Any]) -> Settings:
    """The model's settings of a request, or of its size alone for a task that has its own length. Raises ApiError."""
    alone = request if task.plans_length else replace(request, frames=None, seconds=None)
    try:
        return settings_for(alone, served.config)
    except BadRequest as error:
        names = ("width", "height", "frames", "guidance_scale_low")
        raise fault(error, next((name for name in names if name in str(error)), None), values) from error


def task_options(values: Mapping[str, Any], task: Task, find: Find) -> tuple[dict[str, Any], str | None]:
    """The options of a task as JSON values, and the span that its first clip is cut to. Raises ApiError."""
    owned = {name for other in TASKS.values() for name in other.options}
    for name in owned - set(task.options):
        if values.get(name) is not None:
            tasks = ", ".join(other.name for other in TASKS.values() if name in other.options)
            raise invalid(f"{name} is an option of {tasks}, and this is {task.name}: leave it out", name)
    options: dict[str, Any] = {name: values.get(name) for name in task.options}
    options = {name: task.options[name] if value is None else value for name, value in options.items()}
    if task.required and options[task.required] is None:
        raise invalid(f"{task.name} needs {task.required}: give it", task.required, "missing_field")
    trim = values.get("trim")
    if trim and not task.trims:
        raise invalid(f"{task.name} uses its clip as it is: leave trim out", "trim")
    for name, span in (("trim", trim), ("gap", options.get("gap"))):
        if span is not None:
            checked(partial(parse_span, span), name)
    if options.get("strength") is not None:
        checked(partial(check_strength, options["strength"]), "strength")
    if options.get("mask") is not None:
        options["mask"] = find(options["mask"], "mask").entry
    return options, trim


def scenes_of(values: Mapping[str, Any], find: Find) -> tuple[list[StoryboardScene], list[dict[str, Any]]]:
    """The scenes of a storyboard, and their entries in the job's spec. Raises ApiError."""
    scenes, entries = [], []
    for number, scene in enumerate(values.get("storyboard") or ()):
        where = f"storyboard.{number}"
        text = with_style(scene.prompt, values["style"]) if values.get("style") and scene.prompt else scene.prompt
        scenes.append(checked(partial(StoryboardScene, text, scene.seconds, scene.join), where))
        image = None if scene.image is None else find(scene.image, f"{where}.image").entry
        entries.append({"prompt": text, "seconds": scene.seconds, "join": scene.join, "image": image})
    if (total := sum(scene.seconds for scene in scenes)) > MOST_SECONDS:
        raise invalid(f"the scenes last {total:g} seconds: use at most {MOST_SECONDS}", "storyboard")
    return scenes, entries


def checked(work: Callable[[], Any], param: str) -> Any:
    """Runs `work`, whose BadRequest becomes an ApiError for a field."""
    try:
        return work()
    except BadRequest as error:
        raise invalid(str(error), param) from error


def length_of(
    request: Request, settings: Settings, task: Task, sources: list[Source], scenes: list[StoryboardScene]
) -> float:
    """Seconds of the video: exact for a clip of a prompt, about right for other tasks until it is made."""
    if scenes:
        return sum(scene.seconds for scene in scenes)
    clips = [source.seconds for source in sources if source.seconds]
    if task.own_length:
        return clips[0] if clips else settings.frames / settings.fps
    if task.plans_length:
        return settings.frames / settings.fps
    fps = request.fps or settings.fps
    asked = request.seconds or (request.frames / fps if request.frames else settings.frames / settings.fps)
    return asked if "strength" in task.options else sum(clips) + asked


def shape_of(request: Request, settings: Settings, task: Task) -> str:
    """The key of jobs that can be sampled together: all but prompt and seed."""
    shared = replace(request, prompts=("a",), seed=0)
    return f"{task.name} {settings.frames} {sorted((k, str(v)) for k, v in as_json(shared).items())}"


def as_json(request: Request) -> dict[str, Any]:
    """A request's fields that are not their defaults."""
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    kept = {"prompts": list(request.prompts), "seed": request.seed}
    return {**{name: value for name, value in values.items() if value is not None}, **kept}
