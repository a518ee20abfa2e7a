"""The windows of a film on disk, from which an interrupted film continues."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Float

from sorajax.devices.exchange import first_of
from sorajax.files import remove_folder, write_atomically
from sorajax.media.formats import changed_settings, parse_metadata

REQUEST = "request.json"


class WindowStore:
    """The sampled windows of one film on disk, from which an interrupted film continues. Without a folder nothing is
    stored."""

    def __init__(self, folder: Path | None = None, request: dict[str, Any] | None = None, resume: bool = False):
        """request: JSON values that define the film. resume: windows in the folder are used; else they are deleted.
        Raises ValueError if they are of another request."""
        self.folder, self.request = folder, request or {}
        if folder is None:
            return
        if not resume:
            remove_folder(folder)
        elif (note := folder / REQUEST).exists() and (
            others := changed_settings(parse_metadata(note.read_bytes()), self.request)
        ):
            raise ValueError(
                f"{folder} has the windows of another request, with another {', '.join(others[:4])}: repeat that "
                "request, or begin anew with --overwrite and without --resume"
            )

    def get(self, number: int) -> Float[np.ndarray, "t h w c"] | None:
        """Latents of a window; None if it is missing or damaged, and must be sampled again."""
        path = self._path(number)
        try:
            return np.load(BytesIO(path.read_bytes())) if path is not None and path.exists() else None
        except (ValueError, EOFError):
            return None

    def put(self, number: int, latents: Float[np.ndarray, "t h w c"]) -> None:
        """Writes the latents of a window."""
        path = self._path(number)
        if path is None:
            return
        if not (note := path.with_name(REQUEST)).exists():  # the folder is made with its first window
            note.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(note, lambda temporary: temporary.write_text(json.dumps(self.request, indent=2)))
        write_atomically(path, lambda temporary: np.save(temporary, latents))

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{number:04}.npy"


class CommonStore(WindowStore):
    """The store of a film that several processes make together: process 0 reads and writes."""

    def get(self, number: int) -> Float[np.ndarray, "t h w c"] | None:
        return first_of(super().get(number) if jax.process_index() == 0 else None)

    def put(self, number: int, latents: Float[np.ndarray, "t h w c"]) -> None:
        if jax.process_index() == 0:
            super().put(number, latents)


class WindowStores(Protocol):
    """Opens the window store of each film of a request."""

    @property
    def resume(self) -> bool:
        """Whether some videos may be finished already and are not sampled again."""
        ...

    def __call__(self, number: int, request: Any) -> WindowStore:
        """The store of film number `number`; `request` are the JSON values that define the film."""
        ...
