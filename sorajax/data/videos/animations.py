"""Animated images (.gif, .webp, .png). PyAV does not read all of these formats, or drops transparency; Pillow reads
them, composited over white, and they become lossless videos in memory."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from sorajax.data.videos.tfds import encode_lossless
from sorajax.media.image_reader import read_pillow

MOVING = (".gif", ".webp", ".png")
"""Suffixes of image formats that may have several frames."""


def is_animated(file: IO[bytes]) -> bool:
    """Whether an open image file has several frames; false for one that cannot be read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError):
        return False


@lru_cache(maxsize=4)
def film_of(content: bytes, suffix: str) -> bytes:
    """The video, as the bytes of a file, of an animated image. Raises OSError where it cannot be read."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        path.write_bytes(content)
        try:
            animation = read_pillow(path)
        except ValueError as error:
            raise OSError(f"no readable picture ({error.__cause__})") from error
    return encode_lossless(animation.frames, animation.fps)
