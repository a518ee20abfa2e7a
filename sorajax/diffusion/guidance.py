"""Classifier-free guidance: extrapolates from the unconditional velocity past the conditional one.

    guided = velocity + (scale - 1) * (velocity - velocity_null)        (Ho & Salimans 2022, eq. 6)

which is `velocity_null + scale * (velocity - velocity_null)`, written so that scale 1 gives the conditional velocity to
the bit.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity

Pair = Callable[..., tuple[Latent, Latent]]


def guided(
    velocity: Velocity,
    velocity_null: Velocity,
    scale: Float[Array, ""] | float,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """Classifier-free guidance from two functions; `guided_pair` describes the arguments."""
    return guided_pair(lambda x, *times: (velocity(x, *times), velocity_null(x, *times)), scale, rescale, interval)


def guided_pair(
    pair: Pair, scale: Float[Array, ""] | float, rescale: float = 0.0, interval: tuple[float, float] = (0.0, 1.0)
) -> Velocity:
    """Classifier-free guidance from one function that returns both velocities, e.g. from one batch of 2b clips.

    pair: (x, time) -> (conditional velocity, unconditional velocity), each [b t h w c]; of a flow map (x, time, until).
    scale: 1 is no guidance, 3 to 7 is usual.
    rescale: in [0, 1], how much of the guided velocity's standard deviation is corrected to that of the conditional one
        (Lin et al. 2023, eqs. 15 and 16).
    interval: guides only frames whose time lies in it, ends included (Kynkaanniemi et al. 2024).
    """

    def wrapped(x: Latent, time: Float[Array, "b t"], *until: Float[Array, "b t"]) -> Latent:
        velocity, velocity_null = pair(x, time, *until)
        inside = (time >= interval[0]) & (time <= interval[1])
        weight = jnp.where(inside, scale - 1.0, 0.0)[..., None, None, None]
        guided_velocity = velocity + weight * (velocity - velocity_null)
        return guided_velocity + rescale * (contrast(velocity) / contrast(guided_velocity) - 1.0) * guided_velocity

    return wrapped


def contrast(velocity: Latent) -> Float[Array, "b 1 1 1 1"]:
    """The standard deviation over a clip, at least 1e-12."""
    return jnp.std(velocity, axis=(1, 2, 3, 4), keepdims=True) + 1e-12
