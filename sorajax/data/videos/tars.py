"""WebDataset tars, read in place: offsets of their members, and each member as a file."""

import io
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

MEMBER = "::"
"""Separates the path of a tar from the name of a member."""


def split_path(path: str) -> tuple[str, str]:
    """An entry's path as (file, member), with an empty member unless the file is a tar. File names may contain `::`."""
    if MEMBER not in path or Path(path).is_file():
        return path, ""
    match = re.search(rf"\.tar{MEMBER}", path, re.IGNORECASE)
    return (path[: match.end() - len(MEMBER)], path[match.end() :]) if match else (path, "")


def open_tar(path: Path) -> tarfile.TarFile:
    """Opens an uncompressed tar. Raises ValueError for other files."""
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no uncompressed tar ({error}): write it again without compression") from error


@lru_cache(maxsize=64)
def member_spans(path: Path) -> dict[str, tuple[int, int]]:
    """(offset, size) in bytes of each member of a tar."""
    with open_tar(path) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar.getmembers() if member.isfile()}


def open_member(path: str, member: str) -> IO[bytes]:
    """A member of a tar as a seekable file. Raises FileNotFoundError where the tar has no such member."""
    if member not in (spans := member_spans(Path(path))):
        raise FileNotFoundError(f"{path} has no member {member}")
    return TarMember(open(path, "rb"), *spans[member])  # type: ignore[return-value]


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
