"""Steering follows the physics of the world: jumps, walls, the floor; prompts name what is steered."""

import jax
import numpy as np
import pytest

from sorajax.world.actions import (
    ACTIONS,
    JUMP,
    JUMPS,
    NOTHING,
    RUN,
    TO_LEFT,
    TO_RIGHT,
    held_keys,
    limits_of,
    play_prompts,
    render_actions,
    scene_of,
    steered_scenes,
    trace_actions,
)

SCENE = steered_scenes(np.random.default_rng(0), 3)
LIMITS = jax.tree.map(np.asarray, limits_of(SCENE, 64, 64))


def path_of(actions, fps=8.0):
    """The centres [t xy] of each scene's object after the same actions."""
    truth, _ = trace_actions(SCENE, np.array([[NOTHING, *actions]] * 3), 64, 64, fps)
    return np.asarray(truth.centre)[:, :, 0]


@pytest.mark.parametrize("fps", [8.0, 24.0])
def test_a_jump_has_its_height_and_ends_on_the_floor(fps):
    path = path_of([JUMPS, *[NOTHING] * round(2 * fps)], fps)
    height = LIMITS.ground - path[:, :, 1].min(1)
    np.testing.assert_allclose(height, JUMP, rtol=0.03)  # the highest point is between two frames
    np.testing.assert_allclose(path[:, -1, 1], LIMITS.ground, atol=1e-6)
    in_the_air = (path[:, :, 1] < LIMITS.ground[:, None] - 1e-6).sum(1) / fps
    np.testing.assert_allclose(in_the_air, 2 * (2 * JUMP / 1.6) ** 0.5, atol=1 / fps)


def test_keys_move_the_object_at_its_speed_also_in_the_air():
    path = path_of([JUMPS, TO_LEFT, TO_RIGHT, TO_RIGHT])
    middle = np.abs(path[:, 0, 0]) < 0.1
    assert middle.any()
    change = np.diff(path[:, :, 0], axis=1)[middle] * 8 / RUN
    np.testing.assert_allclose(change, [[0, -1, 1, 1]] * middle.sum(), atol=1e-4)


def test_walls_and_floor_stop_the_object():
    for action, side in ((TO_LEFT, LIMITS.left), (TO_RIGHT, LIMITS.right)):
        np.testing.assert_allclose(path_of([action] * 24)[:, -1, 0], side, atol=1e-6)
    assert (path_of([JUMPS] * 40)[:, :, 1] <= LIMITS.ground[:, None] + 1e-6).all()


def test_a_jump_in_the_air_does_nothing():
    np.testing.assert_array_equal(path_of([JUMPS, NOTHING, JUMPS, NOTHING]), path_of([JUMPS, *[NOTHING] * 3]))


def test_frames_show_what_the_truth_says():
    video, truth = render_actions(SCENE, np.array([[NOTHING, *[TO_RIGHT] * 3]] * 3), 64, 64)
    assert video.shape == (3, 4, 64, 64, 3)
    moved = np.asarray(truth.centre)[:, :, 0, 0]
    changes = np.abs(np.diff(np.asarray(video), axis=1)).max((2, 3, 4)) > 0.1
    np.testing.assert_array_equal(changes, np.diff(moved, axis=1) > 0.02)


def test_players_hold_keys():
    keys = held_keys(np.random.default_rng(0), 50, 400)
    assert (keys[:, 0] == NOTHING).all()
    assert set(np.unique(keys)) == set(range(len(ACTIONS)))
    changes = (np.diff(keys, axis=1) != 0).mean()
    assert 0.1 < changes < 0.2


def test_a_prompt_names_the_object_and_the_floor():
    scene = steered_scenes(np.random.default_rng(1), 20)
    for row, prompt in enumerate(play_prompts(scene)):
        found = scene_of(prompt)
        for name in ("colour", "shape", "size"):
            assert getattr(found, name)[0, 0] == getattr(scene, name)[row, 0]
        assert found.background[0, 0] == scene.background[row, 0]
    with pytest.raises(ValueError, match="names no object: use one of ball"):
        scene_of("a red cat")
