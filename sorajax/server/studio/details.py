"""The request of a video, so that it can be repeated; and its file in other formats."""

import re
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select

from sorajax.server.database import FILES, VIDEOS
from sorajax.server.failures import ApiError, invalid
from sorajax.server.service import Service
from sorajax.server.videos import as_owner

router = APIRouter(prefix="/v1/videos", tags=["studio"])
STYLE = re.compile(r"\. The style is ([^.]+)\.$")
LONGEST = 60.0  # seconds of an animation, whose frames are all in memory
TYPES = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp"}
CONVERTING = threading.Semaphore(1)  # it takes a processor


@router.get("/{video_id}/request")
async def asked(request: Request, video_id: str) -> Response:
    """The fields of `POST /v1/videos` that make the same video. A null reference is to a file that was deleted."""

    def work(service: Service, owner: str) -> dict[str, Any]:
        return fields_of(service, owner, service.jobs.get(video_id, owner))

    return JSONResponse({"id": video_id, "fields": await as_owner(request, work)})


def fields_of(service: Service, owner: str, row: dict[str, Any]) -> dict[str, Any]:
    """The request's fields of a job."""
    spec, task = row["spec"], row["task"]
    values = {name: value for name, value in spec["request"].items() if name not in ("prompts", "num", "seeds")}
    values = {name: value for name, value in values.items() if value not in (None, [], ())}
    style = STYLE.search(spec["request"]["prompts"][0])
    if style and (spec.get("scenes") or not STYLE.search(row["prompt"])):
        values["style"] = style.group(1)

    def reference(entry: dict[str, Any] | None) -> dict[str, str] | None:
        return None if entry is None else reference_to(service, owner, entry)

    if scenes := spec.get("scenes"):
        values[task] = [
            {
                "prompt": STYLE.sub("", scene["prompt"]) if style else scene["prompt"],
                "seconds": scene["seconds"],
                "join": scene["join"],
                **({"image": reference(scene["image"])} if scene["image"] else {}),
            }
            for scene in scenes
        ]
    else:
        values["prompt"] = row["prompt"]
        inputs = [reference(entry) for entry in spec["inputs"]]
        if task != "text":
            values[task] = inputs if len(inputs) > 1 else inputs[0] if inputs else True
    for name, value in spec["options"].items():
        if value is not None:
            values[name] = reference(value) if isinstance(value, dict) else value
    if spec.get("trim"):
        values["trim"] = spec["trim"]
    return values


def reference_to(service: Service, owner: str, entry: dict[str, Any]) -> dict[str, str] | None:
    """The reference that names a stored picture or clip, if it still exists."""
    with service.database.connect() as connection:
        for table, column, name in ((VIDEOS, "file", "id"), (FILES, "content", "file_id")):
            query = select(table.c.id).where(table.c[column] == entry["content"], table.c.owner == owner)
            if (found := connection.execute(query.limit(1)).scalar()) is not None:
                return {name: found}
    return None


@router.get("/{video_id}/download")
async def download(request: Request, video_id: str, format: Literal["mp4", "gif", "webp"] = "mp4") -> Response:
    """The finished video as a file, with its settings in its metadata."""

    def work(service: Service, owner: str) -> Response:
        row = service.jobs.get(video_id, owner)
        if row["status"] != "completed" or row["file"] is None:
            raise ApiError(409, f"the video is {row['status']}: only a finished one has a file", "video_id")
        path = service.content.path(row["file"])
        data = path.read_bytes() if format == "mp4" else converted(path, row, format)
        name = file_name(row, format)
        return Response(
            data, media_type=TYPES[format], headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    return await as_owner(request, work)


def converted(path: Path, row: dict[str, Any], format: str) -> bytes:
    """A video as an animation. Raises ApiError for one that is too long."""
    if row["seconds"] > LONGEST:
        raise invalid(f"{row['seconds']:g} seconds are too long for {format}: use mp4 above {LONGEST:g}", "format")
    from sorajax.media.video import Video

    with CONVERTING, tempfile.TemporaryDirectory() as folder:
        return Video.load(path).save(Path(folder) / f"video.{format}").read_bytes()


def file_name(row: dict[str, Any], format: str) -> str:
    """A file's name, by prompt and seed."""
    words = re.sub(r"[^a-z0-9]+", "_", row["prompt"].lower()).strip("_")[:60].strip("_") or row["task"]
    return f"{words}_{row['spec'].get('request', {}).get('seed', 0)}.{format}"
