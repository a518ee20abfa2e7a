"""The task pays once, for the height after the side, and reads the same from any picture of an object."""

import numpy as np
import pytest

from sorajax.world.reaching import AT_SIDE, DONE, NONE, RISE, begin, follow, marked, parse_task, task_prompt
from sorajax.world.reader.places import places

GROUND = 0.2


def reached(path, side=1):
    """The stages and rewards along a path of (x, y) of one play that begins at the first."""
    progress = begin(np.array([side]), np.array(path[:1], float))
    stages, rewards = [], []
    for place in path[1:]:
        progress, reward = follow(progress, np.array([place], float))
        stages.append(int(progress.stage[0]))
        rewards.append(float(reward[0]))
    return stages, rewards


def test_the_height_pays_once_and_only_after_the_side():
    high = GROUND - RISE - 0.01
    path = [(0, GROUND), (0, high), (0.3, GROUND), (0.3, high), (0.3, GROUND), (0.3, high)]
    assert reached(path) == ([NONE, AT_SIDE, DONE, DONE, DONE], [0, 0, 1, 0, 0])


def test_the_other_side_and_what_is_not_seen_do_not_count():
    assert reached([(0, GROUND), (0.3, GROUND), (np.nan, np.nan)], side=-1) == ([NONE, NONE], [0, 0])
    assert reached([(np.nan, np.nan), (0.3, GROUND), (0.3, -0.4)]) == ([AT_SIDE, AT_SIDE], [0, 0])


def test_a_prompt_states_scene_and_side():
    assert parse_task(task_prompt("a red ball on a grey floor", "left")) == ("a red ball on a grey floor", -1)
    assert parse_task("a red ball on a grey floor") is None
    with pytest.raises(ValueError, match="the task in 'a red ball: fly' is unknown: write it as in 'a red ball"):
        parse_task("a red ball: fly")


def test_the_mark_is_on_what_is_to_be_reached():
    frame = np.zeros((3, 64, 64, 3), np.uint8)
    tasks = begin(np.array([-1, 1, 0]), np.full((3, 2), GROUND))
    shown = marked(frame, tasks)
    assert places(shown)[0, 0] < -0.45
    assert places(shown)[1, 0] > 0.45
    height = marked(frame, tasks._replace(stage=np.full(3, AT_SIDE)))
    np.testing.assert_allclose(places(height)[:, 1], GROUND - RISE, atol=0.03)
    assert not marked(frame, tasks._replace(stage=np.full(3, DONE))).any()
    assert not shown[2].any()
    assert not frame.any()
