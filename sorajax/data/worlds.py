"""Training batches of the world: scenes (rendered in the training step) or latents, and tokenized captions."""

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
    """A batch of clips: scenes to render, `pixels` uint8 [b t h w 3], or `latent` [b t h w c]; the others are None.

    Text is `ids` and `mask` [b m], the tokens of the captions, or `context` [b m e], their embeddings by a frozen text
    encoder; None without text. `channels` [b t h w k] and `image` [b i e] condition some models on the first frame, as
    input channels and as tokens. The bucket and the renderer's features are static: each bucket is compiled once.
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
    """Probabilities of the attributes of scenes."""
    register: Register = "mixed"
    """Captions as users type them ("short"), as captioners write them ("detailed"), both ("mixed"), or with every
    attribute in its most common word ("canonical", see `world.captions.describe`)."""
    dropout: float = 0.1
    """Probability that a prompt is replaced by the empty one, for classifier-free guidance."""
    split: Split = "train"
    """Which (colour, shape, motion) triples occur, see `world.scenes`."""
    phases: tuple[Phase, ...] = ()
    """Phases of the run with other bucket weights, e.g. images first; empty: the buckets' own weights."""
    seed: int = 0
    threads: int = 1
    """Threads that make batches."""
    prefetch: int = 4
    """Number of batches that are made in advance."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"data.dropout is {self.dropout}: it must be in [0, 1]")
        check_phases(self.phases, self.buckets)


def parts_of(mix: WorldMix) -> SceneFeatures:
    """The renderer features that scenes of this mix may need."""
    two = mix.two_objects > 0
    events = mix.wall > 0 or (two and mix.collides > 0)
    return SceneFeatures(2 if two else 1, mix.two_shots > 0, mix.camera > 0, mix.style > 0, events)


def clips(batch: WorldBatch, first: int | Array = 0) -> Float[Array, "b t h w c"]:
    """The clips of a batch in [-1, 1]; scenes are rendered from frame `first` on. For use in a jitted step."""
    if batch.pixels is not None:
        return batch.pixels.astype(jnp.float32) / 127.5 - 1
    return draw(batch.scene, *batch.bucket.size, first=first, needs=batch.needs)[0]


def scene_maker(data: WorldData) -> Callable[[Bucket, np.random.Generator], WorldBatch]:
    """Makes batches of scenes without text."""

    def make(bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        scene = sample_scenes(rng, bucket.batch_size, data.split, data.mix)
        return WorldBatch(scene=scene, bucket=bucket, needs=parts_of(data.mix))

    return make


def caption_maker(data: WorldData, encode: Tokenize) -> Callable[[Bucket, np.random.Generator], WorldBatch]:
    """Makes batches of scenes with captions; `encode` is a tokenizer's."""
    make_scenes = scene_maker(data)

    def make(bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        batch = make_scenes(bucket, rng)
        ids, mask = caption_tokens(batch.scene, bucket, data, encode, rng)
        return WorldBatch(batch.scene, None, ids, mask, batch.bucket, batch.needs)

    return make


def caption_tokens(
    scene: Scene, bucket: Bucket, data: WorldData, encode: Tokenize, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and mask [b m] of new captions of scenes, with drop-out. Captions of images rarely mention motion,
    which an image does not show."""
    ids, mask = encode(captions(scene, rng, data.register, motion=0.1 if bucket.frames == 1 else None))
    retained = rng.random(len(ids)) >= data.dropout
    return ids * retained[:, None], mask & retained[:, None]
