"""Image -> tokens: the CLIP vision tower, with the layers that Wan 2.1's image-to-video models use.

    x = [class token, linear(patches)] + positions,  norm
    block:  x += attention(norm(x));  x += linear(gelu(linear(norm(x))))
    tokens = output of the last block but one

Radford et al. 2021, section 2.4 (a vision transformer, Dosovitskiy et al. 2021); weight-compatible, by config, with
`CLIPVisionModel`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, UInt8

from sorajax.devices.sharding import AXES, BATCH, shard
from sorajax.models.attention import attend
from sorajax.models.layers import Dense, LayerNorm, Module

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": partial(nn.gelu, approximate=False),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
}


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """Shape of an image encoder; the defaults are CLIP ViT-H/14."""

    width: int = 1280
    hidden: int = 5120
    depth: int = 32
    """Layers of the tower; the last one is not used."""
    heads: int = 16
    patch: int = 14
    size: int = 224
    """Side of the square image in pixels."""
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    epsilon: float = 1e-5
    dtype: str = "float32"

    @property
    def tokens(self) -> int:
        """Number of tokens of an image: its patches and the class token."""
        return 1 + (self.size // self.patch) ** 2


class VisionBlock(Module):
    """A block of either of CLIP's towers; `bias` is added to the attention's scores."""

    config: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b p d"], bias: Float[Array, "#b #n p p"] | None):
        config = self.config
        dense = partial(Dense, dtype=config.dtype)
        norm = partial(LayerNorm, config.epsilon, dtype=jnp.float32)
        heads = partial(rearrange, pattern="b p (n k) -> b p n k", n=config.heads)
        h = norm(name="norm_attention")(x).astype(config.dtype)
        q, k, v = (shard(heads(dense(config.width, name=name)(h)), None, None, AXES) for name in "qkv")
        x = x + dense(config.width, name="out")(rearrange(attend(q, k, v, bias), "b p n k -> b p (n k)"))
        h = norm(name="norm_feed_forward")(x).astype(config.dtype)
        h = shard(ACTIVATIONS[config.activation](dense(config.hidden, name="up")(h)), None, None, AXES)
        return shard(x + dense(config.width, name="down")(h), BATCH), None


class Vision(Module):
    config: VisionConfig

    @nn.compact
    def __call__(self, image: Float[Array, "b y x 3"]) -> Float[Array, "b p d"]:
        """Tokens of a normalised image (see `preprocess`): the class token, then the patches row by row; float32."""
        config = self.config
        patches = rearrange(
            image.astype(config.dtype), "b (h p) (w q) c -> b (h w) (p q c)", p=config.patch, q=config.patch
        )
        x = Dense(config.width, use_bias=False, dtype=config.dtype, name="patch_in")(patches)
        x = shard(x, None, None, AXES)
        token = self.param("token", nn.initializers.normal(0.02), (config.width,)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, config.width)), x], 1)
        positions = self.param("positions", nn.initializers.normal(0.02), (x.shape[1], config.width))
        x = LayerNorm(config.epsilon, dtype=jnp.float32, name="norm_in")(x + positions.astype(x.dtype))
        blocks = nn.scan(
            VisionBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=config.depth - 1,
        )
        x, _ = blocks(config, name="blocks")(x.astype(config.dtype), None)
        return x.astype(jnp.float32)


def preprocess(image: UInt8[np.ndarray, "y x 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    """CLIP's preprocessing: resizes the shorter side to `size` pixels (bicubic), crops the centre, normalises by CLIP's
    mean and standard deviation."""
    from PIL import Image

    y, x, _ = image.shape
    width, height = (size, int(size * y / x)) if x <= y else (int(size * x / y), size)
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (height - size) // 2, (width - size) // 2
    crop = resized[top : top + size, left : left + size]
    return ((crop / 255.0 - MEAN) / STD).astype(np.float32)
