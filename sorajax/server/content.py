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
        if self.remote:
            self.files.put_file(str(path), f"{self.root}/{name}")
        return name

    def path(self, name: str) -> Path:
        """Path of a file on this machine. Raises FileNotFoundError."""
        path = self._local(name)
        if self.remote and not path.exists():
            path.parent.mkdir(exist_ok=True)
            part = path.with_name(f".{name}.{os.getpid()}")
            self.files.get_file(f"{self.root}/{name}", str(part))
            os.replace(part, path)
        if not path.is_file():
            raise FileNotFoundError(f"{name} is not stored")
        return path

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
            for entry in self.files.ls(self.root, detail=False):
                name = entry.rpartition("/")[2]
                if NAME.fullmatch(name) and name not in names and self.files.modified(entry).timestamp() < before:
                    self.files.rm_file(entry)
        return count

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.folder).free

    def _local(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise FileNotFoundError(f"{name!r} is no name of a stored file")
        return self.folder / name[:2] / name
