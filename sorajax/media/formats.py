"""File formats: the suffixes that are read and written, a writer per format, and the metadata in a file. PyAV writes
videos such as mp4, Pillow images and animations; `video_reader.py` and `image_reader.py` read them.

Callers use `sorajax.media.video`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sorajax.errors import note
from sorajax.media.frames import Frames

QUALITY = {"crf": "16", "preset": "medium", "x264-params": "sync-lookahead=0"}
"""Of x264: visually lossless for clips of the world, in small files. With a lookahead in a thread of its own, the same
short clip gave another file now and then on a busy machine."""
BT709, LIMITED_RANGE = 1, 1  # codes of the H.264 standard, tables E-3 to E-5
DESCRIPTION = 0x010E  # Exif: ImageDescription
MAX_GIF_FPS = 50  # browsers show frames of less than 20 ms for 100 ms


class Writable(Protocol):
    """A video, or a film that is generated while it is written."""

    @property
    def fps(self) -> float: ...

    @property
    def metadata(self) -> dict[str, Any]: ...

    def described(self) -> dict[str, Any]: ...

    def pictures(self) -> Iterator[Frames]: ...


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
