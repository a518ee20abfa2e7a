"""How each kind of video file is written and read: mp4 and other films by PyAV, pictures and animations by Pillow.

`sorajax.media.video` is the door to it.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int, UInt8

from sorajax.errors import note
from sorajax.media import MOST_FPS
from sorajax.media.decoding import LONGEST_HELD, decoded, is_transparent, rate_of, said_seconds, shortened

QUALITY = {"crf": "16", "preset": "medium"}  # x264: visually lossless at world size, small files
BT709, UNTAGGED, LIMITED_RANGE = 1, 2, 1  # codes of the H.264 standard, tables E-3 to E-5
DESCRIPTION = 0x010E  # Exif: ImageDescription
MOST_GIF_FPS = 50  # browsers show frames of less than 20 ms for 100
UNTIMED = 100.0  # milliseconds that browsers show a frame that says 0

Frames = UInt8[np.ndarray, "t h w 3"]


class Written(Protocol):
    """What is written: a video, or a film that is made meanwhile."""

    @property
    def fps(self) -> float: ...

    @property
    def metadata(self) -> dict[str, Any]: ...

    def described(self) -> dict[str, Any]: ...

    def pictures(self) -> Iterator[Frames]: ...


class Read(NamedTuple):
    """What a file holds."""

    frames: Frames
    fps: float
    metadata: dict[str, Any]


def write_mp4(video: Written, path: Path) -> None:
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
        raise ValueError(
            f"{path}: no frame begins from {start:g} to {end:g} s, where one lasts {1 / fps:g} s: trim a longer part"
        )
    return slice(first, last)


def read_film(path: Path, start: float = 0.0, end: float = math.inf, behind: str = "white") -> Read:
    """The frames at an even rate, at most `MOST_FPS`, that are shown from `start` to `end` seconds.

    All have the first one's size; others are scaled to cover it and cut in the middle.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it has no pictures, only sound")
            fps = rate_of(container, container.streams.video[0], path)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if not fps:
                raise ValueError("it has no frame rate")
            shown, frames, ended = read_frames(container, stream, fps, start, end, behind, path)
            even = evenly(np.array(shown), fps)
            if not len(even):
                raise ValueError("it has no frame")
            sound, said = bool(container.streams.audio), parsed(container.metadata.get("comment"))
            promised = 0.0 if ended else said_seconds(container, stream)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no readable video ({error}): perhaps cut short, or of another format") from error
    if sound:
        note(f"the sound of {path} is left out; clips are silent")
    if promised > len(even) / fps + max(0.5, 2 / fps):
        note(f"{path} says that it lasts {promised:.3g} s, and ends after {len(even) / fps:.3g}: perhaps cut short")
    chosen = even[within(path, len(even), fps, start, end)]
    there = range(chosen[0], chosen[-1] + 1)
    if (left := len(there) - len(set(chosen))) > len(there) / 50:
        note(f"{path} shows its frames for uneven times: {left} of {len(there)} are left out at {fps:.3g} a second")
    return Read(frames.taken(chosen), fps, said)


def read_frames(
    container: Any, stream: Any, fps: float, start: float, end: float, behind: str, path: Path
) -> tuple[list[float], "Reel", bool]:
    """When each frame of a film is shown, s; the pictures of those from `start` to `end`, and of one on each side, for
    rates may be uneven; and whether there are more. Of frames closer than `MOST_FPS` only some count."""
    shown, frames, sizes = list[float](), Reel(), set[tuple[int, int]]()
    aspect, ended = stream.sample_aspect_ratio, False
    size: tuple[int, int] | None = None
    for moment, frame in shortened(decoded(container, stream), path):
        if shown and moment - shown[-1] < 0.9 / MOST_FPS:
            continue
        shown.append(moment)
        sizes.add((frame.width, frame.height))
        if moment - shown[0] < start - 1 / fps:
            frames.forget()
        frames.add(pixels := pixels_of(frame, aspect, size, behind))
        size = pixels.shape[0], pixels.shape[1]
        if ended := moment - shown[0] > end + 1 / fps:
            break
    if size is not None and len(sizes) > 1:
        note(f"{path} changes its size on the way: all frames are made as large as the first, {size[1]}x{size[0]}")
    if shown and shown_width(frame, aspect) != frame.width:
        note(f"the pixels of {path} are not square: it is made as wide as it is shown")
    return shown, frames, ended


class Reel:
    """Pictures of one size in turn, in one array that grows, so that a clip is not held twice."""

    def __init__(self) -> None:
        self.first, self.count = 0, 0  # the number of the first that is kept, and how many are
        self.room: Frames = np.empty((0, 0, 0, 3), np.uint8)

    def add(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keeps one more. Raises ValueError where it has another size than those before."""
        if not self.room.size:
            self.room = np.empty((16, *picture.shape), np.uint8)
        if picture.shape != self.room.shape[1:]:
            raise ValueError("its frames have several sizes")
        if self.count == len(self.room):
            self.room.resize((self.count + self.count // 8 + 16, *picture.shape), refcheck=False)
        self.room[self.count] = picture
        self.count += 1

    def forget(self) -> None:
        """Keeps none of those so far; the numbers go on."""
        self.first, self.count = self.first + self.count, 0

    def taken(self, chosen: Int[np.ndarray, " t"]) -> Frames:
        """Those of these numbers: without a copy where they follow each other."""
        places = chosen - self.first
        row = slice(int(places[0]), int(places[0]) + len(places))
        return self.room[row if np.array_equal(places, np.arange(row.start, row.stop)) else places]


def pixels_of(
    frame: Any, aspect: Fraction | None, size: tuple[int, int] | None = None, behind: str = "white"
) -> UInt8[np.ndarray, "h w 3"]:
    """What is shown of a decoded frame, upright, as wide as `shown_width` says, in front of the colour `behind`.

    Where a `size`, (height, width), is given, it is scaled to cover that and cut in the middle.
    """
    matrix, high, wide = display_matrix(frame), frame.height, shown_width(frame, aspect)
    turned = matrix is not None and is_turned(matrix)
    frame = over(frame, behind) if is_transparent(frame) else frame
    if size is not None:
        height, width = (wide, high) if turned else (high, wide)
        scale = max(size[0] / height, size[1] / width)
        height, width = max(size[0], round(height * scale)), max(size[1], round(width * scale))
        high, wide = (width, height) if turned else (height, width)
    method = "AREA" if high < frame.height else "BICUBIC"
    resized = (
        {} if (high, wide) == (frame.height, frame.width) else {"height": high, "width": wide, "interpolation": method}
    )
    pixels = upright(frame.to_ndarray(format="rgb24", **resized, **colours_of(frame)), matrix)
    if size is None:
        return np.ascontiguousarray(pixels)
    top, left = (pixels.shape[0] - size[0]) // 2, (pixels.shape[1] - size[1]) // 2
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])


def over(frame: Any, behind: str) -> Any:
    """A frame that is transparent in front of a colour, as the RGB frame that is seen."""
    import av
    from PIL import ImageColor

    pixels = frame.to_ndarray(format="gbrap", **colours_of(frame))  # to rgba FFmpeg spoils some widths of yuva420p
    alpha = pixels[..., 3:].astype(np.float32) / 255
    ground = np.array(ImageColor.getrgb(behind)[:3], np.float32)
    seen = (pixels[..., :3] * alpha + ground * (1 - alpha)).round().astype(np.uint8)
    return av.VideoFrame.from_ndarray(seen, format="rgb24")


def colours_of(frame: Any) -> dict[str, str]:
    """How a frame's YUV is meant where it does not say so: as BT.709 from 720 rows or 1280 columns on, as players take
    it, which is for `reformat` to be told; else as BT.601, which is its default."""
    large = frame.height >= 720 or frame.width >= 1280
    return {"src_colorspace": "ITU709"} if large and frame.colorspace == UNTAGGED and not frame.format.is_rgb else {}


def shown_width(frame: Any, aspect: Fraction | None) -> int:
    """Columns of a decoded frame, whose pixels are `aspect` times as wide as they are high, in square ones."""
    return max(1, round(frame.width * float(aspect or 1)))


def display_matrix(frame: Any) -> Int[np.ndarray, "2 2"] | None:
    """How a frame is to be shown, [[a, b], [c, d]] of x' = a x + c y and y' = b x + d y with y down (ISO/IEC 14496-12);
    None as it is. PyAV's `rotation` does not know mirrors."""
    if (said := frame.side_data.get("DISPLAYMATRIX")) is None:
        return None
    return np.frombuffer(bytes(said), np.int32).reshape(3, 3)[:2, :2]


def is_turned(matrix: Int[np.ndarray, "2 2"]) -> bool:
    """Whether a display matrix, by the nearest quarter turn, exchanges rows and columns."""
    return bool(abs(matrix[0, 0]) < abs(matrix[0, 1]))


def upright(pixels: UInt8[np.ndarray, "h w 3"], matrix: Int[np.ndarray, "2 2"] | None) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Turned and mirrored as a camera's display matrix asks, by the nearest quarter turn."""
    if matrix is None:
        return pixels
    (a, b), (c, d) = matrix
    if turned := is_turned(matrix):
        pixels = pixels.swapaxes(0, 1)
    right, down = (c, b) if turned else (a, d)
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def evenly(shown: Float[np.ndarray, " t"], fps: float) -> Int[np.ndarray, " t2"]:
    """For each moment at an even rate the frame that is nearest: the frames themselves where their rate is even."""
    if len(shown) < 2:
        return np.arange(len(shown))
    moments = shown[0] + np.arange(round((shown[-1] - shown[0]) * fps) + 1) / fps
    return np.searchsorted((shown[1:] + shown[:-1]) / 2, moments)


def write_pillow(video: Written, path: Path, kind: str, unit: int = 1, **settings: Any) -> None:
    """An animation where there are several frames; repeated frames may be merged, their durations added."""
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for part in video.pictures() for frame in part)
    if rest:
        shown = durations(len(rest) + 1, video.fps, unit)
        settings |= {"save_all": True, "append_images": rest, "duration": shown, "loop": 0}
    first.save(path, kind, **settings)


def write_gif(video: Written, path: Path) -> None:
    if video.fps > MOST_GIF_FPS:
        note(f"a gif of {video.fps:g} frames a second plays slowly in most viewers: use .mp4 or .webp")
    write_pillow(video, path, "GIF", unit=10, comment=json.dumps(video.described()).encode())


def write_webp(video: Written, path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps(video.described())
    write_pillow(video, path, "WEBP", quality=90, method=4, exif=exif)


def write_png(video: Written, path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Title", str(video.metadata.get("prompt", "")))
    info.add_itxt("Comment", json.dumps(video.described()))
    write_pillow(video, path, "PNG", pnginfo=info)


def durations(count: int, fps: float, unit: int) -> list[int]:
    """Milliseconds each of so many frames is shown, in whole units (a gif can say tens), rounded so that the clip keeps
    its length."""
    ends = [round(1000 / unit * (index + 1) / fps) * unit for index in range(count)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def read_pillow(path: Path, behind: str = "white") -> Read:
    """Frames at an even rate: the one that was written, else that of most frames, at most `MOST_FPS`; those that are
    shown longer are repeated. Of pages that are no animation (see `pages`) the first is read."""
    from PIL import Image, ImageSequence

    frames, shown = Reel(), list[float]()
    try:
        with Image.open(path) as image:
            said = image.getexif().get(DESCRIPTION) or image.info.get("Comment") or image.info.get("comment")
            if (count := pages(image)) < getattr(image, "n_frames", 1):
                note(f"{path} holds pictures besides the first, which are no animation: they are left out")
            for frame in islice(ImageSequence.Iterator(image), count):
                frames.add(np.asarray(opaque(frame, behind)))
                shown.append(float(frame.info.get("duration", 0)))
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no readable picture ({error}): perhaps cut short, or of another format") from error
    if frames.count > 1:
        shown = [milliseconds or UNTIMED for milliseconds in shown]
    metadata = parsed(said)
    if (own := shown_as(metadata, shown)) is None:
        if max(shown) > 1000 * LONGEST_HELD:
            note(f"{path} holds a frame for {max(shown) / 1000:g} s: it is made {LONGEST_HELD} s")
        shown = [min(milliseconds, 1000 * LONGEST_HELD) for milliseconds in shown]
        usual = sorted(shown)[(len(shown) - 1) // 2] / 1000  # of most frames
        usual = max(usual, 1 / MOST_FPS) if usual else 0.0
        own = (max(1, round(sum(shown) / 1000 / usual)), 1 / usual) if usual else (len(shown), 1.0)
    count, fps = own
    middles = (np.arange(count) + 0.5) / fps * 1000
    index = np.minimum(np.searchsorted(np.cumsum(shown), middles, side="right"), frames.count - 1)
    if left := frames.count - len(set(index)):
        note(f"{path} shows its frames for uneven times: {left} of {frames.count} are left out at {fps:.3g} a second")
    return Read(frames.taken(index), fps, metadata)


def shown_as(metadata: dict[str, Any], shown: Sequence[float]) -> tuple[int, float] | None:
    """Frames and rate of a picture whose frames are shown for so many milliseconds, by its metadata; None where it has
    none, or another program has changed the picture and kept its comment."""
    count, fps = metadata.get("frames"), metadata.get("fps")
    frames, total = len(shown), sum(shown) / 1000
    if not (isinstance(count, int) and isinstance(fps, int | float) and count >= frames and fps > 0):
        return None
    same = count == 1 if frames == 1 and not total else abs(count / fps - total) < 0.02
    return (count, float(fps)) if same else None


def pages(image: Any) -> int:
    """How many frames an open picture shows: one where the others are a camera's previews (MPO), or where the pages of
    a tif have several sizes."""
    count = getattr(image, "n_frames", 1)
    if image.format == "MPO":
        return 1
    if image.format != "TIFF" or count == 1:
        return count
    sizes = set()
    for number in range(count):
        image.seek(number)
        sizes.add(image.size)
    image.seek(0)
    return count if len(sizes) == 1 else 1


def is_still(path: Path) -> bool:
    """Whether a file is one picture, and no clip; of one that cannot be read it is not said."""
    from PIL import Image

    if path.suffix.lower() not in PICTURES:
        return False
    try:
        with Image.open(path) as image:
            return pages(image) == 1
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError):
        return False


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


def differing(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of what two requests say differently; the version of sorajax is none of it."""
    wanted = json.loads(json.dumps(wanted))
    return [name for name in sorted({*recorded, *wanted} - {"version"}) if recorded.get(name) != wanted.get(name)]


def parsed(comment: str | bytes | None) -> dict[str, Any]:
    """The JSON object in a file's comment; files of others carry other comments, or none."""
    try:
        found = json.loads(comment or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


FILMS = (
    ".mp4",
    ".mov",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mts",
    ".m2ts",
    ".ts",
    ".mpg",
    ".mpeg",
    ".m2v",
    ".vob",
    ".wmv",
    ".asf",
    ".3gp",
    ".3g2",
    ".flv",
    ".f4v",
    ".ogv",
    ".mxf",
    ".divx",
    ".y4m",
)
PICTURES = (".png", ".webp", ".gif", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
WRITERS: dict[str, Callable[[Written, Path], None]] = {
    ".mp4": write_mp4,
    ".gif": write_gif,
    ".webp": write_webp,
    ".png": write_png,
}
