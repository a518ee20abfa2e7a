"""Video: uint8 frames with a frame rate and metadata; all reading and writing of video files.

The suffix determines the format: `.mp4` (H.264, 4:2:0, BT.709, plays everywhere), `.gif`, `.webp`, or `.png` (one frame
is an image, several are an animated PNG). The metadata is stored in the file and in a `.json` beside it. Files are
written atomically, and an existing file is overwritten only on request.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sorajax.copies import fetched
from sorajax.files import Address, as_path, whole_file
from sorajax.media.formats import FILMS, PICTURES, WRITERS
from sorajax.media.frames import Frames
from sorajax.media.image_reader import read_pillow
from sorajax.media.video_reader import frame_range, read_film

MAX_NAME_BYTES = 220
"""Longest file name in bytes; names derived from it (`.json`, temporary files) must fit into 255."""


class Finishing(Protocol):
    """Finishes each file of a video; `safety.finishing` checks, marks and signs it.

    frames: takes the frames part by part and returns those to encode. file: changes the encoded file before it is
    renamed; the suffix is that of its name. metadata: what `described` returns. What either raises is raised by `save`,
    which then leaves no file.
    """

    def frames(self, parts: Iterator[Frames], fps: float, metadata: Mapping[str, Any]) -> Iterator[Frames]: ...

    def file(self, path: Path, suffix: str, metadata: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, eq=False)
class Video:
    """A clip; with a single frame, an image.

    frames: uint8 sRGB [t, h, w, 3]. fps: frames per second. metadata: JSON values (prompt, seed, settings, version).
    finishing: what is done to each of its files. source: the file that it was read from.
    Raises ValueError for frames of another type or shape, and for a frame rate that is not positive and finite.
    """

    frames: Frames
    fps: float
    metadata: dict[str, Any] = field(default_factory=dict)
    finishing: Finishing | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8 or not self.frames.size:
            raise ValueError(f"frames are {self.frames.dtype} {self.frames.shape}: a video needs uint8 [t, h, w, 3]")
        if not 0 < self.fps < math.inf:
            raise ValueError(f"{self.fps} frames per second is not positive and finite: use e.g. 8")

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the file and its `.json` (`clip.mp4`, `clip.mp4.json`); returns the path.

        Raises ValueError for an unknown suffix or a frame size that the format does not support, FileExistsError for an
        existing file unless `overwrite`, and OSError where the folder is not writable.
        """
        return saved(self, path, overwrite)

    @classmethod
    def load(cls, path: str | Path, behind: str = "white", start: float = 0.0, end: float = math.inf) -> "Video":
        """Reads a video or image file, or its part from `start` to `end` seconds; of a video file only that part is in
        memory. The metadata is what `save` stored in the file, else empty.

        Frames are rotated and mirrored as the file states, deinterlaced, tone-mapped from high dynamic range to sRGB,
        and resampled to a constant frame rate of at most 120 frames per second. Sound is dropped, with a `Note`.
        Transparent pixels are composited over the colour `behind`. The duration of a frame is capped at 10 s. Videos
        without colour tags are read as BT.709 from 720 rows or 1280 columns on, smaller ones as BT.601.
        Raises FileNotFoundError, and ValueError for an unknown suffix, a file whose content does not match its suffix,
        or an interval without frames.
        """
        path = as_path(path)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}: give the path of a video or picture file")
        if not 0 <= start < end:
            raise ValueError(f"{path}: {start:g} to {end:g} s is no interval: start at 0 or later and end after that")
        if path.suffix.lower() not in (*FILMS, *PICTURES):
            raise ValueError(f"{path}: unknown suffix '{path.suffix}'; use one of {', '.join((*FILMS, *PICTURES))}")
        if path.suffix.lower() in FILMS:
            return cls(*read_film(as_file(fetched(path)), start, end, behind), source=path)
        frames, fps, metadata = read_pillow(fetched(path), behind)
        return cls(frames[frame_range(path, len(frames), fps, start, end)], fps, metadata, source=path)

    def described(self) -> dict[str, Any]:
        """The metadata, with number of frames, frame rate and size."""
        t, h, w, _ = self.frames.shape
        return {**self.metadata, "frames": t, "fps": self.fps, "width": w, "height": h}

    def pictures(self) -> Iterator[Frames]:
        """All frames, as a single part."""
        yield self.frames

    def whole(self) -> "Video":
        """The video itself; see `Film.whole`."""
        return self

    def encoded(self, suffix: str) -> bytes:
        """The bytes of the video as a file with this suffix."""
        with tempfile.TemporaryDirectory() as folder:
            return self.save(Path(folder) / f"video{suffix}").read_bytes()

    def _repr_html_(self) -> str:
        """HTML for notebooks; videos whose shorter side is below 256 pixels are enlarged. Needs no ffmpeg program."""
        import mediapy

        t, h, w, _ = self.frames.shape
        scale = max(1, -(-256 // min(h, w)))
        if t == 1:
            return mediapy.html_from_compressed_image(self.encoded(".png"), w * scale, h * scale, pixelated=False)
        even = replace(self, frames=np.pad(self.frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), "edge"))
        return mediapy.html_from_compressed_video(even.encoded(".mp4"), w * scale, h * scale)


@dataclass(eq=False)
class Film:
    """A long video that is generated while it is read, once; it need not fit into memory.

    parts: iterator over consecutive uint8 sRGB frames [t, h, w, 3], `count` in total. Other fields as in `Video`.
    """

    parts: Iterator[Frames]
    count: int
    height: int
    width: int
    fps: float
    metadata: dict[str, Any] = field(default_factory=dict)
    finishing: Finishing | None = None
    source: Path | None = None
    _cache: dict[str, Frames | None] = field(default_factory=dict, repr=False)
    """Empty before the film is read; then {"frames": the frames, or None where they were not retained}. Copies of a
    film share it."""

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """As `Video.save`; an mp4 is written while frames are generated, other formats after the last one."""
        return saved(self, path, overwrite)

    def described(self) -> dict[str, Any]:
        """The metadata, with number of frames, frame rate and size."""
        size = {"width": self.width, "height": self.height}
        return {**self.metadata, "frames": self.count, "fps": self.fps, **size}

    def pictures(self) -> Iterator[Frames]:
        """The frames, part by part, as they are generated. Raises ValueError on a second read, except after `whole`."""
        if not self._cache:
            self._cache["frames"] = None
            return self.parts
        if (frames := self._cache["frames"]) is None:
            raise ValueError("a film is generated while it is read, once: use the video that its `whole()` returns")
        return iter([frames])

    def whole(self) -> Video:
        """The whole film as a video, whose frames are retained."""
        frames = np.concatenate(list(self.pictures()))
        self._cache["frames"] = frames
        return Video(frames, self.fps, self.metadata, self.finishing)

    @property
    def frames(self) -> Frames:
        """All frames; generates and retains them on first use."""
        return self.whole().frames

    @property
    def seconds(self) -> float:
        return self.count / self.fps

    def _repr_html_(self) -> str:
        return self.whole()._repr_html_()


class Videos(list[Video]):
    """Several videos, shown side by side in a notebook."""

    def _repr_html_(self) -> str:
        html = "".join(video._repr_html_() for video in self)
        return f'<div style="display: flex; flex-wrap: wrap">{html}</div>'

    def grid(self, columns: int) -> Video:
        """All videos as one, in a grid filled row by row; the metadata is the first one's, with all prompts and seeds.

        Raises ValueError unless all have the same size, length and frame rate, and where `columns` is not positive.
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
        lists = {f"{key}s": [video.metadata.get(key) for video in self] for key in ("prompt", "seed")}
        return replace(self[0], frames=frames, metadata={**self[0].metadata, **lists})


def saved(video: Video | Film, path: str | Path, overwrite: bool) -> Path:
    """Implements `Video.save` and `Film.save`."""
    path = check_output(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    write = WRITERS[path.suffix.lower()]
    with whole_file(as_file(path)) as temporary, whole_file(sidecar(path)) as temporary_json:
        temporary_json.write_text(json.dumps(video.described(), indent=2) + "\n")
        if video.finishing is None:
            write(video, temporary)
        else:
            write(Finished(video, video.finishing), temporary)
            video.finishing.file(temporary, path.suffix.lower(), video.described())
    return path


@dataclass(frozen=True)
class Finished:
    """A video whose frames are changed while they are encoded."""

    video: Video | Film
    finishing: Finishing

    @property
    def fps(self) -> float:
        return self.video.fps

    @property
    def metadata(self) -> dict[str, Any]:
        return self.video.metadata

    def described(self) -> dict[str, Any]:
        return self.video.described()

    def pictures(self) -> Iterator[Frames]:
        return self.finishing.frames(self.video.pictures(), self.video.fps, self.video.described())


def as_file(path: Path) -> Path:
    """The path in a form that FFmpeg does not mistake for a protocol, as it would `cli:x.mp4`."""
    return path.absolute() if ":" in str(path) else path


def check_suffix(path: Path) -> None:
    """Raises ValueError for a suffix without a writer."""
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"{path}: unknown suffix '{path.suffix}'; use one of {', '.join(WRITERS)}")


def sidecar(path: Path) -> Path:
    """Path of the JSON file of a video."""
    return path.with_name(path.name + ".json")


def check_output(path: str | Path, overwrite: bool = False) -> Path:
    """The expanded path; raises what `Video.save` would raise for it, before a video is generated.

    A missing folder is not created here, but by `Video.save`.
    """
    path = as_path(path)
    check_suffix(path)
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        raise OSError(f"{path.name[:40]}... is too long a name: use {MAX_NAME_BYTES} bytes at most")
    for existing in (path, sidecar(path)):
        if existing.is_dir():
            raise FileExistsError(f"{existing} is a folder: name a file in it")
        if existing.exists() and not overwrite:
            raise FileExistsError(f"{existing} exists: choose another name, or allow it with --overwrite")
    if isinstance(path, Address):
        return path
    folder_to_write = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder_to_write):
            return path
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror}): choose a writable folder") from error
