"""Local copies, in the user's cache folder, of files and folders at fsspec addresses, and uploads of changes."""

import hashlib
from pathlib import Path
from typing import Any

from sorajax.files import Address, cache_folder, storage, write_atomically


def fetched(path: Path) -> Path:
    """A copy of a file or folder at an address, in the user's cache folder; a local path itself. Files that have not
    changed since the last call are not read again. Raises FileNotFoundError."""
    if not isinstance(path, Address):
        return path
    copy = WorkingCopy(path)
    if not copy.update():
        raise FileNotFoundError(f"{path} does not exist: check the address, and that this machine may read it")
    return copy.folder


class WorkingCopy:
    """A local copy of a folder at an address, which programs read and write; a local folder is used directly.

    Beside each file of the cache that is equal to the one at the address, there is a mark with the version of the
    latter. A file without a mark, or changed after it, has yet to be published.
    """

    def __init__(self, path: Path):
        self.address: Address | None = path if isinstance(path, Address) else None
        self.folder: Path = path
        self.versions: Path = path
        if self.address is not None:
            place = cache_folder() / "sorajax" / "fetched" / hashlib.sha256(str(path).encode()).hexdigest()[:16]
            self.folder, self.versions = place / path.name, place / "versions"

    def update(self) -> bool:
        """Downloads files that are new at the address, and removes local ones that are gone there. Returns whether any
        exist."""
        if self.address is None:
            return self.folder.exists()
        with storage(self.address) as (files, name):
            found = files_in(files, name)
            for below, info in found.items():
                copy, mark = self.place(below)
                if copy.is_file() and mark.is_file() and mark.read_text() == version(info):
                    continue
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(copy, lambda temporary, info=info: files.get_file(info["name"], str(temporary)))
                self.mark(below, info)
        marks = [path for path in self.versions.rglob("*") if path.is_file()] if self.versions.is_dir() else []
        for mark in marks:
            if (below := mark.relative_to(self.versions).as_posix()) not in found:
                (self.folder / below).unlink(missing_ok=True)
                mark.unlink()
        return bool(found)

    def publish(self) -> None:
        """Uploads the files that were written to the folder since, in the order in which they were written."""
        if self.address is None or not self.folder.is_dir():
            return
        written = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        names = {path: path.relative_to(self.folder).as_posix() for path in written}
        changed = {path: below for path, below in names.items() if self.is_changed(below)}
        if not changed:
            return
        with storage(self.address) as (files, name):
            for path in sorted(changed, key=lambda path: path.stat().st_mtime_ns):
                files.put_file(str(path), f"{name}/{changed[path]}")
            found = files_in(files, name)
        for below in changed.values():
            self.mark(below, found[below])

    def place(self, below: str) -> tuple[Path, Path]:
        """The copy of a file and its mark; those of the address itself where that is a file."""
        return (self.folder / below, self.versions / below) if below else (self.folder, self.versions)

    def mark(self, below: str, info: dict[str, Any]) -> None:
        """Records the version of a file's copy."""
        _, mark = self.place(below)
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, lambda temporary: temporary.write_text(version(info)))

    def is_changed(self, below: str) -> bool:
        """Whether a file has yet to be published."""
        copy, mark = self.place(below)
        return not mark.is_file() or copy.stat().st_mtime_ns > mark.stat().st_mtime_ns


def files_in(files: Any, name: str) -> dict[str, dict[str, Any]]:
    """The files in a folder of a file system: relative path -> the file system's info."""
    found = files.find(name, detail=True) if files.exists(name) else {}
    return {path[len(name) :].strip("/"): info for path, info in found.items()}


def version(info: dict[str, Any]) -> str:
    """A file system's info on a file, as a text that changes with the file."""
    return repr(sorted(info.items()))
