"""Messages between the processes of one run: bytes, objects, and fingerprints that must be equal.

All processes must call these functions, in the same order. With one process they return at once.
"""

import hashlib
import pickle
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

REMEDIES = {
    "code": "install one version of sorajax and jax on every host",
    "weights": "copy one model folder to every host",
    "options": "start the same command on every host",
}


def gather_objects(value: Any) -> list[Any]:
    """The value of every process, in order, as pickled."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental.multihost_utils import process_allgather

    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = process_allgather(np.array([data.size], np.int32)).ravel()
    padded = np.pad(data, (0, int(sizes.max()) - data.size))
    rows = process_allgather(padded)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def first_of(value: Any) -> Any:
    """The value of process 0, as pickled; those of others are ignored."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    data = np.frombuffer(pickle.dumps(value) if jax.process_index() == 0 else b"", np.uint8)
    size = int(broadcast_one_to_all(np.int32(data.size)))
    row = broadcast_one_to_all(data if data.size == size else np.zeros(size, np.uint8))
    return pickle.loads(np.asarray(row).tobytes())


def check_same(texts: Mapping[str, str]) -> None:
    """Raises ValueError, on every process, where a text differs from process 0's. The keys are those of `REMEDIES`."""
    if jax.process_count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    digests = [hashlib.sha256(text.encode()).digest() for text in texts.values()]
    everywhere = process_allgather(np.frombuffer(b"".join(digests), np.uint8).reshape(len(texts), -1))
    for name, rows in zip(texts, everywhere.swapaxes(0, 1), strict=True):
        if others := [process for process, row in enumerate(rows) if (row != rows[0]).any()]:
            raise ValueError(
                f"process {others[0]} has other {name} than process 0 (fingerprints {short(rows[others[0]])} and "
                f"{short(rows[0])}): {REMEDIES[name]}"
            )


def short(digest: np.ndarray) -> str:
    """The first digits of a fingerprint."""
    return digest.astype(np.uint8).tobytes().hex()[:8]
