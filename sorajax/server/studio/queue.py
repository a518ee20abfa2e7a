"""The queue as the page shows it: in the order in which it is sampled, with the time that each video needs."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy import select, update

from sorajax.server.bodies import read_body
from sorajax.server.database import VIDEOS, as_dict
from sorajax.server.describe import body_of
from sorajax.server.failures import missing
from sorajax.server.fields import fields, video_answer
from sorajax.server.jobs import UNFINISHED
from sorajax.server.service import Service
from sorajax.server.studio.about import cost_of
from sorajax.server.studio.cost import Cost
from sorajax.server.studio.previews import numbers
from sorajax.server.videos import as_owner

router = APIRouter(prefix="/v1/queue", tags=["studio"])
MOST = 1000  # jobs
SURE = 10  # percent of progress from which the elapsed time says more than earlier videos
Name = Annotated[str, Field(max_length=100)]
Order = fields(
    "OrderQueue",
    "The order of queued videos: each runs before those after it.",
    ids=(list[Name], Field(min_length=1, max_length=MOST, description="ids of queued videos, the next one first")),
)


@router.get("")
async def queue(request: Request) -> Response:
    """The unfinished videos of this key, in the order in which they are sampled."""
    return JSONResponse(await as_owner(request, entries))


@router.post("", openapi_extra=body_of(Order))
async def order(request: Request) -> Response:
    """Reorders queued videos; those in progress stay."""
    await as_owner(request, lambda service, owner: None)
    body: Any = await read_body(request, Order)

    def work(service: Service, owner: str) -> dict[str, Any]:
        sort(service, owner, list(dict.fromkeys(body.ids)))
        return entries(service, owner)

    return JSONResponse(await as_owner(request, work))


def sort(service: Service, owner: str, names: Sequence[str]) -> None:
    """Gives queued videos falling priorities, the last of them 0, so that videos that are added later come after them.
    Raises ApiError, a 404 for a name that is none of the owner's."""
    c = VIDEOS.c
    with service.database.begin() as connection:
        query = select(c.id).where(c.owner == owner, c.id.in_(names))
        known = set(connection.execute(query).scalars())
        for name in names:
            if name not in known:
                raise missing("video", name, "ids")
        for place, name in enumerate(names):
            change = update(VIDEOS).where(c.id == name, c.status == "queued")
            connection.execute(change.values(priority=len(names) - 1 - place))


def entries(service: Service, owner: str) -> dict[str, Any]:
    """The queue of an owner; other owners' jobs only count in the times."""
    c = VIDEOS.c
    query = select(VIDEOS).where(c.status.in_(UNFINISHED)).order_by(c.status, c.priority.desc(), c.number).limit(MOST)
    with service.database.connect() as connection:
        rows = [as_dict(row) for row in connection.execute(query)]
    if not rows:
        return {"object": "list", "data": []}
    cost, shown = cost_of(service), numbers(service.database)
    workers, wait, data = max(1, len(service.living())), 0.0, []
    for place, row in enumerate(rows):
        left = seconds_left(row, cost)
        if row["owner"] == owner:
            running = row["status"] == "in_progress"
            data.append(
                {
                    **video_answer(row),
                    "place": place,
                    "seconds_left": left,
                    "starts_in": 0.0 if running else wait / workers,
                    "preview": shown.get(row["id"]) if running else None,
                }
            )
        wait += left or 0.0
    return {"object": "list", "data": data}


def seconds_left(row: dict[str, Any], cost: Cost) -> float | None:
    """How long a video will still be sampled; None if nothing is known."""
    whole, progress = cost.seconds(row), row["progress"]
    if row["status"] == "queued":
        return whole
    gone = max(0.0, time.time() - (row["started_at"] or time.time()))
    if progress >= SURE:
        return gone * (100 - progress) / progress
    return None if whole is None else max(0.0, whole - gone)
