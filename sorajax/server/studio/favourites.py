"""Videos that a user has marked."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from sorajax.server.database import FAVOURITES, VIDEOS
from sorajax.server.service import Service
from sorajax.server.videos import as_owner

router = APIRouter(prefix="/v1/favourites", tags=["studio"])


@router.get("")
async def favourites(request: Request) -> Response:
    """The ids of the favourites of this key."""

    def work(service: Service, owner: str) -> list[str]:
        query = select(VIDEOS.c.id).join(FAVOURITES, FAVOURITES.c.video == VIDEOS.c.id)
        with service.database.connect() as connection:
            return list(
                connection.execute(query.where(FAVOURITES.c.owner == owner).order_by(VIDEOS.c.number)).scalars()
            )

    return JSONResponse({"object": "list", "data": await as_owner(request, work)})


@router.put("/{video_id}")
async def mark(request: Request, video_id: str) -> Response:
    """Makes a video a favourite."""

    def work(service: Service, owner: str) -> None:
        service.jobs.get(video_id, owner)
        try:
            with service.database.begin() as connection:
                connection.execute(insert(FAVOURITES).values(owner=owner, video=video_id))
        except IntegrityError:  # it is one
            return

    await as_owner(request, work)
    return JSONResponse({"id": video_id, "favourite": True})


@router.delete("/{video_id}")
async def unmark(request: Request, video_id: str) -> Response:
    """Makes a video no favourite."""

    def work(service: Service, owner: str) -> None:
        service.jobs.get(video_id, owner)
        with service.database.begin() as connection:
            c = FAVOURITES.c
            connection.execute(delete(FAVOURITES).where(c.owner == owner, c.video == video_id))

    await as_owner(request, work)
    return JSONResponse({"id": video_id, "favourite": False})
