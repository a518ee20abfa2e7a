"""The page's files: `/` is its document, `/studio/...` its scripts, styles and texts."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"
router = APIRouter(include_in_schema=False)


class Files(StaticFiles):
    """Files that a browser keeps, and asks for again whether they have changed."""

    def file_response(self, *arguments: Any, **more: Any) -> Any:
        answer = super().file_response(*arguments, **more)
        answer.headers["cache-control"] = "no-cache"
        return answer


@router.api_route("/", methods=["GET", "HEAD"])
async def document() -> FileResponse:
    """The page."""
    return FileResponse(FOLDER / "index.html", headers={"cache-control": "no-cache"})


def add_page(app: FastAPI) -> None:
    """Adds the page to an application."""
    app.include_router(router)
    app.mount("/studio", Files(directory=FOLDER))
