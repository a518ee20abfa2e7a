"""The operations on videos and characters."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile

from sorajax.server.bodies import read_body
from sorajax.server.database import CHARACTERS
from sorajax.server.describe import body_of
from sorajax.server.failures import ApiError, invalid, missing
from sorajax.server.fields import (
    Change,
    Character,
    Create,
    Edit,
    Extend,
    Fields,
    Reference,
    Remix,
    VideoAnswer,
    VideoPage,
    chosen_task,
    video_answer,
)
from sorajax.server.jobs import Source
from sorajax.server.service import Service
from sorajax.tasks.table import TASKS, Task

POLL_MS = "500"
VARIANTS = {
    "video": ("file", "video/mp4"),
    "thumbnail": ("thumbnail", "image/webp"),
    "spritesheet": ("spritesheet", "image/jpeg"),
}
LONGEST_REPEAT = 255
Result = TypeVar("Result")
router = APIRouter(prefix="/v1/videos", tags=["videos"])


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def as_owner(request: Request, work: Callable[[Service, str], Result]) -> Result:
    """Runs `work` in a thread, for the owner of the request's key. Raises ApiError, a 401."""
    service, authorization = service_of(request), request.headers.get("authorization")
    return await run_in_threadpool(lambda: work(service, service.owner(authorization)))


async def check_key(request: Request) -> None:
    """Raises ApiError, a 401, before a request's body is read."""
    if service_of(request).needs_keys:
        await as_owner(request, lambda service, owner: None)


def shown(row: dict[str, Any], status: int = 200) -> JSONResponse:
    """A video's answer; while it is unfinished, with the time after which to ask again."""
    headers = {"openai-poll-after-ms": POLL_MS} if row["status"] in ("queued", "in_progress") else {}
    return JSONResponse(video_answer(row), status, headers)


def fingerprint(request: Request, body: Fields) -> str:
    """A hash of a request; uploaded files count by content."""

    def plain(value: Any) -> Any:
        if isinstance(value, UploadFile):
            value.file.seek(0)
            return hashlib.file_digest(cast(Any, value.file), "sha256").hexdigest()
        return str(value)

    values = json.dumps(body.model_dump(exclude_unset=True), sort_keys=True, default=plain)
    return hashlib.sha256(f"{request.url.path} {values}".encode()).hexdigest()


async def queue(
    request: Request, body: Fields, sources: Callable[[Service, str], tuple[Task, list[Source]]], remixed: bool = False
) -> Response:
    """Queues the video of a request, once per Idempotency-Key."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= LONGEST_REPEAT:
        raise invalid(f"the Idempotency-Key has {len(key)} characters: use 1 to {LONGEST_REPEAT}", "Idempotency-Key")

    def work(service: Service, owner: str) -> dict[str, Any]:
        from sorajax.server.specs import row_of  # imports jax, which the service has begun to do

        repeat = None if key is None else (key, fingerprint(request, body))
        if repeat is not None:
            try:
                return service.jobs.repeated(owner, *repeat)
            except ApiError as error:
                if error.status != 404:
                    raise
        served = service.served()
        service.check_room()
        service.check_queue(owner)
        task, found = sources(service, owner)
        values = {name: getattr(body, name) for name in type(body).model_fields}
        row = row_of(
            served, values, task, found, lambda reference, param: service.uploads.find(reference, owner, param)
        )
        service.check_day(owner, row["seconds"])
        row |= {"owner": owner, "remixed_from": found[0].video if remixed else None}
        return service.jobs.add(row, repeat)

    return shown(await as_owner(request, work))


@router.post("", response_model=VideoAnswer, openapi_extra=body_of(Create))
async def create(request: Request) -> Response:
    """Makes a video of a prompt, and of the pictures or clips of the task that is set."""
    await check_key(request)
    body = await read_body(request, Create)

    def sources(service: Service, owner: str) -> tuple[Task, list[Source]]:
        task = chosen_task(body)
        values: Any = body
        if task.name != "image":
            given = getattr(body, task.name, None)
            references: Any = given if isinstance(given, list) else [given]
            if "scenes" in task.inputs or not task.inputs:
                return task, []
            return task, [service.uploads.find(one, owner, task.name) for one in references]
        names = [name for name in ("image", "input_reference", "characters") if getattr(values, name)]
        if len(names) > 1:
            raise invalid(f"{' and '.join(names)} are both the first frame: give one of them", names[1])
        if names[0] == "characters":
            return task, [service.uploads.character(values.characters[0].id, owner, "characters")]
        return task, [service.uploads.find(getattr(values, names[0]), owner, names[0])]

    return await queue(request, body, sources)


@router.get("", response_model=VideoPage)
async def list_videos(
    request: Request,
    after: str | None = Query(None, max_length=100),
    limit: int = Query(20, ge=1, le=100),
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """The videos of this key, newest first."""
    rows, more = await as_owner(request, lambda service, owner: service.jobs.page(owner, after, limit, order == "desc"))
    return JSONResponse(page_of([video_answer(row) for row in rows], more))


def page_of(data: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """A page of a list."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "has_more": more, "first_id": first, "last_id": last}


@router.post("/edits", response_model=VideoAnswer, openapi_extra=body_of(Edit))
async def edit(request: Request) -> Response:
    """Changes a clip as the prompt says."""
    return await from_video(request, Edit, TASKS["edit"])


@router.post("/extensions", response_model=VideoAnswer, openapi_extra=body_of(Extend))
async def extend(request: Request) -> Response:
    """Adds seconds to a clip; the answer's seconds are those of the whole."""
    return await from_video(request, Extend, TASKS["extend"])


async def from_video(request: Request, model: type[Fields], task: Task) -> Response:
    """Queues a video made from the clip in the field `video`."""
    await check_key(request)
    body: Any = await read_body(request, model)
    return await queue(request, body, lambda service, owner: (task, [service.uploads.find(body.video, owner, "video")]))


@router.post("/characters", openapi_extra=body_of(Character))
async def create_character(request: Request) -> Response:
    """Names a clip, with whose first frame later videos may begin. Nothing is learned from it."""
    await check_key(request)
    body: Any = await read_body(request, Character)

    def work(service: Service, owner: str) -> dict[str, Any]:
        service.check_room()
        return service.uploads.add_character(owner, body.name, service.uploads.find(body.video, owner, "video"))

    return JSONResponse(character_answer(await as_owner(request, work)))


@router.get("/characters/{character_id}")
async def get_character(request: Request, character_id: str) -> Response:
    """A character."""

    def work(service: Service, owner: str) -> dict[str, Any]:
        return service.uploads.get(CHARACTERS, character_id, owner, "character", "character_id")

    return JSONResponse(character_answer(await as_owner(request, work)))


def character_answer(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "object": "character", "name": row["name"], "created_at": int(row["created_at"])}


@router.get("/{video_id}", response_model=VideoAnswer)
async def retrieve(request: Request, video_id: str) -> Response:
    """A video's state; while it is unfinished, the header openai-poll-after-ms says when to ask again."""
    return shown(await as_owner(request, lambda service, owner: service.jobs.get(video_id, owner)))


@router.delete("/{video_id}")
async def delete(request: Request, video_id: str) -> Response:
    """Deletes a video; one in progress is cancelled."""
    await as_owner(request, lambda service, owner: service.jobs.delete(video_id, owner))
    return JSONResponse({"id": video_id, "object": "video.deleted", "deleted": True})


@router.patch("/{video_id}", response_model=VideoAnswer, openapi_extra=body_of(Change))
async def change(request: Request, video_id: str) -> Response:
    """Moves a queued video before those of lower priority."""
    await check_key(request)
    body: Any = await read_body(request, Change)
    return shown(
        await as_owner(request, lambda service, owner: service.jobs.prioritise(video_id, owner, body.priority))
    )


@router.post("/{video_id}/cancel", response_model=VideoAnswer)
async def cancel(request: Request, video_id: str) -> Response:
    """Ends a video that is queued or in progress; it is then failed, with the code "cancelled"."""
    return shown(await as_owner(request, lambda service, owner: service.jobs.cancel(video_id, owner)))


@router.post("/{video_id}/retry", response_model=VideoAnswer)
async def retry(request: Request, video_id: str) -> Response:
    """Queues a failed video again."""

    def work(service: Service, owner: str) -> dict[str, Any]:
        service.check_queue(owner)
        service.check_day(owner, service.jobs.get(video_id, owner)["seconds"])
        return service.jobs.retry(video_id, owner)

    return shown(await as_owner(request, work))


@router.get("/{video_id}/content", response_class=FileResponse)
async def content(
    request: Request, video_id: str, variant: Literal["video", "thumbnail", "spritesheet"] = "video"
) -> Response:
    """The finished video as mp4, its thumbnail as webp, or a sheet of its frames as jpeg."""

    def work(service: Service, owner: str) -> Response:
        row = service.jobs.get(video_id, owner)
        column, kind = VARIANTS[variant]
        if row["status"] != "completed":
            message = f"the video is {row['status']}: ask for its content when it is completed"
            raise ApiError(409, message, "video_id", "not_completed")
        try:
            path = service.content.path(row[column] or "")
        except FileNotFoundError as error:
            raise missing("content of the video", video_id, "video_id") from error
        headers = {"ETag": f'"{row[column][:32]}"', "Cache-Control": "private, immutable, max-age=86400"}
        return FileResponse(path, media_type=kind, filename=f"{video_id}{path.suffix}", headers=headers)

    return await as_owner(request, work)


@router.post("/{video_id}/remix", response_model=VideoAnswer, openapi_extra=body_of(Remix))
async def remix(request: Request, video_id: str) -> Response:
    """Changes a finished video as another prompt says."""
    await check_key(request)
    body = await read_body(request, Remix)

    def sources(service: Service, owner: str) -> tuple[Task, list[Source]]:
        return TASKS["edit"], [service.uploads.find(Reference.model_validate({"id": video_id}), owner, "video_id")]

    return await queue(request, body, sources, remixed=True)
