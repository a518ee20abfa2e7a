"""Seamless loops: a cycle of latents, denoised in overlapping views whose velocities are averaged.

    state     [a_1 .. a_k, c_1 .. c_n]
    view i    [a_i, c_(s_i) .. c_(s_i + length - 1)], indices modulo n, s_i = n i / k
    velocity of a_i: that of view i;  of c_j: the mean of its velocities in all views, weighted

Latents form a cycle (Bi et al. 2025, Mobius), and a weighted mean fuses the views at every step (Bar-Tal et al. 2023,
MultiDiffusion, eq. 5). The end of each view lies in the middle of another one (or of itself, where a view is longer
than the cycle), so there is no seam.
The first latent of a clip encodes a single frame, every later one a group of frames. So each view has a first latent
a_i of its own, which encodes the last frame before c_(s_i).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.diffusion.fixed_frames import Latent, Velocity

MIN_WEIGHT = 1e-3  # of a view's first latent of the cycle, which sees only one frame of the past


class Cycle(NamedTuple):
    """`size` latents in a cycle, and views of `length` of them, each preceded by a first latent of its own."""

    size: int
    length: int

    @property
    def views(self) -> Int[np.ndarray, "k length"]:
        """Indices of each view's latents; every latent lies in the middle half of a view."""
        k = math.ceil(2 * self.size / self.length)
        starts = np.round(np.arange(k) * self.size / k).astype(int)
        return (starts[:, None] + np.arange(self.length)) % self.size

    @property
    def latents(self) -> int:
        """Latent frames of the state: the views' first latents and the cycle."""
        return len(self.views) + self.size

    def unrolled(self, state: Latent) -> Latent:
        """The clip that plays the cycle twice; decoded causally, the second pass has the past that a loop has."""
        cycle = state[:, -self.size :]
        return jnp.concatenate([state[:, :1], cycle, cycle], 1)


def looped(velocity: Velocity, cycle: Cycle) -> Velocity:
    """Wraps the velocity of clips of 1 + length latents into that of a cycle's state [b k+n h w c], view by view."""
    views, offset = cycle.views, np.arange(cycle.length)
    weight = np.maximum(np.minimum(offset, cycle.length - offset), MIN_WEIGHT).astype(np.float32)
    k = len(views)
    total = np.bincount(views.ravel(), np.tile(weight, k)).astype(np.float32)
    relative_weight = (weight / total[views])[..., None, None, None]

    def gather_views(state: Array) -> Array:
        """[b k+n ...] -> the views [k b 1+length ...]."""
        return jnp.concatenate([jnp.moveaxis(state[:, :k, None], 1, 0), jnp.moveaxis(state[:, k:][:, views], 1, 0)], 2)

    def wrapped(x: Latent, *times: Float[Array, "b t"]) -> Latent:
        velocities = jax.lax.map(lambda view: velocity(*view), (gather_views(x), *map(gather_views, times)))
        weighted = jnp.moveaxis(velocities[:, :, 1:], 1, 0) * relative_weight
        mean = jnp.zeros_like(x[:, k:]).at[:, views].add(weighted)
        return jnp.concatenate([jnp.moveaxis(velocities[:, :, 0], 0, 1), mean], 1)

    return wrapped
