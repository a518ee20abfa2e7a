"""Shots are told apart by their background, and a wall is a slab of its colour in all frames."""

import numpy as np

from sorajax.world.physics import WALL_WIDTH
from sorajax.world.reader.segmentation import find_wall, ground_colour, shot_starts

GREY, NAVY = (90.0, 90.0, 90.0), (20.0, 30.0, 70.0)


def frames(*colours):
    return np.broadcast_to(np.array(colours, np.float32)[:, None, None], (len(colours), 64, 64, 3)).copy()


def test_the_background_is_the_most_frequent_dark_colour():
    shown = frames(GREY, NAVY)
    shown[:, :40] = (250, 20, 20)  # the object may be larger, but is bright
    shown[:, 40:44] = (60, 10, 10)
    np.testing.assert_allclose(ground_colour(shown), [GREY, NAVY], atol=1e-4)


def test_a_shot_begins_where_the_background_changes_for_good():
    assert shot_starts(np.array([GREY] * 5 + [NAVY] * 5)) == [0, 5]
    assert shot_starts(np.array([GREY] * 5 + [NAVY] + [GREY] * 5)) == [0]


def test_a_wall_is_as_wide_as_the_worlds():
    wall, width = np.array((200.0, 200.0, 192.0)), round(64 * WALL_WIDTH)
    shown = frames(GREY, GREY)
    shown[:, :, 20 : 20 + width] = wall
    assert find_wall(shown, wall) == (20, 20 + width)
    shown[:, :, 20 : 20 + 3 * width] = wall
    assert find_wall(shown, wall) is None
    assert find_wall(frames(GREY, GREY), wall) is None
