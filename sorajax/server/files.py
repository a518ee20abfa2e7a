"""The operations on uploaded files."""

from typing import Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from sorajax.server.bodies import read_body
from sorajax.server.database import FILES
from sorajax.server.describe import body_of
from sorajax.server.failures import missing
from sorajax.server.fields import NewFile
from sorajax.server.service import Service
from sorajax.server.videos import as_owner, check_key, page_of

router = APIRouter(prefix="/v1/files", tags=["files"])
BINARY = "application/octet-stream"  # a browser saves it, and shows nothing that a user uploaded


def file_answer(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `FILES` as the API shows it."""
    return {
        "id": row["id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": int(row["created_at"]),
        "expires_at": None,
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": "processed",
    }


@router.post("", openapi_extra=body_of(NewFile))
async def upload(request: Request) -> Response:
    """Stores a picture or clip for later requests."""
    await check_key(request)
    body: Any = await read_body(request, NewFile)

    def work(service: Service, owner: str) -> dict[str, Any]:
        service.check_room()
        return service.uploads.add_file(owner, body.file, body.purpose)

    return JSONResponse(file_answer(await as_owner(request, work)))


@router.get("")
async def list_files(
    request: Request,
    after: str | None = Query(None, max_length=100),
    limit: int = Query(100, ge=1, le=1000),
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """The files of this key, newest first."""
    rows, more = await as_owner(
        request, lambda service, owner: service.uploads.files(owner, after, limit, order == "desc")
    )
    return JSONResponse(page_of([file_answer(row) for row in rows], more))


@router.get("/{file_id}")
async def retrieve_file(request: Request, file_id: str) -> Response:
    """A file's name and size."""
    row = await as_owner(request, lambda service, owner: service.uploads.get(FILES, file_id, owner, "file", "file_id"))
    return JSONResponse(file_answer(row))


@router.get("/{file_id}/content", response_class=FileResponse)
async def file_content(request: Request, file_id: str) -> Response:
    """A file as it was uploaded."""

    def work(service: Service, owner: str) -> Response:
        row = service.uploads.get(FILES, file_id, owner, "file", "file_id")
        try:
            path = service.content.path(row["content"])
        except FileNotFoundError as error:
            raise missing("content of the file", file_id, "file_id") from error
        return FileResponse(path, media_type=BINARY, filename=file_id + path.suffix)

    return await as_owner(request, work)


@router.delete("/{file_id}")
async def delete_file(request: Request, file_id: str) -> Response:
    """Deletes a file; jobs that use it are not affected."""
    await as_owner(request, lambda service, owner: service.uploads.delete_file(file_id, owner))
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})
