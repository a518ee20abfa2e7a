"""File formats: videos such as mp4 are read and written with PyAV, images and animations with Pillow.

Callers use `sorajax.media.video`.
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
from sorajax.media import MAX_FPS
from sorajax.media.decoding import (
    MAX_FRAME_SECONDS,
    decode_track,
    is_transparent,
    limit_durations,
    rate_of,
    stated_seconds,
)

QUALITY = {"crf": "16", "preset": "medium"}  # x264: visually lossless for clips of the world, small files
BT709, UNTAGGED, LIMITED_RANGE = 1, 2, 1  # codes of the H.264 standard, tables E-3 to E-5
DESCRIPTION = 0x010E  # Exif: ImageDescription
MAX_GIF_FPS = 50  # browsers show frames of less than 20 ms for 100 ms
DEFAULT_DURATION = 100.0  # milliseconds for which browsers show a frame of duration 0

Frames = UInt8[np.ndarray, "t h w 3"]


class Writable(Protocol):
    """A video, or a film that is generated while it is written."""

    @property
    def fps(self) -> float: ...

    @property
    def metadata(self) -> dict[str, Any]: ...

    def described(self) -> dict[str, Any]: ...

    def pictures(self) -> Iterator[Frames]: ...


class Content(NamedTuple):
    """The frames of a file, its frame rate, and its metadata."""

    frames: Frames
    fps: float
    metadata: dict[str, Any]


def write_mp4(video: Writable, path: Path) -> None:
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


def frame_range(path: Path, count: int, fps: float, start: float, end: float) -> slice:
    """Indices of the frames, of `count`, from `start` to `end` seconds. Raises ValueError where there are none."""
    last = count if end >= count / fps else round(end * fps)
    if start >= count / fps:
        raise ValueError(f"{path} lasts {count / fps:g} s and has no frame at {start:g} s: trim an earlier part")
    if (first := round(start * fps)) >= last:
        raise ValueError(
            f"{path}: no frame begins from {start:g} to {end:g} s, and one lasts {1 / fps:g} s: trim a longer part"
        )
    return slice(first, last)


def read_film(path: Path, start: float = 0.0, end: float = math.inf, behind: str = "white") -> Content:
    """The frames from `start` to `end` seconds, at a constant frame rate of at most `MAX_FPS`.

    Frames of another size than the first one's are scaled to cover it and centre-cropped. Raises ValueError for a file
    that cannot be read.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it has no video track")
            fps = rate_of(container, container.streams.video[0], path)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if not fps:
                raise ValueError("it has no frame rate")
            times, frames, ended = read_frames(container, stream, fps, start, end, behind, path)
            resampled = resample(np.array(times), fps)
            if not len(resampled):
                raise ValueError("it has no frame")
            has_sound, metadata = bool(container.streams.audio), parse_metadata(container.metadata.get("comment"))
            stated = 0.0 if ended else stated_seconds(container, stream)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no readable video ({error}): perhaps cut short, or of another format") from error
    if has_sound:
        note(f"the sound of {path} is dropped: clips are silent")
    seconds = len(resampled) / fps
    if stated > seconds + max(0.5, 2 / fps):
        note(f"{path} states a duration of {stated:.3g} s, and ends after {seconds:.3g}: perhaps cut short")
    indices = resampled[frame_range(path, len(resampled), fps, start, end)]
    available = range(indices[0], indices[-1] + 1)
    if (dropped := len(available) - len(set(indices))) > len(available) / 50:
        note(f"{path} has a variable frame rate: {dropped} of {len(available)} frames are dropped at {fps:.3g} fps")
    return Content(frames.take(indices), fps, metadata)


def read_frames(
    container: Any, stream: Any, fps: float, start: float, end: float, behind: str, path: Path
) -> tuple[list[float], "FrameBuffer", bool]:
    """Times of a video's frames in seconds; the frames from `start` to `end` and, as rates may vary, one more on each
    side; and whether reading ended before the file. Frames closer to each other than at `MAX_FPS` are skipped."""
    times, frames, sizes = list[float](), FrameBuffer(), set[tuple[int, int]]()
    aspect, ended = stream.sample_aspect_ratio, False
    size: tuple[int, int] | None = None
    for moment, frame in limit_durations(decode_track(container, stream), path):
        if times and moment - times[-1] < 0.9 / MAX_FPS:
            continue
        times.append(moment)
        sizes.add((frame.width, frame.height))
        if moment - times[0] < start - 1 / fps:
            frames.drop()
        frames.add(pixels := pixels_of(frame, aspect, size, behind))
        size = pixels.shape[0], pixels.shape[1]
        if ended := moment - times[0] > end + 1 / fps:
            break
    if size is not None and len(sizes) > 1:
        note(f"{path} changes its frame size: all frames are resized to the first one's, {size[1]}x{size[0]}")
    if times and shown_width(frame, aspect) != frame.width:
        note(f"the pixels of {path} are not square: it is resized to its display width")
    return times, frames, ended


class FrameBuffer:
    """Consecutive frames of one size in a growing array, so that a clip is in memory only once."""

    def __init__(self) -> None:
        self.first, self.count = 0, 0  # index of the first frame in the buffer, and number of frames in it
        self.array: Frames = np.empty((0, 0, 0, 3), np.uint8)

    def add(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame. Raises ValueError where its size differs from the previous ones."""
        if not self.array.size:
            self.array = np.empty((16, *picture.shape), np.uint8)
        if picture.shape != self.array.shape[1:]:
            raise ValueError("its frames have several sizes")
        if self.count == len(self.array):
            self.array.resize((self.count + self.count // 8 + 16, *picture.shape), refcheck=False)
        self.array[self.count] = picture
        self.count += 1

    def drop(self) -> None:
        """Drops all frames so far; the indices of later ones do not change."""
        self.first, self.count = self.first + self.count, 0

    def take(self, indices: Int[np.ndarray, " t"]) -> Frames:
        """The frames of these indices; a view where they are consecutive."""
        offsets = indices - self.first
        row = slice(int(offsets[0]), int(offsets[0]) + len(offsets))
        return self.array[row if np.array_equal(offsets, np.arange(row.start, row.stop)) else offsets]


def pixels_of(
    frame: Any, aspect: Fraction | None, size: tuple[int, int] | None = None, behind: str = "white"
) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of a decoded frame, upright, at its display width (`shown_width`), composited over the colour `behind`.

    With a `size`, (height, width), the frame is scaled to cover it and centre-cropped.
    """
    matrix, high, wide = display_matrix(frame), frame.height, shown_width(frame, aspect)
    turned = matrix is not None and is_turned(matrix)
    frame = composite(frame, behind) if is_transparent(frame) else frame
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


def composite(frame: Any, behind: str) -> Any:
    """A transparent frame composited over the colour `behind`, as an RGB frame."""
    import av
    from PIL import ImageColor

    # gbrap: FFmpeg's conversion to rgba corrupts some widths of yuva420p.
    pixels = frame.to_ndarray(format="gbrap", **colours_of(frame))
    alpha = pixels[..., 3:].astype(np.float32) / 255
    background = np.array(ImageColor.getrgb(behind)[:3], np.float32)
    rgb = (pixels[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24")


def colours_of(frame: Any) -> dict[str, str]:
    """Arguments of `reformat` for the colour space of a frame without colour tags: BT.709 from 720 rows or 1280 columns
    on, as in video players; none for smaller ones, which are BT.601, the default of `reformat`."""
    large = frame.height >= 720 or frame.width >= 1280
    return {"src_colorspace": "ITU709"} if large and frame.colorspace == UNTAGGED and not frame.format.is_rgb else {}


def shown_width(frame: Any, aspect: Fraction | None) -> int:
    """Display width: columns of a decoded frame in square pixels, where `aspect` is its pixels' width over height."""
    return max(1, round(frame.width * float(aspect or 1)))


def display_matrix(frame: Any) -> Int[np.ndarray, "2 2"] | None:
    """The display matrix [[a, b], [c, d]] of x' = a x + c y and y' = b x + d y with y down (ISO/IEC 14496-12); None
    where the frame has none. PyAV's `rotation` ignores mirroring."""
    if (data := frame.side_data.get("DISPLAYMATRIX")) is None:
        return None
    return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]


def is_turned(matrix: Int[np.ndarray, "2 2"]) -> bool:
    """Whether a display matrix, rounded to the nearest quarter turn, swaps rows and columns."""
    return bool(abs(matrix[0, 0]) < abs(matrix[0, 1]))


def upright(pixels: UInt8[np.ndarray, "h w 3"], matrix: Int[np.ndarray, "2 2"] | None) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Pixels rotated and mirrored by a display matrix, rounded to the nearest quarter turn."""
    if matrix is None:
        return pixels
    (a, b), (c, d) = matrix
    if turned := is_turned(matrix):
        pixels = pixels.swapaxes(0, 1)
    right, down = (c, b) if turned else (a, d)
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def resample(times: Float[np.ndarray, " t"], fps: float) -> Int[np.ndarray, " t2"]:
    """Indices of the frames nearest to the times of a constant rate; every frame where the rate is constant already.

    times: presentation times in seconds.
    """
    if len(times) < 2:
        return np.arange(len(times))
    moments = times[0] + np.arange(round((times[-1] - times[0]) * fps) + 1) / fps
    return np.searchsorted((times[1:] + times[:-1]) / 2, moments)


def write_pillow(video: Writable, path: Path, kind: str, unit: int = 1, **settings: Any) -> None:
    """Writes an image, or an animation of several frames; Pillow may merge repeated frames and add their durations."""
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for part in video.pictures() for frame in part)
    if rest:
        milliseconds = durations(len(rest) + 1, video.fps, unit)
        settings |= {"save_all": True, "append_images": rest, "duration": milliseconds, "loop": 0}
    first.save(path, kind, **settings)


def write_gif(video: Writable, path: Path) -> None:
    if video.fps > MAX_GIF_FPS:
        note(f"a gif of {video.fps:g} frames per second plays slowly in most viewers: use .mp4 or .webp")
    write_pillow(video, path, "GIF", unit=10, comment=json.dumps(video.described()).encode())


def write_webp(video: Writable, path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps(video.described())
    write_pillow(video, path, "WEBP", quality=90, method=4, exif=exif)


def write_png(video: Writable, path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Title", str(video.metadata.get("prompt", "")))
    info.add_itxt("Comment", json.dumps(video.described()))
    write_pillow(video, path, "PNG", pnginfo=info)


def durations(count: int, fps: float, unit: int) -> list[int]:
    """Duration of each frame in milliseconds, in multiples of `unit` (10 in a gif), rounded so that the clip keeps its
    length."""
    ends = [round(1000 / unit * (index + 1) / fps) * unit for index in range(count)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def read_pillow(path: Path, behind: str = "white") -> Content:
    """The frames of an image file at a constant frame rate: that of the metadata, else the most common one, at most
    `MAX_FPS`; frames of longer duration are repeated. Of several pages that are no animation (see `pages`) only the
    first is read. Raises ValueError for a file that cannot be read."""
    from PIL import Image, ImageSequence

    frames, durations_ms = FrameBuffer(), list[float]()
    try:
        with Image.open(path) as image:
            comment = image.getexif().get(DESCRIPTION) or image.info.get("Comment") or image.info.get("comment")
            if (count := pages(image)) < getattr(image, "n_frames", 1):
                note(f"{path} has further images, which are no animation: only the first is read")
            for frame in islice(ImageSequence.Iterator(image), count):
                frames.add(np.asarray(to_rgb(frame, behind)))
                durations_ms.append(float(frame.info.get("duration", 0)))
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no readable picture ({error}): perhaps cut short, or of another format") from error
    if frames.count > 1:
        durations_ms = [milliseconds or DEFAULT_DURATION for milliseconds in durations_ms]
    metadata = parse_metadata(comment)
    if (timing := recorded_timing(metadata, durations_ms)) is None:
        if (longest := max(durations_ms) / 1000) > MAX_FRAME_SECONDS:
            note(f"{path} shows one frame for {longest:g} s: it is shortened to {MAX_FRAME_SECONDS} s")
        durations_ms = [min(milliseconds, 1000 * MAX_FRAME_SECONDS) for milliseconds in durations_ms]
        usual = sorted(durations_ms)[(len(durations_ms) - 1) // 2] / 1000  # the median
        usual = max(usual, 1 / MAX_FPS) if usual else 0.0
        timing = (max(1, round(sum(durations_ms) / 1000 / usual)), 1 / usual) if usual else (len(durations_ms), 1.0)
    count, fps = timing
    middles = (np.arange(count) + 0.5) / fps * 1000
    indices = np.minimum(np.searchsorted(np.cumsum(durations_ms), middles, side="right"), frames.count - 1)
    if dropped := frames.count - len(set(indices)):
        note(f"{path} has a variable frame rate: {dropped} of {frames.count} frames are dropped at {fps:.3g} fps")
    return Content(frames.take(indices), fps, metadata)


def recorded_timing(metadata: dict[str, Any], durations_ms: Sequence[float]) -> tuple[int, float] | None:
    """(number of frames, frame rate) that the metadata of an image file records; None where it records none, or does
    not match the durations, because another program changed the file and kept its comment."""
    count, fps = metadata.get("frames"), metadata.get("fps")
    frames, total = len(durations_ms), sum(durations_ms) / 1000
    if not (isinstance(count, int) and isinstance(fps, int | float) and count >= frames and fps > 0):
        return None
    same = count == 1 if frames == 1 and not total else abs(count / fps - total) < 0.02
    return (count, float(fps)) if same else None


def pages(image: Any) -> int:
    """Number of frames of an open image; 1 where the others are a camera's previews (MPO), or pages of a TIFF of
    several sizes."""
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
    """Whether a file is a single image; false for one that cannot be read."""
    from PIL import Image

    if path.suffix.lower() not in PICTURES:
        return False
    try:
        with Image.open(path) as image:
            return pages(image) == 1
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError):
        return False


def to_rgb(image: Any, behind: str) -> Any:
    """An image as 8-bit RGB, upright, composited over the colour `behind`. Floats are intensities from 0 to 1."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        image = Image.fromarray((np.nan_to_num(np.asarray(image)).clip(0, 1) * 255).round().astype(np.uint8))
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey, which `convert` would clip
        image = Image.fromarray((np.asarray(image, np.float32) / 257).round().astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, behind), image).convert("RGB")


def changed_settings(recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ between two requests' metadata, apart from the version of sorajax."""
    requested = json.loads(json.dumps(requested))
    names = sorted({*recorded, *requested} - {"version"})
    return [name for name in names if recorded.get(name) != requested.get(name)]


def parse_metadata(comment: str | bytes | None) -> dict[str, Any]:
    """The JSON object in a file's comment; empty for other comments and for none."""
    try:
        metadata = json.loads(comment or "{}")
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


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
WRITERS: dict[str, Callable[[Writable, Path], None]] = {
    ".mp4": write_mp4,
    ".gif": write_gif,
    ".webp": write_webp,
    ".png": write_png,
}
