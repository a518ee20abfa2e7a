"""A transformer as a function of latents and times: inputs of single clips serve their copies for guidance."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.sora import init_dit
from sorajax.models.velocity import ExtraInputs, remember, repeated, velocity_of
from tests.conftest import TINY

CONFIG = replace(TINY.dit, depth=1, in_channels=6, actions=3)


def test_a_batch_is_repeated_as_a_whole():
    assert repeated(np.arange(2), 6).tolist() == [0, 1, 0, 1, 0, 1]
    assert repeated(np.arange(2), 2).tolist() == [0, 1]


def test_extra_inputs_of_one_clip_serve_both_branches_of_guidance():
    """What is concatenated to the latents, and the actions, are those of the copy's own clip."""
    shapes, rng = jax.eval_shape(lambda: init_dit(CONFIG, jax.random.key(0))), np.random.default_rng(0)
    params = {"params": jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)}
    x, time = rng.normal(size=(2, 3, 4, 4, 4)).astype(np.float32), rng.uniform(size=(2, 3)).astype(np.float32)
    channels, actions = rng.normal(size=(2, 3, 4, 4, 2)).astype(np.float32), rng.integers(0, 3, (2, 3))
    context = np.concatenate([rng.normal(size=(2, 5, 8)).astype(np.float32)] * 2)
    twice = np.concatenate([x, x]), np.concatenate([time, time])

    @jax.jit
    def velocity(channels, actions):
        return velocity_of(CONFIG, params, context, ExtraInputs(channels=channels, actions=actions))(*twice)

    found = velocity(channels, actions)
    np.testing.assert_allclose(found[:2], found[2:], atol=1e-5)
    assert np.abs(found - velocity(channels[::-1], actions)).max() > 1e-3
    assert np.abs(found - velocity(channels, actions[::-1])).max() > 1e-3


def test_a_model_that_sees_all_frames_has_no_cache():
    x, time = np.zeros((1, 1, 4, 4, 4), np.float32), np.zeros((1, 1), np.float32)
    with pytest.raises(ValueError, match=r"attended_frames is 0, all frames attend to each other: a cache needs 2"):
        remember(CONFIG, {"params": {}}, x, time, None)
