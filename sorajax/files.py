"""Files that appear whole or not at all, and the user's folder of settings."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Any) -> None:
    """Calls `write(temporary path)` beside `path`, then renames: a reader sees the old file or the whole new one."""
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
    """A temporary path in the same folder that becomes `path` when the block ends well, and disappears when not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by a process that was killed
        if (number := left.name.removesuffix(".part").rpartition(".")[2]).isdecimal() and not running(int(number)):
            left.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def running(process: int) -> bool:
    """Whether there is such a process; where the system does not say, there is."""
    if os.name != "posix":  # elsewhere asking is another thing
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def config_folder() -> Path:
    """The user's folder for settings of sorajax; `SORAJAX_CONFIG` names another."""
    if named := os.environ.get("SORAJAX_CONFIG"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "sorajax"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "sorajax"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sorajax"
