"""An entry of a listing: a video and its caption."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A video, or its part from `start` to `end` seconds (None: its beginning, its end), and its caption."""

    path: str
    caption: str = ""
    start: float | None = None
    end: float | None = None
