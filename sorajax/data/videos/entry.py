"""One line of a listing: a video and what it shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A video, or the part of it from `start` to `end` seconds (None: its own ends), and what it shows."""

    path: str
    caption: str = ""
    start: float | None = None
    end: float | None = None
