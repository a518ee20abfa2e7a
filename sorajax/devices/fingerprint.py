"""Fingerprints of what a program and its results depend on: code, versions, files."""

import hashlib
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
LIBRARIES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "einops",
    "qwix",
    "libtpu",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
)
WHOLE, BLOCK, BLOCKS = 2**26, 2**16, 64
"""Bytes up to which a file is read as a whole; size and number of the blocks that are read of a larger one."""


@cache
def code() -> str:
    """A hash of all source files of sorajax, and the versions of Python and of the libraries that compute."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return "\n".join([digest.hexdigest(), sys.version, *map(installed, LIBRARIES)])


def installed(name: str) -> str:
    """A distribution with its version, e.g. jax 0.10.2; without it "jax none"."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} none"


def files(folder: Path) -> str:
    """A hash of the files in a folder, or of one file: names, sizes and content. Of a file above 64 MiB, 64 blocks of
    64 KiB are read, evenly spaced: weights of other training steps differ everywhere."""
    digest = hashlib.sha256()
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                digest.update(file.read())
                continue
            for number in range(BLOCKS):
                file.seek((size - BLOCK) * number // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()
