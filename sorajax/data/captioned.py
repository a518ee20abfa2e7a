"""Batches of encoded clips of the world with captions of named registers, and pairs of a short and a long caption."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.struct
import jax
import numpy as np
from jaxtyping import Int

from sorajax.data.buckets import Bucket, stem
from sorajax.data.decoded import decoded_rows
from sorajax.data.latents import INDEX
from sorajax.data.worlds import Tokenize
from sorajax.world.captions import captions
from sorajax.world.scenes import Scene, sample_scenes

REGISTERS = ("short", "detailed", "canonical")
WHOLE = 17
"""Frames from which on clips show every shot and event."""


@flax.struct.dataclass
class CaptionedBatch:
    """Clips as `latent` [b t h w c] with captions `ids` [b m] (zero beyond their length) of registers [b]; and prompts
    `short` [p m] with longer ones of the same scenes, `long` [p m]."""

    latent: Any
    register: Any
    ids: Any
    short: Any
    long: Any
    bucket: Bucket = flax.struct.field(pytree_node=False, default=Bucket())

    @property
    def size(self) -> int:
        """Number of clips."""
        return len(self.latent)


def captioned_maker(
    directory: Path,
    buckets: Sequence[Bucket],
    shares: tuple[float, float, float],
    encode: Tokenize,
    made_by: str,
    pairs: bool = True,
    decoded: float = 0.0,
) -> Callable[[Bucket, np.random.Generator], CaptionedBatch]:
    """Makes batches from a folder that `write_latents` wrote, with newly sampled captions.

    A bucket takes its clips from those of its size and at least its frames, and cuts them: an encoder that sees no
    future gives a clip's first frames the latents that they have alone. shares: how often each register occurs. pairs:
    half as many pairs of prompts as clips; else none. decoded: the share of clips that were decoded and encoded again,
    from the files that `write_decoded` wrote; their captions are those of the clips that were rendered.

    Raises FileNotFoundError or ValueError, on one line, where the folder lacks what a bucket needs.
    """
    if not (directory / INDEX).exists():
        raise FileNotFoundError(f"{directory} holds no encoded latents: add --encoded 24000 to make them first")
    index = json.loads((directory / INDEX).read_text())
    if index["made_by"] != made_by:
        raise ValueError(f"{directory} was encoded by another autoencoder: encode again into a new folder")
    sources = {bucket: source_of(bucket, list(index["clips"])) for bucket in buckets}
    rows = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in set(sources.values())}
    scenes = {name: Scene(**np.load(directory / f"{name}.npz")) for name in rows}
    whole = {name: np.flatnonzero((scene.shots == 1) & (scene.event == 0)) for name, scene in scenes.items()}
    again = {name: decoded_rows(directory, name) for name in rows} if decoded else {}

    def make(bucket: Bucket, rng: np.random.Generator) -> CaptionedBatch:
        name = sources[bucket]
        from_rows = np.arange(len(rows[name])) if bucket.frames >= WHOLE else whole[name]
        chosen = np.sort(rng.choice(from_rows, bucket.batch_size))
        latent = np.asarray(rows[name][chosen, : (bucket.frames - 1) // 4 + 1])
        if decoded:
            places = np.flatnonzero(rng.random(len(chosen)) < decoded)
            chosen[places] = rng.choice(from_rows[from_rows < len(again[name])], len(places))
            latent[places] = again[name][chosen[places], : latent.shape[1]]
        scene = jax.tree.map(lambda leaf: leaf[chosen], scenes[name])
        register, ids = captions_in(scene, rng, shares, encode, still=bucket.frames == 1)
        short, long = prompt_pairs(rng, bucket.batch_size // 2, encode) if pairs else (ids[:0], ids[:0])
        return CaptionedBatch(latent, register, ids, short, long, bucket)

    return make


def source_of(bucket: Bucket, there: Sequence[str]) -> str:
    """The name of the encoded clips from which a bucket takes its own."""
    sizes = [tuple(map(int, name.split("x"))) for name in there]
    fits = sorted(size for size in sizes if size[1:] == (bucket.height, bucket.width) and size[0] >= bucket.frames)
    if not fits:
        raise ValueError(f"no clips of {stem(bucket)} are encoded, nor longer ones of that size: {', '.join(there)}")
    return "x".join(map(str, fits[0]))


def captions_in(
    scene: Scene, rng: np.random.Generator, shares: tuple[float, float, float], encode: Tokenize, still: bool = False
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, "b m"]]:
    """Registers and captions of clips; those of still pictures, short or detailed, mention no motion."""
    weights = np.array((*shares[:2], 0.0) if still else shares)
    register = rng.choice(len(REGISTERS), len(scene.shots), p=weights / weights.sum())
    if still:
        scene = scene._replace(shots=np.ones_like(scene.shots), event=np.zeros_like(scene.event))
    texts = np.empty(len(register), object)
    for number, name in enumerate(REGISTERS):
        here = np.flatnonzero(register == number)
        part = jax.tree.map(lambda leaf, here=here: leaf[here], scene)
        texts[here] = captions(part, rng, name, motion=0.0 if still else None)  # type: ignore[arg-type]
    return register.astype(np.int32), encode(list(texts))[0]


def prompt_pairs(rng: np.random.Generator, count: int, encode: Tokenize) -> tuple[np.ndarray, np.ndarray]:
    """Short prompts, and detailed ones of the same scenes, as tokens."""
    scene = sample_scenes(rng, count, "train")
    return encode(captions(scene, rng, "short"))[0], encode(captions(scene, rng, "detailed"))[0]
