"""The discriminator of an autoencoder's adversarial loss: is each spacetime patch from a real video?

A PatchGAN discriminator (Isola et al. 2017, section 3.2.2) in three dimensions: strided convolutions, whose outputs
have receptive fields of a few frames and a few dozen pixels, so it takes videos of any length and size, and images.
Time is padded with copies of the first and the last frame. It has no state besides its parameters: norms are per
position, and there is no spectral norm.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.models.layers import LayerNorm, Module, convolve
from sorajax.models.vae import conv_parameters


@dataclasses.dataclass(frozen=True)
class CriticConfig:
    """Shape of a discriminator. Raises ValueError for sizes below 1."""

    base: int = 64
    """Channels of the first convolution; each further one doubles them, up to 8 * base."""
    levels: int = 3
    """Number of convolutions of stride 2 in space; all but the first have stride 2 in time, too."""
    dtype: str = "float32"
    """Compute dtype of the convolutions."""

    def __post_init__(self):
        for name in ("base", "levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"critic.{name} is {getattr(self, name)}: it must be 1 or more")


class PatchConv(Module):
    """Convolution over 3 frames and side x side pixels, padded so that stride 2 halves a dimension."""

    features: int
    side: int = 4
    stride: tuple[int, int, int] = (2, 2, 2)

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t2 h2 w2 o"]:
        kernel, bias = conv_parameters(self, (3, self.side, self.side), x.shape[-1], self.features)
        x = jnp.concatenate([x[:, :1], x, x[:, -1:]], 1)
        return convolve(x, kernel, self.stride, ((1, 1), (1, 1))) + bias.astype(x.dtype)


class Critic(Module):
    config: CriticConfig

    @nn.compact
    def __call__(self, video: Float[Array, "b t y x 3"]) -> Float[Array, "b t h w"]:
        """Pixels in [-1, 1] -> one logit per patch (higher: more likely real), float32."""
        config = self.config
        x = PatchConv(config.base, stride=(1, 2, 2), name="conv_in")(video.astype(config.dtype))
        for level in range(1, config.levels):
            x = nn.leaky_relu(x, 0.2)
            x = PatchConv(config.base * min(2**level, 8), name=f"level{level}")(x)
            x = LayerNorm(epsilon=1e-6, dtype=x.dtype, name=f"norm{level}")(x)
        x = nn.leaky_relu(x, 0.2)
        return PatchConv(1, side=3, stride=(1, 1, 1), name="conv_out")(x)[..., 0].astype(jnp.float32)


@partial(jax.jit, static_argnums=0)
def init_critic(config: CriticConfig, key: jax.Array) -> dict:
    """Random parameters, a nested dict of float32 arrays."""
    side = 2**config.levels
    return Critic(config).init(key, jnp.zeros((1, 1, side, side, 3)))["params"]
