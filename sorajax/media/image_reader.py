"""Images and animations are read with Pillow, at a constant frame rate. Callers use `sorajax.media.video`."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.errors import note
from sorajax.media import MAX_FPS
from sorajax.media.decoding import MAX_FRAME_SECONDS
from sorajax.media.formats import DESCRIPTION, PICTURES, parse_metadata
from sorajax.media.frames import Content, FrameBuffer

DEFAULT_DURATION = 100.0  # milliseconds for which browsers show a frame of duration 0


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
