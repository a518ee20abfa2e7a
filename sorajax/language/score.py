"""How well a prompt and a clip agree: two towers on the captioner's frozen encoder.

    pooled = concat over queries of softmax(tokens query) tokens W_query
    x = pooled / |pooled|  of a clip's tokens,  y  of a prompt's
    probability that they belong together = sigmoid(exp(scale) x . y + bias)

Zhai et al. 2023 (SigLIP, eq. 1). The encoder stays as the captioner trained it (Zhai et al. 2022, locked-image tuning),
so the towers are two small layers.
"""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.language.captioner import LANGUAGE, VideoCaptioner, open_captioner, seen, shots
from sorajax.language.network import Memory
from sorajax.media.video import Video
from sorajax.models.folder import CONFIG, load_model
from sorajax.models.layers import Module

SCORE = LANGUAGE / "score"
"""The folder of the towers in the package."""


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """Shape of the towers."""

    width: int = 128
    """Width of the encoder's tokens."""
    queries: int = 16
    """Queries of each tower's attention."""
    values: int = 6
    """Values that each query returns."""
    captioner: str = "world"
    """The captioner whose encoder is used: `world`, or the folder of a run."""


class Tower(Module):
    """A memory -> one vector of length 1."""

    config: ScoreConfig

    @nn.compact
    def __call__(self, memory: Memory) -> Float[Array, "b e"]:
        config, small = self.config, nn.initializers.normal(self.config.width**-0.5)
        queries = self.param("queries", small, (config.queries, config.width))
        kernel = self.param("values", small, (config.queries, config.width, config.values))
        scores = jnp.einsum("bsd,qd->bqs", memory.tokens, queries)
        weights = jax.nn.softmax(jnp.where(memory.mask[:, None], scores, -1e9), -1)
        pooled = jnp.einsum("bqs,bsd,qdv->bqv", weights, memory.tokens, kernel).reshape(len(memory.mask), -1)
        return pooled / (jnp.linalg.norm(pooled, axis=-1, keepdims=True) + 1e-6)


class Towers(Module):
    """Memories of clips and of prompts -> the logits that they belong together."""

    config: ScoreConfig

    def setup(self) -> None:
        self.clip, self.prompt = Tower(self.config), Tower(self.config)
        self.scale = self.param("scale", nn.initializers.constant(np.log(10.0)), (1,))
        self.bias = self.param("bias", nn.initializers.constant(-10.0), (1,))

    def __call__(self, clips: Memory, prompts: Memory) -> Float[Array, "clips prompts"]:
        return jnp.exp(self.scale) * self.clip(clips) @ self.prompt(prompts).T + self.bias


class Score:
    """The towers with their captioner: clips and prompts -> probabilities."""

    def __init__(self, captioner: VideoCaptioner, config: ScoreConfig, params: Any):
        self.captioner = captioner
        self.logits = jax.jit(partial(Towers(config).apply, {"params": params}))

    def __call__(self, video: Video, prompt: str) -> float:
        """The probability, from 0 to 1, that a prompt describes a video, by its first `LONGEST` frames."""
        clip = shots(seen(video))[0]
        return float(jax.nn.sigmoid(self.matrix(self.captioner.latents([clip]), [prompt]))[0, 0])

    def matrix(
        self, latents: Float[Any, "clips t h w c"], prompts: Sequence[str]
    ) -> Float[np.ndarray, "clips prompts"]:
        """The logits of all pairs. Prompts that are too long are cut."""
        writer = self.captioner.writer
        ids, mask = writer.tokenizer.encode(prompts, cut=True)
        return np.asarray(self.logits(writer.read_clip(latents), writer.read_prompt(ids, mask)))


@lru_cache(maxsize=1)
def open_score(model: str | Path = "world") -> Score:
    """The score of the package, or of a run of configs/score.py. Raises FileNotFoundError and ValueError."""
    folder = SCORE if str(model) == "world" else Path(model)
    if folder == SCORE and not (folder / CONFIG).is_file():
        raise FileNotFoundError("the score's weights are not in this installation: train configs/score.py")
    config, params, _ = load_model(folder, ScoreConfig)
    return Score(open_captioner(config.captioner), config, params)
