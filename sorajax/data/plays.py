"""Encoded clips of the world as somebody plays it: latents of single frames, the actions, and the scenes for prompts.

A folder holds `plays.npy` (float16 latents [clips t h w c], memory-mapped) and `plays.npz` (actions [clips t] and the
scenes), written in this order. Every frame is encoded by itself, so that latents have the clips' rate.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Float

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import Tokenize
from sorajax.files import write_atomically
from sorajax.world.actions import held_keys, play_prompts, render_actions, steered_scenes
from sorajax.world.scenes import Scene, Split

LATENTS, PLAYS = "plays.npy", "plays.npz"


@flax.struct.dataclass
class PlayBatch:
    """A batch of windows: latents [b t h w c], the action [b t] that led to each frame, and tokens of prompts [b m]."""

    latent: Any
    actions: Any
    ids: Any
    mask: Any
    bucket: Bucket = flax.struct.field(pytree_node=False, default=Bucket(9))

    @property
    def size(self) -> int:
        """Number of windows."""
        return len(self.latent)


def render_plays(
    rng: np.random.Generator, num: int, frames: int, bucket: Bucket, fps: float, split: Split = "all"
) -> tuple[Float[Array, "b t h w 3"], np.ndarray, Scene]:
    """Clips in [-1, 1] of random players, the actions [b t], and the scenes."""
    scene = steered_scenes(rng, num, split)
    actions = held_keys(rng, num, frames, fps)
    return render_actions(scene, actions, bucket.height, bucket.width, fps)[0], actions, scene


def write_plays(
    directory: Path,
    bucket: Bucket,
    count: int,
    frames: int,
    encode: Callable[[jax.Array], jax.Array],
    fps: float,
    seed: int,
    split: Split,
    say: Callable[[str], None] = print,
) -> None:
    """Renders and encodes `count` clips of `frames` frames, unless the folder has as many. `encode` maps frames
    [n h w 3] in [-1, 1] to latents [n h w c]."""
    if (directory / PLAYS).exists() and len(np.load(directory / LATENTS, mmap_mode="r")) >= count:
        return
    directory.mkdir(parents=True, exist_ok=True)
    step, found, size = jax.jit(encode), list[Any](), 16

    def write(path: Path) -> None:
        rows: Any = None
        for start in range(0, count, size):
            rng = np.random.default_rng((seed, start))
            video, actions, scene = render_plays(rng, size, frames, bucket, fps, split)
            flat = np.asarray(step(video.reshape(-1, *video.shape[2:])))
            latent = flat.reshape(size, frames, *flat.shape[1:])
            if rows is None:
                shape = (count, *latent.shape[1:])
                rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            last = min(size, count - start)
            rows[start : start + last] = latent[:last]
            found.append(jax.tree.map(lambda leaf, last=last: leaf[:last], (actions, scene)))
            if start // size % 20 == 0:
                say(f"{start}/{count} clips encoded")
        rows.flush()

    write_atomically(directory / LATENTS, write)
    actions, scene = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    write_atomically(directory / PLAYS, lambda path: np.savez(path, actions=actions, **scene._asdict()))


def play_maker(directory: Path, encode: Tokenize, dropout: float) -> Callable[[Bucket, np.random.Generator], PlayBatch]:
    """Makes batches of random windows, as long as the bucket's, with newly written prompts; `encode` is a tokenizer's.
    Raises FileNotFoundError where nothing was encoded."""
    if not (directory / PLAYS).exists():
        raise FileNotFoundError(f"{directory} holds no encoded plays: add --encoded 3000 to make them first")
    rows = np.load(directory / LATENTS, mmap_mode="r")
    with np.load(directory / PLAYS) as file:
        actions = file["actions"]
        scenes = Scene(**{name: file[name] for name in Scene._fields})

    def make(bucket: Bucket, rng: np.random.Generator) -> PlayBatch:
        b, t = bucket.batch_size, bucket.frames
        chosen = np.sort(rng.integers(0, len(rows), b))
        first = rng.integers(0, rows.shape[1] - t + 1, b)
        scene = jax.tree.map(lambda leaf: leaf[chosen], scenes)
        ids, mask = encode(play_prompts(scene, rng))
        kept = rng.random(b) >= dropout
        latent = np.stack([rows[row, begin : begin + t] for row, begin in zip(chosen, first, strict=True)])
        keys = np.stack([actions[row, begin : begin + t] for row, begin in zip(chosen, first, strict=True)])
        return PlayBatch(latent, keys, ids * kept[:, None], mask & kept[:, None], bucket)

    return make
