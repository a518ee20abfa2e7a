"""Pictures that move (.gif, .webp, .png): they are films, which PyAV does not read in each of these formats, or without
their transparency. Pillow reads them, over white, and they become films without loss in memory."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from sorajax.data.videos.tfds import lossless
from sorajax.media.formats import read_pillow

MOVING = (".gif", ".webp", ".png")
"""Suffixes of pictures that may have several frames."""


def is_animated(file: IO[bytes]) -> bool:
    """Whether an open picture has several frames; of one that cannot be read it is not said."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError):
        return False


@lru_cache(maxsize=4)
def film_of(content: bytes, suffix: str) -> bytes:
    """The film of an animated picture. Raises OSError where it cannot be read."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        path.write_bytes(content)
        try:
            read = read_pillow(path)
        except ValueError as error:
            raise OSError(f"no readable picture ({error.__cause__})") from error
    return lossless(read.frames, read.fps)
