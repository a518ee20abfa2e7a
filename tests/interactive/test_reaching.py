"""Plays with a task: the reward comes once it is done, and what a policy knows is read from the frames."""

import numpy as np
import pytest

from sorajax.interactive.reaching import FEATURES, LENGTH, Reaching, random_tasks
from sorajax.interactive.session import TrueWorld
from sorajax.world.actions import JUMPS, TO_LEFT, TO_RIGHT
from sorajax.world.reaching import parse_task

TASK = "a red ball on a grey floor: reach the {} side, then a height"


def named(plays):
    """The features of each play, by name."""
    return [dict(zip(FEATURES, row, strict=True)) for row in plays.features().tolist()]


def test_each_play_has_its_own_task_and_one_without_has_no_reward():
    plays = Reaching(TrueWorld(), [TASK.format("left"), TASK.format("right"), "a red ball on a grey floor"], seed=0)
    assert [known["side"] for known in named(plays)] == [-1, 1, 0]
    assert [known["height reached"] for known in named(plays)] == [0, 0, 1], "there is nothing to reach"
    rewards = np.zeros(3)
    for _ in range(LENGTH):
        reached = [known["side reached"] for known in named(plays)]
        rewards += plays.step([JUMPS if done else way for done, way in zip(reached, (TO_LEFT, TO_RIGHT, JUMPS))])
    assert rewards.tolist() == [1, 1, 0]
    assert [known["height reached"] for known in named(plays)] == [1, 1, 1]
    plays.set_sides(np.array([1, -1, 1]))
    assert [known["side"] for known in named(plays)] == [1, -1, 1]
    assert not any(known["side reached"] or known["height reached"] for known in named(plays))


def test_places_and_changes_are_those_of_the_object():
    plays = Reaching(TrueWorld(), [TASK.format("right")], seed=0)
    (before,) = named(plays)
    assert before["change of x"] == before["change of height"] == 0
    plays.step([TO_RIGHT])
    (after,) = named(plays)
    assert after["x"] > before["x"]
    assert after["change of x"] == pytest.approx(8 * (after["x"] - before["x"]), abs=1e-5)
    shown, seen = plays.frame, plays.session.frame
    assert not np.array_equal(shown, seen), "the mark is drawn"


def test_random_tasks_are_understood_and_of_both_sides():
    tasks = random_tasks(np.random.default_rng(0), 40)
    assert {parse_task(task)[1] for task in tasks} == {-1, 1}
    assert len({parse_task(task)[0] for task in tasks}) > 20
    with pytest.raises(ValueError, match=r"the task in .* is unknown"):
        Reaching(TrueWorld(), ["a red ball: fly"])
