"""Atomic writes of files, on the local disk or at an fsspec address, e.g. gs://bucket/clips."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path, PurePosixPath
from typing import Any, cast

from sorajax.errors import one_line

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/")


class Address(PurePosixPath):
    """A path on other storage, with the methods of `Path` that reading and writing need."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    def expanduser(self) -> "Address":
        return self

    absolute = expanduser

    def exists(self) -> bool:
        with storage(self) as (files, name):
            return files.exists(name)

    def is_file(self) -> bool:
        with storage(self) as (files, name):
            return files.isfile(name)

    def is_dir(self) -> bool:
        with storage(self) as (files, name):
            return files.isdir(name)

    def rmdir(self) -> None:
        """Does nothing: a folder goes with its last file."""

    def read_bytes(self) -> bytes:
        with storage(self) as (files, name):
            return files.cat_file(name)

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing: folders are made with their files."""


def as_path(path: str | Path) -> Path:
    """A local path, its ~ expanded, or the `Address` in a text such as gs://bucket/clips."""
    if isinstance(path, Address):
        return cast(Path, path)
    scheme = ADDRESS.match(str(path))
    if scheme is None or Path(path).exists():
        return Path(path).expanduser()
    if scheme[1] in ("file", "local"):
        return Path("/" + str(path)[scheme.end() :].lstrip("/"))
    return cast(Path, Address(str(path)))  # Path("gs://bucket") has lost a slash, which Address adds again


@contextmanager
def storage(address: Address) -> Iterator[tuple[Any, str]]:
    """The file system of an address, and the path there. Raises OSError, on one line, for every failure."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):  # gcsfs asks what a bucket is by gRPC, and emulators never answer
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        import fsspec

        yield fsspec.core.url_to_fs(str(address))
    except OSError:
        raise
    except Exception as error:  # each file system has its own errors
        raise OSError(
            f"{address} cannot be reached ({one_line(error)}): check the address and the login, and install the "
            "package that fsspec needs for it, e.g. gcsfs for gs:// or s3fs for s3://"
        ) from error


def remove_folder(path: Path) -> None:
    """Removes a folder and everything in it, if it exists."""
    if not isinstance(path, Address):
        shutil.rmtree(path, ignore_errors=True)
    elif path.is_dir():
        with storage(path) as (files, name):
            files.rm(name, recursive=True)


def cache_folder() -> Path:
    """The user's cache folder on this operating system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def write_atomically(path: Path, write: Any) -> None:
    """Calls `write(temporary path)` beside `path`, then renames: a reader sees the old file or the whole new one."""
    if isinstance(path, Address):
        with whole_file(path) as elsewhere:
            write(elsewhere)
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which is renamed to `path` when the block ends without an error, and is
    deleted otherwise. A file at an address is written in this machine's temporary folder, and copied there as a
    whole."""
    if isinstance(path, Address):
        with tempfile.TemporaryDirectory() as folder:
            yield (elsewhere := Path(folder) / path.name)
            with storage(path) as (files, name):
                files.put_file(str(elsewhere), name)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by a process that was killed
        if (number := left.name.removesuffix(".part").rpartition(".")[2]).isdecimal() and not running(int(number)):
            left.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that this machine can write: `path` itself, or for an address a temporary one, whose files are uploaded,
    in the order in which they were written, when the block ends without an error."""
    if not isinstance(path, Address):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        written = sorted(
            (file for file in Path(folder).rglob("*") if file.is_file()), key=lambda f: f.stat().st_mtime_ns
        )
        with storage(path) as (files, name):
            for file in written:
                files.put_file(str(file), f"{name}/{file.relative_to(folder).as_posix()}")


def append_text(path: Path, text: str) -> None:
    """Adds text to the end of a file."""
    if isinstance(path, Address):
        whole = (path.read_text() if path.exists() else "") + text
        write_atomically(path, lambda temporary: temporary.write_text(whole, encoding="utf-8"))
        return
    with path.open("a") as file:
        file.write(text)


def running(process: int) -> bool:
    """Whether a process of this id exists; true where the system cannot tell."""
    if os.name != "posix":  # elsewhere asking is another thing
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
