"""The settings of a clip made by sorajax, from the metadata in its file. Its inputs are found by their content; those
that the server no longer has are named, to be uploaded again."""

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError

from sorajax.server.bodies import read_body
from sorajax.server.content import NAME
from sorajax.server.describe import body_of
from sorajax.server.fields import Create, fields
from sorajax.server.service import Service
from sorajax.server.studio.details import STYLE, reference_to
from sorajax.server.videos import as_owner
from sorajax.tasks.table import TASKS, Task

router = APIRouter(prefix="/v1/studio", tags=["studio"])
LONGEST_NAME = 80  # characters of a file's name that are shown
MOST_SCENES = 1000
SETTINGS = (
    *("seed", "steps", "guidance_scale", "guidance_scale_low", "temperature", "sampler", "shift", "negative"),
    *("fps", "width", "height"),
)
Restore = fields(
    "RestoreSettings",
    "The metadata of a clip, as its file has them.",
    metadata=(dict[str, Any], Field(description="the JSON object in the file's comment")),
)
Find = Callable[[str], dict[str, str] | None]
"""The reference to a file by its name in the content store; None if the server does not have it."""


@router.post("/restore", openapi_extra=body_of(Restore))
async def restore(request: Request) -> Response:
    """The fields of `POST /v1/videos` that make a clip with this metadata, and which of its inputs the server lacks."""
    await as_owner(request, lambda service, owner: None)
    body: Any = await read_body(request, Restore)

    def work(service: Service, owner: str) -> dict[str, Any]:
        values, missing = restored(body.metadata, lambda name: reference_to(service, owner, {"content": name}))
        return {"fields": values, "missing": missing}

    return JSONResponse(await as_owner(request, work))


def restored(metadata: dict[str, Any], find: Find) -> tuple[dict[str, Any], list[dict[str, str | None]]]:
    """The request's fields, and the inputs that `find` does not know: their slots, e.g. "between.1", and file names.

    Values that no request can have are left out: anybody may have written the file.
    """
    task, missing = task_in(metadata), []

    def reference(value: Any, slot: str) -> dict[str, str] | None:
        stored = isinstance(value, str) and NAME.fullmatch(value)
        found = find(value) if stored else None
        if found is None:
            name = PurePath(value).name[:LONGEST_NAME] if isinstance(value, str) and not stored else None
            missing.append({"slot": slot, "file": name})
        return found

    values: dict[str, Any] = {}
    for name in SETTINGS:
        put(values, name, metadata.get(name))
    style = style_of(metadata.get("prompt"))
    if style:
        put(values, "style", style)
    if "scenes" in task.inputs:
        values[task.name] = scenes_in(metadata, style, reference)
    else:
        put(values, "prompt", without(style, metadata.get("prompt")))
        if task is not TASKS["text"]:
            given = metadata.get(task.name)
            given = given if isinstance(given, list) else [given]
            given = [*given, *[None] * len(task.inputs)][: len(task.inputs)]
            found = [reference(value, f"{task.name}.{number}") for number, value in enumerate(given)]
            values[task.name] = found if len(found) > 1 else found[0] if found else True
        if "clip" in task.inputs:
            for name in ("seconds", "frames"):
                put(values, name, metadata.get(f"{name}_asked"))
        else:
            put(values, "frames", metadata.get("frames"))
    for name in (*task.options, *["trim"] * task.trims):
        if (value := metadata.get(name)) is not None:
            if name != "mask":
                put(values, name, value)
            elif (mask := reference(value, "mask")) is not None:
                values[name] = mask
    return values, missing


def task_in(metadata: dict[str, Any]) -> Task:
    """The task of a clip; a film of several shots is a storyboard."""
    if (stated := metadata.get("task")) in tuple(TASKS):
        return TASKS[str(stated)]
    found = next((task for name, task in TASKS.items() if metadata.get(name)), None)
    return found or TASKS["storyboard" if isinstance(metadata.get("shots"), list) else "text"]


def scenes_in(metadata: dict[str, Any], style: str | None, reference: Callable[..., Any]) -> list[dict[str, Any]]:
    """The scenes of a storyboard; of one that the command line made, its shots."""
    stated = metadata.get("storyboard")
    shots = metadata.get("shots")
    if not isinstance(shots, list):
        shots = [{"prompt": metadata.get("prompt"), "frames": metadata.get("frames")}]
    given = stated if isinstance(stated, list) else shots
    scenes = []
    for number, one in enumerate(one for one in given[:MOST_SCENES] if isinstance(one, dict)):
        scene: dict[str, Any] = {"prompt": "", "seconds": 1.0, "join": "continue"}
        prompt, image = without(style, one.get("prompt")), one.get("image")
        seconds = one.get("seconds") or seconds_in(one.get("frames"), metadata.get("fps"))
        join = one.get("join") or ("cut" if one.get("cut") else "continue")
        for name, value in (("prompt", prompt), ("seconds", seconds), ("join", join)):
            put(scene, name, value, scene)
        if image and (found := reference(image, f"storyboard.{number}")):
            scene["image"] = found
        scenes.append(scene)
    return scenes


def seconds_in(frames: Any, fps: Any) -> float | None:
    """Seconds of so many frames, where both are numbers."""
    known = all(isinstance(value, int | float) and 0 < value < 1e6 for value in (frames, fps))
    return frames / fps if known else None


def put(values: dict[str, Any], name: str, value: Any, scene: dict[str, Any] | None = None) -> None:
    """Sets a field, if a request can have this value. scene: that of a storyboard whose field it is."""
    one = {name: value} if scene is None else {"storyboard": [{**scene, name: value}]}
    try:
        Create.model_validate(one)
    except ValidationError:
        return
    if value not in (None, ""):
        values[name] = value


def style_of(prompt: Any) -> str | None:
    """The style at the end of a prompt."""
    found = STYLE.search(prompt) if isinstance(prompt, str) else None
    return None if found is None else found.group(1)


def without(style: str | None, prompt: Any) -> Any:
    """A prompt without its style."""
    return re.sub(STYLE, "", prompt) if style and isinstance(prompt, str) else prompt
