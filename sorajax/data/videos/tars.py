"""WebDataset's tars, read in place: where their members begin, and each of them as a file."""

import io
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

MEMBER = "::"
"""Between the path of a tar and the name of one of its members."""


def split_path(path: str) -> tuple[str, str]:
    """An entry's path as (file, member of it): no member unless the file is a tar. Names may have `::` too."""
    if MEMBER not in path or Path(path).is_file():
        return path, ""
    found = re.search(rf"\.tar{MEMBER}", path, re.IGNORECASE)
    return (path[: found.end() - len(MEMBER)], path[found.end() :]) if found else (path, "")


def opened_tar(path: Path) -> tarfile.TarFile:
    """Raises ValueError where a file is no uncompressed tar."""
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no uncompressed tar ({error}): its members could not be read in place") from error


@lru_cache(maxsize=64)
def places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each member of a tar begins and how long it is, bytes."""
    with opened_tar(path) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar.getmembers() if member.isfile()}


def opened_member(path: str, member: str) -> IO[bytes]:
    """A member of a tar as a seekable file. Raises FileNotFoundError where it is gone."""
    if member not in (found := places(Path(path))):
        raise FileNotFoundError(f"{path} has no member {member}")
    return TarMember(open(path, "rb"), *found[member])  # type: ignore[return-value]


class TarMember(io.RawIOBase):
    """The bytes [offset, offset + size) of a file, as a file."""

    def __init__(self, file: IO[bytes], offset: int, size: int):
        super().__init__()
        self.file, self.offset, self.size, self.at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1, /) -> bytes:
        left = max(0, self.size - self.at)
        self.file.seek(self.offset + self.at)
        content = self.file.read(left if count < 0 else min(count, left))
        self.at += len(content)
        return content

    def readinto(self, buffer: Any, /) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, to: int, whence: int = 0) -> int:
        self.at = max(0, to + (0, self.at, self.size)[whence])
        return self.at

    def close(self) -> None:
        self.file.close()
        super().close()
