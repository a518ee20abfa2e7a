"""Files by content: a file's name is the SHA-256 of its bytes, so it is whole or absent, and stored once."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from sorajax.errors import BadRequest

NAME = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,5}")
BLOCK = 2**20
COPY_SECONDS = 3600.0  # for which a copy of a remote file is kept after its last use


class Content:
    """Files in a folder, or in a folder of any fsspec address, of which this machine keeps copies.

    root: the folder, or an address such as s3://bucket/videos. cache: folder of the copies.
    """

    def __init__(self, root: str | Path, cache: Path | None = None):
        self.remote = "://" in str(root)
        self.folder = Path(cache or tempfile.gettempdir(), "content") if self.remote else Path(root)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.remote:
            import fsspec

            self.files, self.root = fsspec.core.url_to_fs(str(root))

    def put(self, source: BinaryIO | Path, suffix: str, most: int | None = None) -> str:
        """Stores a file and returns its name. Raises BadRequest for more than `most` bytes, OSError for a full disk."""
        digest, size = hashlib.sha256(), 0
        handle, temporary = tempfile.mkstemp(prefix=".put.", dir=self.folder)
        try:
            opened = source.open("rb") if isinstance(source, Path) else nullcontext(source)
            with os.fdopen(handle, "wb") as out, opened as stream:
                while block := stream.read(BLOCK):
                    size += len(block)
                    if most is not None and size > most:
                        raise BadRequest(f"the file has more than {most} bytes: give a smaller one")
                    digest.update(block)
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            name = f"{digest.hexdigest()}{suffix.lower()}"
            path = self._local(name)
            path.parent.mkdir(exist_ok=True)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        if self.remote and not self._is_stored(name, size):
            self._upload(path, f"{self.root}/{name}")
        return name

    def _upload(self, path: Path, target: str) -> None:
        try:
            self.files.put_file(str(path), target)
        except FileNotFoundError:  # some addresses have folders
            self.files.makedirs(self.root, exist_ok=True)
            self.files.put_file(str(path), target)

    def _is_stored(self, name: str, size: int) -> bool:
        """Whether a file is at the address already: others may be reading it."""
        try:
            return bool(self.files.size(f"{self.root}/{name}") == size)
        except FileNotFoundError:
            return False

    def path(self, name: str) -> Path:
        """Path of a file on this machine. Raises FileNotFoundError."""
        path = self._local(name)
        if self.remote and path.exists():
            path.touch()
        elif self.remote:
            self._fetch(name, path)
        if not path.is_file():
            raise FileNotFoundError(f"{name} is not stored")
        return path

    def _fetch(self, name: str, path: Path) -> None:
        """Copies a file from the address, whole or not at all. Raises FileNotFoundError."""
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".put.", dir=self.folder)
        os.close(handle)
        try:
            self.files.get_file(f"{self.root}/{name}", temporary)
            with open(temporary, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if not name.startswith(digest):
                raise FileNotFoundError(f"{name} is stored in part")
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def delete_others(self, names: Collection[str], older: float = 600.0) -> int:
        """Deletes files whose names are not among `names` and that are `older` seconds old; returns how many."""
        before, count = time.time() - older, 0
        for path in self.folder.glob("*/*"):
            if path.name not in names and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
                count += 1
        for path in self.folder.glob(".put.*"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        if self.remote:
            self.forget_copies()
            entries = self.files.ls(self.root, detail=False) if self.files.isdir(self.root) else []
            for entry in entries:
                name = entry.rpartition("/")[2]
                if NAME.fullmatch(name) and name not in names and self.files.modified(entry).timestamp() < before:
                    self.files.rm_file(entry)
        return count

    def forget_copies(self, older: float = COPY_SECONDS) -> None:
        """Deletes this machine's copies of remote files that were not used for `older` seconds."""
        before = time.time() - older
        for path in self.folder.glob("*/*") if self.remote else ():
            try:
                if path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:  # another process has deleted it
                continue

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.folder).free

    def _local(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise FileNotFoundError(f"{name!r} is no name of a stored file")
        return self.folder / name[:2] / name
