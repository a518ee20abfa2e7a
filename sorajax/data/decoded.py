"""Encoded clips of the world a second time: decoded, and encoded again.

A clip that is captioned has mostly been through the autoencoder already, because a model made it, and through a video
codec, because it was a file. Beside the clips that `latents.write_latents` wrote, `FRAMESxHEIGHTxWIDTH.decoded.npy` has
such latents (float16) of the first of them, in the same order. `decoded.json` is written last and records how they were
made.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sorajax.data.latents import INDEX
from sorajax.files import write_atomically
from sorajax.world.scenes import Scene

DECODED = "decoded.json"
BATCH = 32
Latent = Float[np.ndarray, "b t h w c"]
Again = Callable[[Latent, Scene, np.random.Generator], Latent]
"""Latents of clips, and the scenes that they show -> latents of the same clips, decoded and encoded again."""


def write_decoded(
    directory: Path, count: int, again: Again, made_by: dict[str, Any], say: Callable[[str], None] = print
) -> None:
    """Writes such latents of the folder's clips: `count` for the size with the most clips, and of the others in
    proportion, or all where there are fewer. made_by: what `again` depends on, as JSON values.

    Raises ValueError where the folder has some that were made otherwise.
    """
    there: dict[str, int] = json.loads((directory / INDEX).read_text())["clips"]
    done: dict[str, int] = {}
    if (directory / DECODED).exists():
        recorded = json.loads((directory / DECODED).read_text())
        done = recorded.pop("clips")
        if recorded != {"made_by": made_by}:
            raise ValueError(f"{directory} has clips that were decoded otherwise: remove its {DECODED} first")
    for number, (name, clips) in enumerate(there.items()):
        needed = min(clips, math.ceil(count * clips / max(there.values())))
        if done.get(name, 0) < needed:
            _write(directory, name, number, needed, again, say)
            done[name] = needed
            text = json.dumps({"made_by": made_by, "clips": done}, indent=2)
            write_atomically(directory / DECODED, lambda path, text=text: path.write_text(text))


def _write(directory: Path, name: str, number: int, count: int, again: Again, say: Callable[[str], None]) -> None:
    rows = np.load(directory / f"{name}.npy", mmap_mode="r")
    scenes = Scene(**np.load(directory / f"{name}.npz"))

    def write(path: Path) -> None:
        shape = (count, *rows.shape[1:])
        written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, count, BATCH):
            part = np.s_[start : min(start + BATCH, count)]
            scene = jax.tree.map(lambda leaf, part=part: leaf[part], scenes)
            written[part] = again(np.asarray(rows[part], np.float32), scene, np.random.default_rng((number, start)))
            if start // BATCH % 20 == 0:
                say(f"{name}: {start}/{count} clips decoded and encoded again")
        written.flush()

    write_atomically(directory / f"{name}.decoded.npy", write)


def decoded_rows(directory: Path, name: str) -> Latent:
    """Those of one size, memory-mapped. Raises FileNotFoundError where there are none."""
    if not (path := directory / f"{name}.decoded.npy").exists():
        raise FileNotFoundError(f"{directory} has no decoded clips of {name}: add --decoding.clips 3000 to make them")
    rows: Latent = np.load(path, mmap_mode="r")
    return rows
