"""Guidance: from a velocity with the prompt and one without it, a velocity that follows the prompt more closely.

    guided = velocity + (scale - 1) * (velocity - velocity_null)        (Ho & Salimans 2022, eq. 6)

which is `velocity_null + scale * (velocity - velocity_null)`, written so that scale 1 is the plain velocity to the bit.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity

Pair = Callable[[Latent, Float[Array, "b t"]], tuple[Latent, Latent]]


def guided(
    velocity: Velocity,
    velocity_null: Velocity,
    scale: Float[Array, ""] | float,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """Classifier-free guidance from two functions; see `guided_pair` for the meaning of the numbers."""
    return guided_pair(lambda x, time: (velocity(x, time), velocity_null(x, time)), scale, rescale, interval)


def guided_pair(
    pair: Pair, scale: Float[Array, ""] | float, rescale: float = 0.0, interval: tuple[float, float] = (0.0, 1.0)
) -> Velocity:
    """Classifier-free guidance from one function that gives both velocities, e.g. from one batch of 2b clips.

    scale: 1 is no guidance, 3 to 7 usual.
    rescale in [0, 1]: how far a clip's contrast returns to the plain velocity's (Lin et al. 2023, eqs. 15 and 16).
    interval: only frames whose time lies in it, ends included, are guided (Kynkaanniemi et al. 2024).
    """

    def wrapped(x: Latent, time: Float[Array, "b t"]) -> Latent:
        velocity, velocity_null = pair(x, time)
        inside = (time >= interval[0]) & (time <= interval[1])
        extra = jnp.where(inside, scale - 1.0, 0.0)[..., None, None, None]
        strong = velocity + extra * (velocity - velocity_null)
        return strong + rescale * (contrast(velocity) / contrast(strong) - 1.0) * strong

    return wrapped


def contrast(velocity: Latent) -> Float[Array, "b 1 1 1 1"]:
    """Standard deviation over a clip."""
    return jnp.std(velocity, axis=(1, 2, 3, 4), keepdims=True) + 1e-12
