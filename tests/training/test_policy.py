"""Proximal policy optimization: what it computes, and that a policy learns the task."""

from dataclasses import replace

import numpy as np
import pytest

from sorajax.interactive.reaching import Reaching
from sorajax.interactive.session import TrueWorld
from sorajax.training.policy import (
    MIRROR,
    MIRRORED,
    Episode,
    PolicyConfig,
    begin,
    evaluated,
    frames_of,
    play,
    returns,
    train,
)

CONFIG = PolicyConfig(width=8, plays=4, episodes=2, frames=160, epochs=1, batch=20)


@pytest.fixture(scope="module")
def trained():
    return train(TrueWorld(), CONFIG, seed=3)


def test_a_seed_repeats_a_training_and_another_does_not(trained):
    params, history = trained
    again, same = train(TrueWorld(), CONFIG, seed=3)
    np.testing.assert_array_equal(params["logits"]["kernel"], again["logits"]["kernel"])
    assert history == same
    assert len(history) == CONFIG.updates == 2
    assert np.any(train(TrueWorld(), CONFIG, seed=4)[0]["logits"]["kernel"] != params["logits"]["kernel"])


def test_advantages_with_trace_1_are_returns_less_values(trained):
    rng = np.random.default_rng(0)
    episode = Episode(
        rng.normal(size=(5, 3, 7)).astype(np.float32),
        rng.integers(0, 4, (5, 3)),
        rng.random((5, 3)).astype(np.float32),
        np.zeros(3, int),
    )
    config = replace(CONFIG, trace=1.0)
    frames = frames_of(config, trained[0], episode)
    later = np.stack([returns(episode.rewards[n:], config.discount) for n in range(5)])
    np.testing.assert_allclose(frames.targets[:15].reshape(5, 3), later, rtol=1e-4)
    logs, value = evaluated(config, trained[0], frames.features)
    expected = later.reshape(-1) - np.asarray(value)[:15]
    np.testing.assert_allclose(frames.advantages[:15], (expected - expected.mean()) / expected.std(), atol=1e-3)
    np.testing.assert_allclose(frames.logs, np.asarray(logs)[np.arange(30), frames.actions], atol=1e-6)


def test_a_frame_counts_twice_once_in_a_mirror():
    """The features of a play to the left are those of one to the right, mirrored, and left is right there."""
    seen = []
    for side, action in (("left", 1), ("right", 2)):
        plays = Reaching(TrueWorld(), [f"a red ball on a grey floor: reach the {side} side, then a height"], seed=0)
        before = plays.place[0, 0]
        plays.step([action])
        plays.place[0, 0] -= before  # as if it had begun in the middle
        seen.append(plays.features()[0])
        assert MIRROR[action] == 3 - action
    np.testing.assert_allclose(seen[0] * MIRRORED, seen[1], atol=0.05)
    assert MIRROR[[0, 3]].tolist() == [0, 3]


@pytest.mark.slow
def test_a_policy_learns_the_task_in_the_simulator():
    _, history = train(TrueWorld(), PolicyConfig(), seed=0)
    assert np.mean(history[:2]) < 0.3
    assert np.mean(history[-3:]) > 0.5


def test_a_player_who_knows_the_task_has_the_whole_reward():
    def act(features, frame):
        side, at_side = features[:, 4], features[:, 5]
        return np.where(at_side == 1, 3, np.where(side < 0, 1, 2))

    assert play(begin(TrueWorld(), 16, seed=1), act).rewards.sum(0).tolist() == [1] * 16
