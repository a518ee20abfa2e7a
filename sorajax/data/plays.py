"""Encoded clips of the world as somebody plays it: latents of single frames, the actions, and the scenes for prompts.

A folder holds `plays.npy` (float16 latents [clips t h w c], memory-mapped) and `plays.npz` (actions [clips t] and the
scenes), written in this order. Every frame is encoded by itself, so that latents have the clips' rate. That of a game
that was recorded (`craftax.py`) has `frames.npy` too (uint8 [clips t h w 3]), and prompts in place of scenes.
"""

from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Float

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import Tokenize
from sorajax.files import write_atomically
from sorajax.world.actions import held_keys, play_prompts, render_actions, steered_scenes
from sorajax.world.scenes import Scene, Split

LATENTS, PLAYS, FRAMES = "plays.npy", "plays.npz", "frames.npy"


@flax.struct.dataclass
class PlayBatch:
    """A batch of windows: latents [b t h w c], the action [b t] that led to each frame, and tokens of prompts [b m].
    `context` [b t h w c] is what a model sees of known frames: those that it generated itself, or the latents."""

    latent: Any
    actions: Any
    ids: Any
    mask: Any
    context: Any
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


class Plays(NamedTuple):
    """What a folder holds: latents [clips t h w c], actions [clips t], and scenes; of a recorded game, prompts [clips]
    in their place."""

    latent: Any
    actions: np.ndarray
    scene: Scene | np.ndarray


def read_plays(directory: Path, part: slice = slice(None)) -> Plays:
    """The plays of a folder or a part of them, latents memory-mapped. Raises FileNotFoundError where nothing was
    encoded."""
    if not ((directory / PLAYS).exists() and (directory / LATENTS).exists()):
        raise FileNotFoundError(f"{directory} holds no encoded plays: add --encoded 3000 to make them first")
    with np.load(directory / PLAYS) as file:
        recorded = "prompts" in file
        scene = file["prompts"] if recorded else Scene(**{name: file[name] for name in Scene._fields})
        plays = Plays(np.load(directory / LATENTS, mmap_mode="r"), file["actions"], scene)
    return jax.tree.map(itemgetter(part), plays)


def prompts_of(scene: Scene | np.ndarray, rng: np.random.Generator) -> list[str]:
    """Newly written prompts of scenes, or those of a recorded game."""
    return play_prompts(scene, rng) if isinstance(scene, Scene) else scene.tolist()


def encode_frames(
    directory: Path, encode: Callable[[jax.Array], jax.Array], say: Callable[[str], None] = print
) -> None:
    """Encodes the frames of a recorded game, in place of what was encoded before. `encode` maps frames [n h w 3] in
    [-1, 1] to latents [n h w c]."""
    frames, step = np.load(directory / FRAMES, mmap_mode="r"), jax.jit(encode)

    def write(path: Path) -> None:
        rows: Any = None
        for number, clip in enumerate(frames):
            latent = np.asarray(step(clip.astype(np.float32) / 127.5 - 1))
            if rows is None:
                shape = (len(frames), *latent.shape)
                rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            rows[number] = latent
            if number % 200 == 0:
                say(f"{number}/{len(frames)} clips encoded")
        rows.flush()

    write_atomically(directory / LATENTS, write)


def write_own(path: Path, plays: Plays, go_on: Callable[[Plays], Any], say: Callable[[str], None] = print) -> None:
    """Writes the same clips as a model goes on with them, unless the file is there. `go_on` maps some clips to latents
    [n t h w c]."""
    if path.exists():
        return
    size = 32

    def write(target: Path) -> None:
        rows = np.lib.format.open_memmap(target, mode="w+", dtype=np.float16, shape=plays.latent.shape)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            rows[part] = go_on(jax.tree.map(itemgetter(part), plays))
            if start // size % 5 == 0:
                say(f"{start}/{len(rows)} clips played on")
        rows.flush()

    write_atomically(path, write)


def play_maker(
    directory: Path,
    encode: Tokenize,
    dropout: float,
    own: Path | None = None,
    own_share: float = 0.0,
    part: slice = slice(None),
) -> Callable[[Bucket, np.random.Generator], PlayBatch]:
    """Makes batches of random windows of a part of the clips, as long as the bucket's, with newly written prompts;
    `encode` is a tokenizer's. A share of them have frames of `own` (`write_own`) for context. Raises FileNotFoundError
    where nothing was encoded.
    """
    plays = read_plays(directory, part)
    others = None if own is None else np.load(own, mmap_mode="r")[part]

    def make(bucket: Bucket, rng: np.random.Generator) -> PlayBatch:
        b, t = bucket.batch_size, bucket.frames
        chosen = np.sort(rng.integers(0, len(plays.latent), b))
        first = rng.integers(0, plays.latent.shape[1] - t + 1, b)
        scene = jax.tree.map(lambda leaf: leaf[chosen], plays.scene)
        ids, mask = encode(prompts_of(scene, rng))
        kept = rng.random(b) >= dropout
        windows = [(row, slice(begin, begin + t)) for row, begin in zip(chosen, first, strict=True)]
        latent = np.stack([plays.latent[window] for window in windows])
        keys = np.stack([plays.actions[window] for window in windows])
        context = latent
        if others is not None:
            use = (rng.random(b) < own_share)[:, None, None, None, None]
            context = np.where(use, np.stack([others[window] for window in windows]), latent)
        return PlayBatch(latent, keys, ids * kept[:, None], mask & kept[:, None], context, bucket)

    return make
