"""The pose of an object from its alpha: the moments of a shape give its place, size and angle."""

import numpy as np
import pytest

from sorajax.world.draw import distance
from sorajax.world.reader.shapes import grid, poses
from sorajax.world.scenes import SHAPES


def alpha(shape, x, y, radius, angle):
    """Coverage of one shape in a frame of 64x96."""
    columns, rows = grid(64, 96)
    dx, dy = columns[None] - x, rows[:, None] - y
    cosine, sine = np.cos(angle), np.sin(angle)
    gap = distance(SHAPES.index(shape), cosine * dx + sine * dy, cosine * dy - sine * dx, radius)
    return np.clip(0.5 - 64 * np.asarray(gap), 0, 1)[None]


@pytest.mark.parametrize(("shape", "fold"), [("box", 4), ("triangle", 3), ("star", 5)])
def test_moments_give_place_radius_and_angle(shape, fold):
    """The angle is that of the turn, up to the shape's symmetry."""
    pose = poses(alpha(shape, 0.2, -0.1, 0.2, 0.3), np.ones(1, bool))
    index = SHAPES.index(shape)
    np.testing.assert_allclose(pose.centre, [[0.2, -0.1]], atol=0.01)
    assert pose.radius[0, index] == pytest.approx(0.2, rel=0.08)
    turn = (pose.angle[0, index] - 0.3 + np.pi / fold) % (2 * np.pi / fold) - np.pi / fold
    assert turn == pytest.approx(0, abs=0.05)


def test_a_ring_is_as_large_as_the_ball_around_it():
    ring, ball = (poses(alpha(shape, 0, 0, 0.2, 0), np.ones(1, bool)).radius[0, 0] for shape in ("ring", "ball"))
    assert ring == pytest.approx(ball, rel=0.05)


def test_an_absent_object_has_no_pose():
    pose = poses(alpha("ball", 0.2, 0, 0.2, 0), np.zeros(1, bool))
    assert not pose.centre.any()
    assert pose.radius.max() < 0.01
