"""Video: uint8 frames with a frame rate and metadata; the only door to video files.

The suffix chooses the format: `.mp4` (H.264, 4:2:0, BT.709, plays everywhere), `.gif`, `.webp`, or `.png` (a picture
for one frame, an animated PNG for several). What made the video travels inside the file and in a `.json` beside it.
A file appears whole or not at all, and an existing one is replaced only when asked.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from sorajax.request import note

QUALITY = {"crf": "16", "preset": "medium"}  # x264: visually lossless at world size, small files
BT709, LIMITED_RANGE = 1, 1  # codes of the H.264 standard, tables E-3 to E-5
DESCRIPTION = 0x010E  # Exif: ImageDescription

Frames = UInt8[np.ndarray, "t h w 3"]


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
        if not self.fps > 0:
            raise ValueError(f"{self.fps} frames per second is not positive")

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes the file and its `.json` (`clip.mp4`, `clip.mp4.json`); returns the path.

        Raises ValueError for an unknown suffix or a size the format cannot hold, FileExistsError for an existing file
        unless `overwrite`, and OSError where the folder cannot be written.
        """
        path = check_output(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        write = WRITERS[path.suffix.lower()]
        with whole_file(path) as temporary, whole_file(beside(path)) as temporary_json:
            temporary_json.write_text(json.dumps(self.described(), indent=2) + "\n")
            write(self, temporary)
        return path

    @classmethod
    def load(
        cls, path: str | Path, behind: str = "white", start: float = 0.0, end: float = math.inf
    ) -> "Video":
        """Reads a video or image file, or of it what is shown from `start` to `end` seconds, and of a film holds no
        more; metadata is what `save` put inside it, else empty.

        Turned as its rotation metadata says, at an even frame rate, without its sound (a `Note` says so); where a
        picture is transparent the colour `behind` it shows.
        Raises FileNotFoundError, and ValueError for an unknown suffix, a file that is not what its suffix says, or a
        span in which nothing is shown.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
        if not 0 <= start < end:
            raise ValueError(f"{path}: from {start:g} to {end:g} s is no span: begin at 0 or later, and end after that")
        if path.suffix.lower() not in (*FILMS, *PICTURES):
            raise ValueError(f"{path}: unknown suffix '{path.suffix}'; use one of {', '.join((*FILMS, *PICTURES))}")
        if path.suffix.lower() in FILMS:
            return read_film(path, start, end)
        whole = read_pillow(path, behind)
        chosen = within(path, len(whole.frames), whole.fps, start, end)
        return replace(whole, frames=whole.frames[chosen])

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
        return mediapy.html_from_compressed_video(self.encoded(".mp4"), w * scale, h * scale)


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

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """As `Video.save`; an mp4 is written as the frames come, other formats when all are there."""
        path = check_output(path, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() != ".mp4":
            return self.whole().save(path, overwrite)
        with whole_file(path) as temporary, whole_file(beside(path)) as temporary_json:
            temporary_json.write_text(json.dumps(self.described(), indent=2) + "\n")
            write_mp4(self, temporary)
        return path

    def described(self) -> dict[str, Any]:
        """The metadata with the film's own numbers."""
        size = {"width": self.width, "height": self.height}
        return {**self.metadata, "frames": self.count, "fps": self.fps, **size}

    def pictures(self) -> Iterator[Frames]:
        """Its frames, as they are made."""
        return self.parts

    def whole(self) -> Video:
        """All of it as a video."""
        return Video(np.concatenate(list(self.parts)), self.fps, self.metadata)


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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends well, and disappears when not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by a process that was killed
        if (number := left.name.removesuffix(".part").rpartition(".")[2]).isdecimal() and not running(int(number)):
            left.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def running(process: int) -> bool:
    """Whether there is such a process; where the system does not say, there is."""
    if os.name != "posix":  # elsewhere asking is another thing
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write_mp4(video: Video | Film, path: Path) -> None:
    import av

    h, w = video.described()["height"], video.described()["width"]
    if h % 2 or w % 2:
        raise ValueError(f"{w}x{h} cannot be an mp4: H.264 needs even sizes; use .webp, .gif or .png, or crop a pixel")
    rate = Fraction(video.fps).limit_denominator(100_000)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["title"] = str(video.metadata.get("prompt", ""))[:500]
        container.metadata["comment"] = json.dumps(video.described())
        stream = container.add_stream("libx264", rate=rate, options=QUALITY)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        for index, pixels in enumerate(pixels for part in video.pictures() for pixels in part):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def within(path: Path, count: int, fps: float, start: float, end: float) -> slice:
    """Which of a file's so many frames are shown from `start` to `end` seconds. Raises ValueError where none is."""
    last = count if end >= count / fps else round(end * fps)
    if start >= count / fps:
        raise ValueError(f"{path} lasts {count / fps:g} s and has nothing at {start:g} s: trim an earlier part")
    if (first := round(start * fps)) >= last:
        raise ValueError(f"{path}: no frame begins from {start:g} to {end:g} s, where one lasts {1 / fps:g} s: trim a "
                         "longer part")  # fmt: skip
    return slice(first, last)


def read_film(path: Path, start: float = 0.0, end: float = math.inf) -> Video:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it has no pictures, only sound")
            stream = container.streams.video[0]
            if not stream.average_rate:
                raise ValueError("it has no frame rate")
            fps = float(stream.average_rate)
            shown: list[float] = []
            frames: dict[int, Frames] = {}  # those of the span, and one on each side: rates may be uneven
            for frame in container.decode(stream):
                shown.append(float(frame.time or 0))
                if shown[-1] - shown[0] < start - 1 / fps:
                    frames.clear()
                frames[len(shown) - 1] = upright(frame.to_ndarray(format="rgb24"), getattr(frame, "rotation", 0))
                if shown[-1] - shown[0] > end + 1 / fps:
                    break
            even = evenly(np.array(shown), fps)
            if not len(even):
                raise ValueError("it has no frame")
            sound, said = bool(container.streams.audio), parsed(container.metadata.get("comment"))
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no readable video ({error}): perhaps cut short, or of another format") from error
    if sound:
        note(f"the sound of {path} is left out; clips are silent")
    chosen = even[within(path, len(even), fps, start, end)]
    return Video(np.stack([frames[number] for number in chosen]), fps, said)


def upright(pixels: UInt8[np.ndarray, "h w 3"], degrees: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Turned counter-clockwise, as a camera's display matrix asks."""
    return np.rot90(pixels, round(degrees / 90) % 4)


def evenly(shown: Float[np.ndarray, " t"], fps: float) -> Int[np.ndarray, " t2"]:
    """For each moment at an even rate the frame that is nearest: the frames themselves where their rate is even."""
    if len(shown) < 2:
        return np.arange(len(shown))
    moments = shown[0] + np.arange(round((shown[-1] - shown[0]) * fps) + 1) / fps
    return np.searchsorted((shown[1:] + shown[:-1]) / 2, moments)


def write_pillow(video: Video, path: Path, kind: str, **settings: Any) -> None:
    """An animation where there are several frames; repeated frames may be merged, their durations added."""
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in video.frames)
    if rest:
        settings |= {"save_all": True, "append_images": rest, "duration": durations(video), "loop": 0}
    first.save(path, kind, **settings)


def write_gif(video: Video, path: Path) -> None:
    if video.fps > MOST_GIF_FPS:
        note(f"a gif of {video.fps:g} frames a second plays slowly in most viewers: use .mp4 or .webp")
    write_pillow(video, path, "GIF", comment=json.dumps(video.described()).encode())


def write_webp(video: Video, path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps(video.described())
    write_pillow(video, path, "WEBP", quality=90, method=4, exif=exif)


def write_png(video: Video, path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Title", str(video.metadata.get("prompt", "")))
    info.add_itxt("Comment", json.dumps(video.described()))
    write_pillow(video, path, "PNG", pnginfo=info)


MOST_GIF_FPS = 50  # browsers show frames of less than 20 ms for 100
UNTIMED = 100.0  # milliseconds that browsers show a frame that says 0


def durations(video: Video) -> list[int]:
    """Milliseconds each frame is shown, in the tens that GIF can say, rounded so that the clip keeps its length."""
    ends = [round(100 * (index + 1) / video.fps) * 10 for index in range(len(video.frames))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def read_pillow(path: Path, behind: str = "white") -> Video:
    """Frames at an even rate: the one that was written, else the average; merged frames are repeated."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    frames, shown = [], []
    try:
        with Image.open(path) as image:
            said = image.getexif().get(DESCRIPTION) or image.info.get("Comment") or image.info.get("comment")
            for frame in ImageSequence.Iterator(image):
                frames.append(np.asarray(opaque(frame, behind)))
                shown.append(float(frame.info.get("duration", 0)))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no readable picture ({error}): perhaps cut short, or of another format") from error
    if len(frames) > 1:
        shown = [milliseconds or UNTIMED for milliseconds in shown]
    metadata, total = parsed(said), sum(shown) / 1000
    count, fps = shown_as(metadata, len(frames), total)
    middles = (np.arange(count) + 0.5) / fps * 1000
    index = np.minimum(np.searchsorted(np.cumsum(shown), middles, side="right"), len(frames) - 1)
    return Video(np.stack(frames)[index], fps, metadata)


def shown_as(metadata: dict[str, Any], frames: int, total: float) -> tuple[int, float]:
    """Frames and rate of a picture of so many frames, shown for `total` seconds together: those of its metadata, unless
    another program has changed the picture and kept its comment."""
    count, fps = metadata.get("frames"), metadata.get("fps")
    own = frames, frames / total if total else 1.0
    if not (isinstance(count, int) and isinstance(fps, int | float) and count >= frames and fps > 0):
        return own
    same = count == 1 if frames == 1 and not total else abs(count / fps - total) < 0.02
    return (count, float(fps)) if same else own


def opaque(image: Any, behind: str) -> Any:
    """An RGB image of 8 bits; what shows through is of the colour `behind`. Floats are light from 0 to 1."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        image = Image.fromarray((np.nan_to_num(np.asarray(image)).clip(0, 1) * 255).round().astype(np.uint8))
    if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits of grey, which conversion would clip
        image = Image.fromarray((np.asarray(image, np.float32) / 257).round().astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, behind), image).convert("RGB")


def parsed(comment: str | bytes | None) -> dict[str, Any]:
    """The JSON object in a file's comment; files of others carry other comments, or none."""
    try:
        found = json.loads(comment or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


FILMS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
PICTURES = (".png", ".webp", ".gif", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
WRITERS: dict[str, Callable[[Video, Path], None]] = {
    ".mp4": write_mp4,
    ".gif": write_gif,
    ".webp": write_webp,
    ".png": write_png,
}
