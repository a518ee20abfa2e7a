"""Words for videos: captions of clips, longer prompts, and how well a prompt and a clip agree.

All of it is trained: nothing here reads pixels by rules (`world.reader` is only for measuring).
"""

from typing import NamedTuple, Protocol

from sorajax.media.video import Video


class Caption(NamedTuple):
    """A clip in words: as a person would type it, and with every attribute."""

    short: str
    detailed: str


class Captioner(Protocol):
    """Anything that describes a video; the same video and seed have the same caption."""

    def __call__(self, video: Video, seed: int = 0) -> Caption: ...
