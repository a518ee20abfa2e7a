"""Classifier-free guidance: extrapolates from the unconditional velocity past the conditional one.

    guided = velocity + (scale - 1) * (velocity - velocity_null)        (Ho & Salimans 2022, eq. 6)

which is `velocity_null + scale * (velocity - velocity_null)`, written so that scale 1 gives the conditional velocity to
the bit.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity

Pair = Callable[..., tuple[Latent, Latent]]


def guided(velocity: Velocity, velocity_null: Velocity, scale: Float[Array, ""] | float) -> Velocity:
    """Classifier-free guidance from two functions; `guided_pair` describes the arguments."""
    return guided_pair(lambda x, *times: (velocity(x, *times), velocity_null(x, *times)), scale)


def guided_pair(pair: Pair, scale: Float[Array, ""] | float) -> Velocity:
    """Classifier-free guidance from one function that returns both velocities, e.g. from one batch of 2b clips.

    pair: (x, time) -> (conditional velocity, unconditional velocity), each [b t h w c]; of a flow map (x, time, until).
    scale: 1 is no guidance, 3 to 7 is usual.
    """

    def wrapped(x: Latent, *times: Float[Array, "b t"]) -> Latent:
        velocity, velocity_null = pair(x, *times)
        return velocity + (scale - 1.0) * (velocity - velocity_null)

    return wrapped


def guided_evaluations(times: Float[np.ndarray, " evaluations"], interval: tuple[float, float]) -> tuple[int, int]:
    """The evaluations (first, stop) that are guided: those whose time lies in the interval, ends included
    (Kynkaanniemi et al. 2024). times: of all evaluations, not increasing."""
    low, high = interval
    return int((times > np.float32(high)).sum()), int((times >= np.float32(low)).sum())
