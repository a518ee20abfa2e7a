"""Sampled scenes, and their true positions in time."""

import jax
import numpy as np

from sorajax.world.physics import trace
from sorajax.world.scenes import CORE, sample_scenes


def scenes(n=64, mix=CORE, split="all", seed=0):
    return sample_scenes(np.random.default_rng(seed), n, split, mix)


def where(scene, mask):
    return jax.tree.map(lambda leaf: leaf[mask], scene)


_trace = jax.jit(trace, static_argnums=(2, 3))


def follow(scene, step):
    """Truth at 240 moments in a square frame, as float64 arrays."""
    times = np.arange(240, dtype=np.float32) * np.float32(step)
    return times, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), _trace(scene, times, 64, 64))
