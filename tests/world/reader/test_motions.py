"""Motions, and the physics behind them, are read from exact tracks."""

import numpy as np
import pytest

from sorajax.world.physics import GRAVITY, SPEED
from sorajax.world.reader.motions import Track, fall_gravity, momentum_error, read_motion
from sorajax.world.scenes import MOTIONS

TIMES = np.arange(17) / 8


def track(x=0.0, y=0.0, radius=0.1, angle=0.0, fold=0):
    x, y, radius, angle = (np.broadcast_to(value, TIMES.shape).astype(float) for value in (x, y, radius, angle))
    return Track(TIMES, np.stack([x, y], -1), radius, angle, np.ones(TIMES.shape, bool), fold)


@pytest.mark.parametrize(
    ("motion", "path"),
    [
        ("moves right", track(x=SPEED * TIMES - 0.4)),
        ("moves up", track(y=0.3 - SPEED * TIMES)),
        ("stands still", track()),
        ("grows", track(radius=0.1 * (1 + 0.15 * TIMES))),
        ("spins", track(angle=1.5 * TIMES, fold=4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_motion_is_read_from_its_track(motion, path):
    assert MOTIONS[read_motion(path).motion] == motion


def test_two_speeds_have_the_paces_of_both():
    slow, fast = (read_motion(track(x=rate * SPEED * TIMES - 0.4)) for rate in (0.6, 1.5))
    assert [slow.rate, fast.rate] == pytest.approx([0.6, 1.5], rel=0.05)
    assert (slow.pace, fast.pace) == (0, 2)


def test_too_few_reliable_frames_are_no_motion():
    whole = track(x=SPEED * TIMES)
    assert read_motion(whole._replace(trusted=np.arange(17) < 4)) is not None
    assert read_motion(whole._replace(trusted=np.arange(17) < 3)) is None


def test_gravity_is_that_of_the_parabola_until_the_floor():
    assert fall_gravity(track(y=np.minimum(GRAVITY / 2 * TIMES**2 - 0.3, 0.3))) == pytest.approx(GRAVITY, rel=1e-6)
    assert fall_gravity(track(y=0.3)) is None


def test_momentum_is_kept_by_two_that_exchange_speeds_and_lost_by_one_that_vanishes():
    before = np.minimum(TIMES - 1, 0)
    after = np.maximum(TIMES - 1, 0)
    first, second = track(x=0.4 * before), track(x=0.4 * after + 0.1)
    assert momentum_error(first, second) == pytest.approx(0, abs=1e-6)
    assert momentum_error(first, track(x=0.1)) == pytest.approx(1)
