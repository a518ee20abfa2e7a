"""An entry of a listing: a video and its captions."""

from dataclasses import dataclass
from typing import NamedTuple


class Written(NamedTuple):
    """The captions that a captioner wrote of one clip."""

    short: str
    detailed: str


@dataclass(frozen=True)
class Entry:
    """A video, or its part from `start` to `end` seconds (None: its beginning, its end), and its caption; `short` and
    `detailed` are captions that a captioner wrote, empty where there are none."""

    path: str
    caption: str = ""
    start: float | None = None
    end: float | None = None
    short: str = ""
    detailed: str = ""

    @property
    def captions(self) -> list[str]:
        """All captions that it has."""
        return [text for text in (self.caption, self.short, self.detailed) if text]

    @property
    def written(self) -> Written | None:
        """The captions that a captioner wrote, if any; one alone serves as both."""
        if not (self.short or self.detailed):
            return None
        return Written(self.short or self.detailed, self.detailed or self.short)
