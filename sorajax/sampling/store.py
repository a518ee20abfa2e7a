"""The windows of a film on disk, so that it can go on after an interruption."""

import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from sorajax.files import write_atomically
from sorajax.media.formats import changed_settings, parse_metadata

REQUEST = "request.json"


class WindowStore:
    """The windows of one film on disk, so that it can go on after an interruption; in no folder nothing is kept."""

    def __init__(self, folder: Path | None = None, request: dict[str, Any] | None = None, resume: bool = False):
        """`request` are JSON values that make the film. Raises ValueError where the folder holds another one."""
        self.folder, self.request = folder, request or {}
        if folder is None:
            return
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        elif (note := folder / REQUEST).exists() and (
            others := changed_settings(parse_metadata(note.read_bytes()), self.request)
        ):
            raise ValueError(
                f"{folder} holds the windows of another request ({', '.join(others[:4])}): repeat that "
                "one, or begin anew with --overwrite and without --resume"
            )

    def get(self, number: int) -> Float[np.ndarray, "t h w c"] | None:
        """A window; None where there is none, or it is damaged, and is to be made again."""
        path = self._path(number)
        try:
            return np.load(path) if path is not None and path.exists() else None
        except (ValueError, EOFError):
            return None

    def put(self, number: int, latents: Float[np.ndarray, "t h w c"]) -> None:
        path = self._path(number)
        if path is None:
            return
        if not (note := path.with_name(REQUEST)).exists():  # with the first one: nothing is there before
            note.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(note, lambda temporary: temporary.write_text(json.dumps(self.request, indent=2)))
        write_atomically(path, lambda temporary: np.save(temporary, latents))

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{number:04}.npy"


class WindowStores(Protocol):
    """Where the windows of films are kept until the films are whole."""

    @property
    def resume(self) -> bool:
        """Whether some videos may be finished already, and need not be made."""
        ...

    def __call__(self, number: int, made_by: Any) -> WindowStore:
        """The store of the film of that number; `made_by`, JSON values, is the request that makes it."""
        ...
