"""World batches as training sees them: scenes (rendered inside the step), captions as tokens, latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.data.buckets import Bucket, Phase, check_phases
from sorajax.world.captions import Register, captions
from sorajax.world.draw import SceneFeatures, draw
from sorajax.world.scenes import FULL, Scene, Split, WorldMix, sample_scenes

Tokenize = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]


@flax.struct.dataclass
class WorldBatch:
    """A batch of clips, given as scenes to render, as `pixels` uint8 [b t h w 3] or as `latent`; the others are None.

    `ids` and `mask` [b m] are the captions' tokens, or `context` [b m e] what a frozen text encoder has made of them;
    None where no text is needed. `channels` [b t h w k] and `image` [b i e] are what some models read of the first
    frame, beside latents and as tokens. The bucket and the renderer's parts are static: each bucket compiles once.
    """

    scene: Any = None
    latent: Any = None
    ids: Any = None
    mask: Any = None
    bucket: Bucket = flax.struct.field(pytree_node=False, default=Bucket())
    needs: SceneFeatures = flax.struct.field(pytree_node=False, default=SceneFeatures())
    pixels: Any = None
    context: Any = None
    channels: Any = None
    image: Any = None

    @property
    def size(self) -> int:
        """Number of clips."""
        return jax.tree.leaves((self.scene, self.latent, self.pixels))[0].shape[0]


@dataclass(frozen=True)
class WorldData:
    """Which clips of the world a run trains on."""

    buckets: tuple[Bucket, ...] = (Bucket(),)
    mix: WorldMix = FULL
    """How often each part of the world appears."""
    register: Register = "mixed"
    """Captions as a person types, as a captioner writes, or both."""
    dropout: float = 0.1
    """Share of prompts replaced by the empty one, which guidance needs."""
    split: Split = "train"
    """Which (colour, shape, motion) triples appear."""
    phases: tuple[Phase, ...] = ()
    """Parts of the run with other bucket weights, e.g. images first; none keeps the buckets' own."""
    seed: int = 0
    threads: int = 1
    """Threads that make batches."""
    prefetch: int = 4
    """Batches made before they are asked for."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"data.dropout is {self.dropout}: it must be in [0, 1]")
        check_phases(self.phases, self.buckets)


def parts_of(mix: WorldMix) -> SceneFeatures:
    """The renderer's parts that some scene of this mix needs."""
    two = mix.two_objects > 0
    events = mix.wall > 0 or (two and mix.collides > 0)
    return SceneFeatures(2 if two else 1, mix.two_shots > 0, mix.camera > 0, mix.style > 0, events)


def clips(batch: WorldBatch, first: int | Array = 0) -> Float[Array, "b t h w c"]:
    """The clips of a batch in [-1, 1], scenes rendered from frame `first` on; for use inside a jitted step."""
    if batch.pixels is not None:
        return batch.pixels.astype(jnp.float32) / 127.5 - 1
    return draw(batch.scene, *batch.bucket.size, first=first, needs=batch.needs)[0]


def scene_maker(data: WorldData) -> Callable[[Bucket, np.random.Generator], WorldBatch]:
    """Batches of scenes without text."""

    def make(bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        scene = sample_scenes(rng, bucket.batch_size, data.split, data.mix)
        return WorldBatch(scene=scene, bucket=bucket, needs=parts_of(data.mix))

    return make


def caption_maker(data: WorldData, encode: Tokenize) -> Callable[[Bucket, np.random.Generator], WorldBatch]:
    """Batches of scenes with captions; `encode` is a tokenizer's."""
    bare = scene_maker(data)

    def make(bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        batch = bare(bucket, rng)
        ids, mask = written(batch.scene, bucket, data, encode, rng)
        return WorldBatch(batch.scene, None, ids, mask, batch.bucket, batch.needs)

    return make


def written(
    scene: Scene, bucket: Bucket, data: WorldData, encode: Tokenize, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Captions of scenes as tokens and mask [b m], some dropped; in an image motion cannot be seen, so it is rarely
    said."""
    ids, mask = encode(captions(scene, rng, data.register, motion=0.1 if bucket.frames == 1 else None))
    kept = rng.random(len(ids)) >= data.dropout
    return ids * kept[:, None], mask & kept[:, None]
