"""Images and texts -> vectors in one space: CLIP, with both towers.

    image: tokens of `models.vision`, with its last layer; norm of the class token; linear
    text:  x = embed(ids) + positions;  the same blocks, causal;  norm of the end token; linear
    similarity = cosine of both

Radford et al. 2021, section 2.4; weight-compatible, by config, with `CLIPModel`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sorajax.models.layers import Dense, LayerNorm, Module
from sorajax.models.vision import Vision, VisionBlock, VisionConfig


@dataclasses.dataclass(frozen=True)
class ClipTextConfig:
    """Shape of the text tower; the defaults are CLIP ViT-B/32."""

    vocabulary: int = 49408
    width: int = 512
    hidden: int = 2048
    depth: int = 12
    heads: int = 8
    tokens: int = 77
    activation: Literal["gelu", "quick_gelu"] = "quick_gelu"
    epsilon: float = 1e-5
    end: int = 49407
    """The token that ends a text; the vector is read at the first one."""
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Both towers, and the width of the space that they share."""

    text: ClipTextConfig = ClipTextConfig()
    vision: VisionConfig = VisionConfig()
    """Its depth counts one more layer than there are, so that all are used."""
    width: int = 512


class ClipText(Module):
    config: ClipTextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "b m"]) -> Float[Array, "b d"]:
        """The normed vector at each text's end, float32."""
        config, small = self.config, nn.initializers.normal(0.02)
        table = self.param("embedding", small, (config.vocabulary, config.width))
        positions = self.param("positions", small, (config.tokens, config.width))
        m = ids.shape[1]
        x = (table[ids] + positions[:m]).astype(config.dtype)
        causal = jnp.where(jnp.tril(jnp.ones((m, m), bool)), 0.0, -1e9)[None, None]
        blocks = nn.scan(
            VisionBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=config.depth,
        )
        x, _ = blocks(config, name="blocks")(x, causal)
        x = LayerNorm(config.epsilon, dtype=jnp.float32, name="norm_out")(x)
        return x[jnp.arange(len(x)), jnp.argmax(ids == config.end, 1)]


class Clip(Module):
    """Both towers; each returns vectors of length 1."""

    config: ClipConfig

    def setup(self) -> None:
        config = self.config
        self.vision, self.text = Vision(config.vision), ClipText(config.text)
        self.norm_image = LayerNorm(config.vision.epsilon, dtype=jnp.float32)
        self.image_out, self.text_out = (Dense(config.width, use_bias=False) for _ in range(2))

    def image(self, image: Float[Array, "b y x 3"]) -> Float[Array, "b e"]:
        """Vectors of normalised images, see `vision.preprocess`."""
        return unit(self.image_out(self.norm_image(self.vision(image)[:, 0])))

    def prompt(self, ids: Int[Array, "b m"]) -> Float[Array, "b e"]:
        """Vectors of texts."""
        return unit(self.text_out(self.text(ids)))

    def __call__(self, image: Array, ids: Array) -> Float[Array, "images texts"]:
        """Cosines of all pairs."""
        return self.image(image) @ self.prompt(ids).T


def unit(x: Float[Array, "b e"]) -> Float[Array, "b e"]:
    """Vectors of length 1."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


@partial(jax.jit, static_argnums=0)
def init_clip(config: ClipConfig, key: jax.Array) -> Any:
    """Random parameters."""
    image = jnp.zeros((1, config.vision.size, config.vision.size, 3))
    return Clip(config).init(key, image, jnp.zeros((1, 2), jnp.int32))["params"]
