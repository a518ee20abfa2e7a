"""Sessions of a world whose transformer is causal by frame: its cache changes nothing, and does not grow."""

import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.flow import interpolate, schedule
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.interactive.session import CachedState, following, open_player, shown
from sorajax.models.velocity import ExtraInputs, velocity_of
from sorajax.world.actions import JUMPS, TO_LEFT, TO_RIGHT
from tests.interactive.worlds import DIT, play_model

PROMPTS = ["a red ball on a grey floor", "a blue box"]
pytestmark = pytest.mark.slow
ACTIONS = [(TO_RIGHT, 0), (JUMPS, TO_LEFT), (0, 0), (TO_LEFT, JUMPS), (0, TO_RIGHT)]


@pytest.fixture(scope="module")
def world(tiny_model, tmp_path_factory):
    dit = replace(DIT, depth=2, attended_frames=3)
    return open_player(str(play_model(tmp_path_factory.mktemp("play"), tiny_model, dit)))


def without_cache(world, state, actions):
    """The latents of a play that reads every frame from the beginning anew for each evaluation."""
    config, params = world.config, {"params": world.networks.dit}
    still = jnp.broadcast_to(state.latent, (2, config.window - 1, *state.latent.shape[2:]))
    first_key = jax.random.split(jax.random.split(jax.random.key(4), 3)[2])[0]
    level = config.context_time
    known = interpolate(still, jax.random.normal(first_key, still.shape), jnp.full(still.shape[:2], level))
    done, key, latents = jnp.zeros(still.shape[:2], jnp.int32), state.key, []
    for action in actions:
        key, noise_key, context_key = jax.random.split(key, 3)
        done = jnp.concatenate([done, jnp.asarray(action)[:, None]], 1)
        velocity = velocity_of(config.dit, params, state.text, ExtraInputs(actions=done))

        def of_last(x, time, velocity=velocity, known=known):
            times = jnp.concatenate([jnp.full(known.shape[:2], level), time], 1)
            return velocity(jnp.concatenate([known, x], 1), times)[:, -1:]

        start = jax.random.normal(noise_key, state.latent.shape)
        latents.append(SAMPLERS["euler"](of_last, start, schedule(config.steps, 1.0)))
        noise = jax.random.normal(context_key, start.shape)
        known = jnp.concatenate([known, interpolate(latents[-1], noise, jnp.full((2, 1), level))], 1)
    return latents


def test_a_cached_play_equals_one_without_cache(world):
    session = world.begin(PROMPTS, seed=4)
    assert isinstance(session.state, CachedState)
    expected = without_cache(world, session.state, ACTIONS[:3])
    for action, latent in zip(ACTIONS, expected, strict=False):
        session.step(action)
        np.testing.assert_allclose(session.state.latent, latent, atol=1e-4)
    assert float(jnp.std(session.state.latent)) > 0.1


def test_a_restored_play_goes_on_as_it_would_have(world, tmp_path):
    session = world.begin(PROMPTS, seed=1)
    session.step(ACTIONS[0])
    session.save(tmp_path / "state.npz")
    expected = [session.step(action) for action in ACTIONS]
    other = world.begin(PROMPTS, seed=9)
    other.restore(tmp_path / "state.npz")
    np.testing.assert_array_equal([other.step(action) for action in ACTIONS], expected)


def test_time_and_memory_of_a_frame_stay_the_same_over_200_frames(world):
    session = world.begin(PROMPTS, seed=1)
    seconds, memory = [], set()
    session.step(ACTIONS[0])
    programs = following._cache_size()
    for number in range(200):
        begun = time.perf_counter()
        session.step(ACTIONS[number % len(ACTIONS)])
        seconds.append(time.perf_counter() - begun)
        if number % 50 == 49:
            memory.add(sum(leaf.nbytes for leaf in jax.tree.leaves(session.state)))
    assert following._cache_size() == programs
    assert len(memory) == 1
    assert np.median(seconds[150:]) < 2 * np.median(seconds[:50])
    assert shown._cache_size() < 5
