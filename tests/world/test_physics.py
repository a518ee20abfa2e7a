"""Motions follow their words, and obey gravity, floor, walls and momentum."""

import numpy as np

from sorajax.world import scenes as words
from sorajax.world.physics import FLOOR, GRAVITY
from sorajax.world.scenes import WorldMix
from tests.world.sampled import follow, scenes


def test_motions_follow_their_word_for_twelve_frames():
    scene = scenes(300)
    centre = follow(scene, 0.05)[1].centre[:, :28, 0]  # 1.35 s
    for motion, axis, sign in ((words.LEFT, 0, -1), (words.RIGHT, 0, 1), (words.UP, 1, -1), (words.DOWN, 1, 1)):
        path = centre[scene.motion[:, 0, 0] == motion][..., axis]
        assert (sign * np.diff(path, axis=1) > 0).all()


def test_objects_stay_inside_for_a_minute():
    _, truth = follow(scenes(300), 0.25)
    assert (truth.visible[..., 0] > 0.7).all()
    assert (np.abs(truth.centre[:, :, 0]) < 0.5).all()


def test_free_flight_has_the_stated_gravity():
    scene = scenes(300)
    _, truth = follow(scene, 0.01)
    fall = np.median(np.diff(truth.centre[:, :30, 0, 1], 2, axis=1), axis=1) / 0.01**2
    flies = np.isin(scene.motion[:, 0, 0], (words.BOUNCES, words.FALLS))
    expected = GRAVITY * words.PACE_SCALE[scene.pace[:, 0, 0]] ** 2
    np.testing.assert_allclose(fall[flies], expected[flies], rtol=0.05)


def test_bounces_keep_their_height_and_the_floor_holds():
    scene = scenes(300)
    y = follow(scene, 0.05)[1].centre[scene.motion[:, 0, 0] == words.BOUNCES, :, 0, 1]
    np.testing.assert_allclose(y[:, :80].min(1), y[:, 160:].min(1), atol=1e-2)
    assert (y.max(1) <= 0.5 - FLOOR).all()


def test_collisions_touch_and_exchange_velocities():
    scene = scenes(300, WorldMix(two_objects=1, collides=1, camera=0, style=0))
    times, truth = follow(scene, 0.01)
    x = truth.centre[..., 0]
    hit = np.where(times < 1.4, np.abs(x[..., 0] - x[..., 1]), 1).argmin(1)
    assert ((times[hit] > 0.65) & (times[hit] < 1.35)).all()
    speed = np.diff(x, axis=1) / 0.01
    rows = np.arange(len(hit))
    before, after = speed[rows, hit - 4], speed[rows, hit + 4]
    np.testing.assert_allclose(before[:, ::-1], after, atol=0.01)


def test_the_wall_hides_the_object_which_comes_out_again():
    seen = follow(scenes(300, WorldMix(two_objects=0, wall=1, camera=0, style=0, two_shots=0)), 0.01)[1]
    seen = seen.visible[..., 0]
    hidden = (seen < 0.05).argmax(1)
    assert (seen[:, 0] > 0.9).all()
    assert (seen.min(1) < 0.05).all()
    assert all(clip[moment:].max() > 0.95 for clip, moment in zip(seen, hidden, strict=True))


def test_relations_hold_throughout():
    scene = scenes(300, WorldMix(two_objects=1, collides=0, camera=0))
    centre = follow(scene, 0.05)[1].centre
    for relation, axis, sign in ((1, 0, -1), (2, 0, 1), (3, 1, -1), (4, 1, 1)):
        path = centre[scene.relation == relation]
        assert (sign * (path[:, :, 0, axis] - path[:, :, 1, axis]) > 0).all()
