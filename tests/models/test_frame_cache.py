"""Transformers that are causal by frame: no frame sees a later one, and frame by frame equals all at once."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.dit import DiT
from sorajax.models.play import PlayConfig
from sorajax.models.sora import init_dit
from sorajax.models.velocity import ExtraInputs, read_once, remember, velocity_of
from tests.conftest import TINY

FRAMES, ATTENDED = 8, 3
CAUSAL = replace(TINY.dit, actions=4, attended_frames=ATTENDED)


def random_inputs(config):
    """Parameters, random in every leaf, and latents, times, actions and text of two clips."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(init_dit, config), jax.random.key(0))
    params = {"params": jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)}
    x = rng.normal(size=(2, FRAMES, 4, 4, 4)).astype(np.float32)
    time = rng.uniform(size=(2, FRAMES)).astype(np.float32)
    actions, context = rng.integers(0, 4, (2, FRAMES)), rng.normal(size=(2, 5, 8)).astype(np.float32)
    return params, x, time, actions, context


@pytest.fixture(scope="module")
def whole():
    params, _, time, actions, context = random_inputs(CAUSAL)
    return jax.jit(lambda x: DiT(CAUSAL).apply(params, x, time, context, None, None, None, actions))


def test_a_frame_depends_on_frames_before_it_within_reach(whole):
    x = random_inputs(CAUSAL)[1]
    before = whole(x)
    for changed in (1, 5):
        other = x.copy()
        other[:, changed] += 1
        moved = np.abs(np.asarray(whole(other) - before)).max((0, 2, 3, 4)) > 1e-6
        reach = changed + CAUSAL.depth * (ATTENDED - 1)  # each block hands on what it saw
        assert moved.tolist() == [changed <= frame <= reach for frame in range(FRAMES)]


@pytest.mark.parametrize(
    ("stacked", "together"),
    [(True, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((False, 1), (True, 2)))],
)
def test_frame_by_frame_with_a_cache_equals_all_at_once(whole, stacked, together):
    config = replace(CAUSAL, stacked=stacked)
    params, x, time, actions, context = random_inputs(config)
    text = read_once(config, params, context, None)
    expected = whole(x) if stacked else velocity_of(config, params, text, ExtraInputs(actions=actions))(x, time)

    @jax.jit
    def step(x, time, actions, past):
        velocity = velocity_of(config, params, text, ExtraInputs(actions=actions), past=past)(x, time)
        return velocity, remember(config, params, x, time, text, actions, past)

    past, parts = (
        None,
        [slice(0, ATTENDED + 1), *(slice(n, n + together) for n in range(ATTENDED + 1, FRAMES, together))],
    )
    for part in parts:
        velocity, past = step(x[:, part], time[:, part], actions[:, part], past)
        np.testing.assert_allclose(velocity, expected[:, part], atol=1e-4)
        assert jax.tree.leaves(past)[0].shape[-3] == (ATTENDED - 1) * 4  # tokens of a frame
    assert float(jnp.std(expected)) > 0.1


@pytest.mark.parametrize("attended", [1, 10])
def test_a_play_attends_to_two_frames_or_more_of_its_window(attended):
    with pytest.raises(ValueError, match=f"attended_frames {attended} is not allowed: use 2 to the window, 9, or 0"):
        PlayConfig(replace(CAUSAL, attended_frames=attended))
