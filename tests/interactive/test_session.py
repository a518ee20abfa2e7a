"""Sessions: an action shows in the next frame, a state that was saved goes on as if nothing had happened."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.interactive.session import TrueWorld, following, open_player
from sorajax.world.actions import JUMPS, TO_RIGHT, scene_of, trace_actions
from tests.interactive.worlds import play_model

PROMPTS = ["a red ball on a grey floor", "a blue box"]


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return str(play_model(tmp_path_factory.mktemp("play"), tiny_model))


@pytest.fixture(scope="module")
def world(folder):
    return open_player(folder)


def test_a_world_is_opened_with_other_settings(folder, world):
    other = open_player(folder, 1, 0.5).config
    assert (other.steps, world.config.steps) == (1, 2)
    assert (other.temperature, world.config.temperature) == (0.5, 1.0)


@pytest.mark.slow
def test_without_noise_a_frame_follows_from_the_past_alone(world):
    state = world.begin(PROMPTS, seed=3).state

    def frames(config):
        keys = (state._replace(key=jax.random.key(seed)) for seed in range(2))
        return [following(config, world.base, world.networks, one, jnp.zeros(2, jnp.int32))[1] for one in keys]

    one, other = frames(world.config)
    assert (np.asarray(one) != other).any()
    np.testing.assert_array_equal(*frames(replace(world.config, temperature=0.0, context_time=0.0)))


def test_an_action_changes_the_next_frame_and_that_of_its_play_alone(world):
    first, second = (world.begin(PROMPTS, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.frame, second.frame)
    assert first.frame.shape == (2, 16, 16, 3)
    a, b = first.step([0, 0]), second.step([TO_RIGHT, 0])
    assert np.abs(a[0].astype(int) - b[0]).max() > 0
    np.testing.assert_array_equal(a[1], b[1])


def test_a_restored_play_goes_on_as_it_would_have(world, tmp_path):
    session = world.begin(PROMPTS, seed=1)
    session.step([1, 2])
    session.save(tmp_path / "state.npz")
    expected = [session.step([JUMPS, 0]) for _ in range(2)]
    other = world.begin(PROMPTS, seed=9)
    other.restore(tmp_path / "state.npz")
    np.testing.assert_array_equal([other.step([JUMPS, 0]) for _ in range(2)], expected)
    with pytest.raises(ValueError, match="holds plays of another model or number"):
        world.begin(PROMPTS[:1]).restore(tmp_path / "state.npz")


def test_a_state_does_not_grow_and_one_program_serves_all_frames(world):
    session = world.begin(PROMPTS[:1])
    before = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), session.state)
    session.step([0])
    programs = following._cache_size()
    for action in (0, 1, 2, 3) * 3:
        session.step([action])
    assert following._cache_size() == programs
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), session.state) == before


@pytest.mark.parametrize(
    ("actions", "line"),
    [([4, 0], "action 4 is not allowed: use 0 to 3, nothing, left"), ([0], "give one for each of the 2")],
)
def test_wrong_actions_are_refused(world, actions, line):
    for player in (world, TrueWorld()):
        with pytest.raises(ValueError, match=line):
            player.begin(PROMPTS).step(actions)


def test_the_true_world_is_the_simulator():
    actions = [JUMPS, TO_RIGHT, TO_RIGHT, 0, 0]
    session = TrueWorld().begin([PROMPTS[0]], seed=5)
    for action in actions:
        session.step([action])
    truth, _ = trace_actions(scene_of(PROMPTS[0], 5), np.array([[0, *actions]]), 64, 64)
    np.testing.assert_allclose([session.body.x[0], session.body.y[0]], truth.centre[0, -1, 0], atol=1e-6)
