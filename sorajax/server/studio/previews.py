"""Previews of videos that are being sampled: the worker stores them, the page shows them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastapi import APIRouter, Request, Response
from sqlalchemy import Engine, delete, insert, select, update

from sorajax.server.database import PREVIEWS, for_progress, now
from sorajax.server.failures import missing
from sorajax.server.jobs import DAY
from sorajax.server.service import Service
from sorajax.server.videos import as_owner

router = APIRouter(prefix="/v1/videos", tags=["studio"])
PAUSE = 0.3  # seconds between previews


class Previews:
    """The previews in a database, for a worker."""

    def __init__(self, database: Engine):
        self.database, self.last, self.number = for_progress(database), 0.0, 0
        with self.database.begin() as connection:
            connection.execute(delete(PREVIEWS).where(PREVIEWS.c.made_at < now() - DAY))

    @property
    def due(self) -> bool:
        """Whether the last one is old enough for another."""
        return time.monotonic() - self.last > PAUSE

    def put(self, names: Sequence[str], images: Sequence[bytes]) -> None:
        """Stores the previews of videos that are sampled together."""
        self.last, self.number = time.monotonic(), self.number + 1
        with self.database.begin() as connection:
            for name, image in zip(names, images, strict=True):
                values = {"number": self.number, "image": image, "made_at": now()}
                if not connection.execute(update(PREVIEWS).where(PREVIEWS.c.video == name).values(values)).rowcount:
                    connection.execute(insert(PREVIEWS).values(video=name, **values))

    @contextmanager
    def during(self, names: Sequence[str]) -> Iterator[None]:
        """Deletes the previews of these videos at the end."""
        self.last = 0.0
        try:
            yield
        finally:
            with self.database.begin() as connection:
                connection.execute(delete(PREVIEWS).where(PREVIEWS.c.video.in_(names)))


def numbers(database: Engine) -> dict[str, int]:
    """The number of each video's preview."""
    with database.connect() as connection:
        return {row.video: row.number for row in connection.execute(select(PREVIEWS.c.video, PREVIEWS.c.number))}


@router.get("/{video_id}/preview")
async def preview(request: Request, video_id: str) -> Response:
    """The preview of a video in progress, as webp."""

    def work(service: Service, owner: str) -> bytes:
        service.jobs.get(video_id, owner)
        with service.database.connect() as connection:
            row = connection.execute(select(PREVIEWS.c.image).where(PREVIEWS.c.video == video_id)).first()
        if row is None:
            raise missing("preview of the video", video_id, "video_id")
        image: bytes = row.image
        return image

    return Response(await as_owner(request, work), media_type="image/webp", headers={"Cache-Control": "no-store"})
