"""The environments keep Gymnasium's contract."""

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from sorajax.interactive.environment import WorldEnv, register  # noqa: E402
from sorajax.world.actions import JUMPS, TO_RIGHT  # noqa: E402
from tests.interactive.worlds import play_model  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def _registered():
    if "sorajax/TrueWorld-v0" not in gymnasium.registry:  # else by the entry point of the installed package
        with gymnasium.envs.registration.namespace("sorajax"):
            register()


def test_gymnasiums_checker_finds_nothing(tiny_model, tmp_path):
    check_env(gymnasium.make("sorajax/TrueWorld-v0").unwrapped, skip_render_check=True)
    learned = gymnasium.make("sorajax/World-v0", model=str(play_model(tmp_path, tiny_model)))
    check_env(learned.unwrapped, skip_render_check=True)


def test_an_episode_is_a_minute():
    world = gymnasium.make("sorajax/TrueWorld-v0", prompt="a red ball on a grey floor", render_mode="rgb_array")
    seen, info = world.reset(seed=1)
    assert info["prompt"] == "a red ball on a grey floor"
    np.testing.assert_array_equal(world.render(), seen)
    for _ in range(479):
        assert world.step(TO_RIGHT)[3] is False
    assert world.step(TO_RIGHT)[3] is True


def test_environments_are_vectorised():
    worlds = gymnasium.make_vec("sorajax/TrueWorld-v0", num_envs=3)
    seen, info = worlds.reset(seed=2)
    assert seen.shape == (3, 64, 64, 3)
    assert len(set(info["prompt"])) > 1
    after = worlds.step(np.array([1, 2, 3]))[0]
    assert after.shape == seen.shape


def test_plays_of_one_session_are_vectorised_and_begin_again(tiny_model, tmp_path):
    model = str(play_model(tmp_path, tiny_model))
    worlds = gymnasium.make_vec(
        "sorajax/World-v0", num_envs=2, vectorization_mode="vector_entry_point", model=model, max_episode_steps=2
    )
    seen, _ = worlds.reset(seed=0)
    assert seen.shape == worlds.observation_space.shape == (2, 16, 16, 3)
    ends = []
    for _ in range(4):
        seen, _, _, truncated, _ = worlds.step(np.array([1, 2]))
        ends.append(truncated.tolist())
    assert ends == [[False] * 2, [True] * 2, [False] * 2, [False] * 2]
    assert worlds.observation_space.contains(seen)


def test_a_seed_repeats_an_episode():
    world = WorldEnv()
    first, again, other = (world.reset(seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).max() > 0


def test_a_task_in_the_prompt_is_rewarded():
    """In one play and in several that go on together: right, until the side is reached, then up."""
    prompt = "a large red ball on a grey floor: reach the right side, then a height"
    world = gymnasium.make("sorajax/TrueWorld-v0", prompt=prompt)
    first, info = world.reset(seed=1)
    assert info["prompt"] == prompt
    assert (first[:, -2:] == 255).all()
    rewards = [world.step(TO_RIGHT)[1] for _ in range(12)] + [world.step(JUMPS)[1] for _ in range(6)]
    assert rewards[:12] == [0] * 12
    assert sum(rewards) == 1
    worlds = gymnasium.make_vec("sorajax/TrueReach-v0", 4, vectorization_mode="vector_entry_point", prompt=prompt)
    worlds.reset(seed=1)
    paid = [worlds.step(np.full(4, action))[1] for action in [TO_RIGHT] * 12 + [JUMPS] * 6]
    assert np.sum(paid, 0).tolist() == [1] * 4
    with pytest.raises(ValueError, match="is unknown: write it as in"):
        WorldEnv(prompt="a red ball: fly")


def test_episodes_with_a_task_draw_one():
    world = gymnasium.make("sorajax/TrueReach-v0")
    assert ": reach the " in world.reset(seed=1)[1]["prompt"]
    check_env(world.unwrapped, skip_render_check=True)
    ends = [world.step(0)[3] for _ in range(20)]
    assert ends == [False] * 19 + [True]
