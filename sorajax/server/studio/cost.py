"""Estimates the time of a video from the times of the last ones.

The time grows with steps, frames and pixels; `Cost.seconds` multiplies them by the median of their price for a task, or
for all tasks where that one has not run yet.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Engine, select

from sorajax.server.database import VIDEOS, as_dict

LAST = 60  # videos
ANY = ""  # of all tasks


@dataclass(frozen=True)
class Cost:
    """Seconds for a step of a frame of a pixel, by task. steps, fps: the model's own."""

    prices: dict[str, float]
    steps: int
    fps: float

    def seconds(self, row: Mapping[str, Any]) -> float | None:
        """Seconds that the video of a row takes; None before the first one is finished."""
        price = self.prices.get(row["task"], self.prices.get(ANY))
        return None if price is None else price * work(row, self.steps, self.fps)


def work(row: Mapping[str, Any], steps: int, fps: float) -> float:
    """Steps times frames times pixels of a video."""
    request = row["spec"].get("request", {})
    width, _, height = row["size"].partition("x")
    frames = max(1.0, row["seconds"] * (request.get("fps") or fps))
    return (request.get("steps") or steps) * frames * int(width) * int(height)


def measured(database: Engine, model: str, steps: int, fps: float) -> Cost:
    """The cost of a model's videos, by its last finished ones."""
    c = VIDEOS.c
    query = select(c.task, c.spec, c.seconds, c.size, c.started_at, c.completed_at)
    query = query.where(c.status == "completed", c.model == model, c.started_at.is_not(None))
    found = defaultdict(list)
    with database.connect() as connection:
        for row in map(as_dict, connection.execute(query.order_by(c.number.desc()).limit(LAST))):
            price = (row["completed_at"] - row["started_at"]) / work(row, steps, fps)
            found[row["task"]].append(price)
            found[ANY].append(price)
    return Cost({task: median(prices) for task, prices in found.items()}, steps, fps)
