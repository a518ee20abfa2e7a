"""Video: uint8 frames with a frame rate and metadata; the only door to video files.

The suffix chooses the format: `.mp4` (H.264, 4:2:0, BT.709, plays everywhere), `.gif`, `.webp`, or `.png` (a picture
for one frame, an animated PNG for several). What made the video travels inside the file and in a `.json` beside it.
A file appears whole or not at all, and an existing one is replaced only when asked.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.files import whole_file
from sorajax.media.formats import FILMS, PICTURES, WRITERS, Frames, read_film, read_pillow, within

LONGEST = 220
"""Bytes of a file's name, so that the names of what belongs to it have room in 255."""


@dataclass(frozen=True, eq=False)
class Video:
    """A clip, or an image when it has one frame.

    frames: uint8 sRGB [t, h, w, 3]. fps: frames per second. metadata: JSON values (prompt, seed, settings, version).
    """

    frames: Frames
    fps: float
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8 or not self.frames.size:
            raise ValueError(f"frames are {self.frames.dtype} {self.frames.shape}: a video needs uint8 [t, h, w, 3]")
        if not 0 < self.fps < math.inf:
            raise ValueError(f"{self.fps} frames per second is not positive, or without end")

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the file and its `.json` (`clip.mp4`, `clip.mp4.json`); returns the path.

        Raises ValueError for an unknown suffix or a size the format cannot hold, FileExistsError for an existing file
        unless `overwrite`, and OSError where the folder cannot be written.
        """
        return saved(self, path, overwrite)

    @classmethod
    def load(cls, path: str | Path, behind: str = "white", start: float = 0.0, end: float = math.inf) -> "Video":
        """Reads a video or image file, or of it what is shown from `start` to `end` seconds, and of a film holds no
        more; metadata is what `save` put inside it, else empty.

        Turned and mirrored as its metadata say, interlaced frames made whole, high dynamic range mapped to sRGB, at an
        even frame rate of at most 120 a second, without its sound (a `Note` says so); where a picture or film is
        transparent the colour `behind` it shows. A frame is shown for 10 s at most. Films of 720 rows or 1280 columns
        that do not say how their colours are meant are BT.709, smaller ones BT.601.
        Raises FileNotFoundError, and ValueError for an unknown suffix, a file that is not what its suffix says, or a
        span in which nothing is shown.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            what = "is a folder: give a video or picture file" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}")
        if not 0 <= start < end:
            raise ValueError(f"{path}: from {start:g} to {end:g} s is no span: begin at 0 or later, and end after that")
        if path.suffix.lower() not in (*FILMS, *PICTURES):
            raise ValueError(f"{path}: unknown suffix '{path.suffix}'; use one of {', '.join((*FILMS, *PICTURES))}")
        if path.suffix.lower() in FILMS:
            return cls(*read_film(as_file(path), start, end, behind))
        frames, fps, said = read_pillow(path, behind)
        return cls(frames[within(path, len(frames), fps, start, end)], fps, said)

    def described(self) -> dict[str, Any]:
        """The metadata with the clip's own numbers."""
        t, h, w, _ = self.frames.shape
        return {**self.metadata, "frames": t, "fps": self.fps, "width": w, "height": h}

    def pictures(self) -> Iterator[Frames]:
        """Its frames, in one part."""
        yield self.frames

    def whole(self) -> "Video":
        """Itself: the counterpart of a film's."""
        return self

    def encoded(self, suffix: str) -> bytes:
        """The content of a file of that suffix."""
        with tempfile.TemporaryDirectory() as folder:
            return self.save(Path(folder) / f"video{suffix}").read_bytes()

    def _repr_html_(self) -> str:
        """Shows itself in a notebook; small videos are enlarged to 256 pixels or more. Needs no ffmpeg."""
        import mediapy

        t, h, w, _ = self.frames.shape
        scale = max(1, -(-256 // min(h, w)))
        if t == 1:
            return mediapy.html_from_compressed_image(self.encoded(".png"), w * scale, h * scale, pixelated=False)
        even = replace(self, frames=np.pad(self.frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), "edge"))
        return mediapy.html_from_compressed_video(even.encoded(".mp4"), w * scale, h * scale)


@dataclass(eq=False)
class Film:
    """A video that is made while it is read, once, and need not fit into memory.

    parts: uint8 sRGB frames [t, h, w, 3] in turn, `count` in all. The rest as in `Video`.
    """

    parts: Iterator[Frames]
    count: int
    height: int
    width: int
    fps: float
    metadata: dict[str, Any] = field(default_factory=dict)
    _made: dict[str, Frames | None] = field(default_factory=dict, repr=False)
    """Whether it was read, and its frames where they are kept; its copies share it."""

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """As `Video.save`; an mp4 is written as the frames come, other formats when all are there."""
        return saved(self, path, overwrite)

    def described(self) -> dict[str, Any]:
        """The metadata with the film's own numbers."""
        size = {"width": self.width, "height": self.height}
        return {**self.metadata, "frames": self.count, "fps": self.fps, **size}

    def pictures(self) -> Iterator[Frames]:
        """Its frames, as they are made. Raises ValueError where they were read before, and not kept by `whole`."""
        if not self._made:
            self._made["frames"] = None
            return self.parts
        if (frames := self._made["frames"]) is None:
            raise ValueError("a film is made while it is read, once: keep what its `whole()` gives, and use that")
        return iter([frames])

    def whole(self) -> Video:
        """All of it as a video, which is kept."""
        frames = np.concatenate(list(self.pictures()))
        self._made["frames"] = frames
        return Video(frames, self.fps, self.metadata)

    @property
    def frames(self) -> Frames:
        """All of its frames, made now and kept."""
        return self.whole().frames

    @property
    def seconds(self) -> float:
        return self.count / self.fps

    def _repr_html_(self) -> str:
        return self.whole()._repr_html_()


class Videos(list[Video]):
    """Several videos, which show themselves side by side in a notebook."""

    def _repr_html_(self) -> str:
        shown = "".join(video._repr_html_() for video in self)
        return f'<div style="display: flex; flex-wrap: wrap">{shown}</div>'

    def grid(self, columns: int) -> Video:
        """All of them in one video, row by row; its metadata are the first one's, with every prompt and seed.

        Raises ValueError unless all have the same size, length and rate, or where `columns` is not positive.
        """
        if columns < 1:
            raise ValueError(f"a grid of {columns} columns: use at least 1")
        if len({(video.frames.shape, video.fps) for video in self}) != 1:
            raise ValueError("a grid needs one or more videos of one size, length and frame rate")
        columns = min(columns, len(self))
        empty = [np.zeros_like(self[0].frames)] * (-len(self) % columns)
        tiles = np.stack([*(video.frames for video in self), *empty])
        tiles = tiles.reshape(-1, columns, *tiles.shape[1:])
        frames = np.concatenate(list(np.concatenate(list(tiles.swapaxes(0, 1)), 3)), 1)
        said = {f"{key}s": [video.metadata.get(key) for video in self] for key in ("prompt", "seed")}
        return Video(frames, self[0].fps, {**self[0].metadata, **said})


def saved(video: Video | Film, path: str | Path, overwrite: bool) -> Path:
    """See `Video.save`."""
    path = check_output(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    write = WRITERS[path.suffix.lower()]
    with whole_file(as_file(path)) as temporary, whole_file(beside(path)) as temporary_json:
        temporary_json.write_text(json.dumps(video.described(), indent=2) + "\n")
        write(video, temporary)
    return path


def as_file(path: Path) -> Path:
    """The same file under a name that FFmpeg does not take for a protocol, as it would `cli:x.mp4`."""
    return path.absolute() if ":" in str(path) else path


def check_suffix(path: Path) -> None:
    """Raises ValueError for a suffix that no writer knows."""
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"{path}: unknown suffix '{path.suffix}'; use one of {', '.join(WRITERS)}")


def beside(path: Path) -> Path:
    """Where the JSON of a video lies."""
    return path.with_name(path.name + ".json")


def check_output(path: str | Path, overwrite: bool = False) -> Path:
    """Raises what `Video.save` would raise for this path, before any work is spent on the video.

    A folder that is missing is made when there is something to save.
    """
    path = Path(path).expanduser()
    check_suffix(path)
    if len(os.fsencode(path.name)) > LONGEST:
        raise OSError(f"{path.name[:40]}... is too long a name: use {LONGEST} bytes at most")
    for existing in (path, beside(path)):
        if existing.is_dir():
            raise FileExistsError(f"{existing} is a folder: name a file in it")
        if existing.exists() and not overwrite:
            raise FileExistsError(f"{existing} exists: choose another name, or allow it with --overwrite")
    home = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=home):
            return path
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}): choose a folder you may write to") from error
