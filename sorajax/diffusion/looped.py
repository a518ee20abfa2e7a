"""Clips without an end: a cycle of latents, seen in overlapping views that are made as one.

    state     [a_1 .. a_k, c_1 .. c_n]
    view i    [a_i, c_(s_i) .. c_(s_i + length - 1)], indices modulo n, s_i = n i / k
    velocity of a_i: that of view i;  of c_j: the mean of its velocities in all views, weighted

A cycle of latents (Bi et al. 2025, Mobius), whose views are reconciled at every step by a weighted mean (Bar-Tal et al.
2023, MultiDiffusion, eq. 5). Wherever a view ends lies the middle of another one, or of itself where it is longer than
the cycle, so no place is a seam.
The first latent of a clip stands for one frame and no later one does: each view has one of its own, the last frame
before it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.diffusion.fixed_frames import Latent, Velocity

LEAST = 1e-3  # weight of a view's first latent of the cycle: of what comes before, it sees a single frame


class Cycle(NamedTuple):
    """`size` latents in a circle, and views of `length` of them, each with a first latent before it."""

    size: int
    length: int

    @property
    def views(self) -> Int[np.ndarray, "k length"]:
        """Which latents each view shows; every place lies in the middle half of one."""
        k = math.ceil(2 * self.size / self.length)
        starts = np.round(np.arange(k) * self.size / k).astype(int)
        return (starts[:, None] + np.arange(self.length)) % self.size

    @property
    def latents(self) -> int:
        """Latent frames of the state: the views' own first ones, and the cycle."""
        return len(self.views) + self.size

    def unrolled(self, state: Latent) -> Latent:
        """The clip that plays the cycle twice; the second time each frame has the past that it has in a loop."""
        cycle = state[:, -self.size :]
        return jnp.concatenate([state[:, :1], cycle, cycle], 1)


def looped(velocity: Velocity, cycle: Cycle) -> Velocity:
    """The velocity of a cycle's state [b k+n h w c] from that of clips of 1 + length latents, one view at a time."""
    views, place = cycle.views, np.arange(cycle.length)
    weight = np.maximum(np.minimum(place, cycle.length - place), LEAST).astype(np.float32)
    k = len(views)
    total = np.bincount(views.ravel(), np.tile(weight, k)).astype(np.float32)
    share = (weight / total[views])[..., None, None, None]

    def seen(state: Array) -> Array:
        """[b k+n ...] -> the views [k b 1+length ...]."""
        return jnp.concatenate([jnp.moveaxis(state[:, :k, None], 1, 0), jnp.moveaxis(state[:, k:][:, views], 1, 0)], 2)

    def wrapped(x: Latent, time: Float[Array, "b t"]) -> Latent:
        made = jax.lax.map(lambda view: velocity(*view), (seen(x), seen(time)))
        shared = jnp.moveaxis(made[:, :, 1:], 1, 0) * share
        mean = jnp.zeros_like(x[:, k:]).at[:, views].add(shared)
        return jnp.concatenate([jnp.moveaxis(made[:, :, 0], 0, 1), mean], 1)

    return wrapped
