"""Augmentation of encoded clips, so that few clips serve for many steps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def varied(latent: Float[Array, "b t h w c"], noise: float, shift: int, key: jax.Array) -> Float[Array, "b t h w c"]:
    """Latents with noise and shifts, see `objectives.captioner.CaptionerObjective`."""
    size_key, noise_key, shift_key = jax.random.split(key, 3)
    size = noise * jax.random.uniform(size_key, (len(latent), 1, 1, 1, 1))
    padded = jnp.pad(latent.astype(jnp.float32), ((0, 0), (0, 0), (shift, shift), (shift, shift), (0, 0)), "edge")
    starts = jax.random.randint(shift_key, (len(latent), 2), 0, 2 * shift + 1)
    cut = lambda one, start: jax.lax.dynamic_slice(one, (0, *start, 0), latent.shape[1:])  # noqa: E731
    return jax.vmap(cut)(padded, starts) + size * jax.random.normal(noise_key, latent.shape)
