"""Checkpoints at addresses that Orbax does not write itself: it writes to a folder of this machine, and every finished
step is copied. The file that Orbax adds to a step when it is whole is copied last, so a step without it does not count.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from sorajax.files import Address, storage

WHOLE = "_CHECKPOINT_METADATA"


class RemoteSteps:
    """A temporary folder with the steps that are whole at an address, which `publish` makes equal to the folder.

    Orbax removes steps as it writes others, so nothing may be written while steps are copied: call `wait` before.
    """

    def __init__(self, address: Address):
        self.address = address
        self.temporary = TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.pool = ThreadPoolExecutor(1)
        self.copying: Future[None] | None = None
        with storage(address) as (files, name):
            found = files.find(name) if files.exists(name) else []
            below = [path[len(name) :].strip("/") for path in found]
            self.copied = {path.removesuffix(f"/{WHOLE}") for path in below if path.endswith(f"/{WHOLE}")}
            for path, place in zip(found, below, strict=True):
                if place.partition("/")[0] in self.copied:
                    (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
                    files.get_file(path, str(self.folder / place))

    def publish(self) -> None:
        """Copies new steps to the address, and removes there those that are no longer in the folder."""
        steps = {path.name for path in self.folder.iterdir() if path.name.isdecimal()}
        with storage(self.address) as (files, name):
            for step in sorted(steps - self.copied, key=int):
                written = [path for path in (self.folder / step).rglob("*") if path.is_file()]
                for path in sorted(written, key=lambda path: path.name == WHOLE):
                    files.put_file(str(path), f"{name}/{path.relative_to(self.folder).as_posix()}")
            for step in self.copied - steps:
                files.rm(f"{name}/{step}", recursive=True)
        self.copied = steps

    def publish_after(self, written: Callable[[], None]) -> None:
        """Publishes in a thread, after `written` has returned."""

        def work() -> None:
            written()
            self.publish()

        self.copying = self.pool.submit(work)

    def wait(self) -> None:
        """Returns when the address has what was to be published. Raises what the thread raised."""
        copying, self.copying = self.copying, None
        if copying is not None:
            copying.result()

    def close(self) -> None:
        """Publishes what has changed since, and removes the folder."""
        self.wait()
        if self.folder.exists():
            self.publish()
            self.temporary.cleanup()
        self.pool.shutdown()
