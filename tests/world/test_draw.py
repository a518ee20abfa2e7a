"""The world: words determine what is seen, physics is exact, and every size and frame rate shows the same."""

import jax
import numpy as np
import pytest

from sorajax.world import scenes as words
from sorajax.world.draw import parts, render
from sorajax.world.physics import FLOOR, GRAVITY, trace
from sorajax.world.scenes import CORE, FULL, STYLES, WorldMix, held_out, sample_scenes


def scenes(n=64, mix=CORE, split="all", seed=0):
    return sample_scenes(np.random.default_rng(seed), n, split, mix)


def where(scene, mask):
    return jax.tree.map(lambda leaf: leaf[mask], scene)


_trace = jax.jit(trace, static_argnums=(2, 3))


def follow(scene, step):
    """Truth at 240 moments in a square frame, as float64 arrays."""
    times = np.arange(240, dtype=np.float32) * np.float32(step)
    return times, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), _trace(scene, times, 64, 64))


FULL_16 = scenes(16, FULL)  # one batch for all tests, so that few sizes are compiled


def test_same_scene_same_pixels():
    np.testing.assert_array_equal(render(FULL_16, 5, 32, 32)[0], render(FULL_16, 5, 32, 32)[0])


def test_values_are_finite_and_in_range():
    video, truth = render(FULL_16, 9, 32, 32)
    assert video.shape == (16, 9, 32, 32, 3)
    assert np.abs(video).max() <= 1
    assert all(np.isfinite(leaf).all() for leaf in truth)


def test_window_shows_the_same_frames():
    whole = render(FULL_16, 9, 32, 32)[0]
    np.testing.assert_allclose(render(FULL_16, 9, 32, 32, window=(4, 5))[0], whole[:, 4:], atol=1e-5)


def test_window_outside_the_clip_is_named():
    with pytest.raises(ValueError, match=r"window \(4, 6\) lies outside the clip: it has frames 0 to 8"):
        render(FULL_16, 9, 32, 32, window=(4, 6))


def test_every_frame_rate_shows_the_same_motion():
    """Every second frame at 16 fps is a frame at 8 fps (film grain is counted in frames)."""
    slow, fast = render(FULL_16, 5, 32, 32, fps=8.0)[0], render(FULL_16, 9, 32, 32, fps=16.0)[0]
    still = FULL_16.style != STYLES.index("film")
    np.testing.assert_allclose(fast[still, ::2], slow[still], atol=1e-3)


def test_unused_objects_change_no_pixel():
    """The renderer leaves out what a batch does not need; beside a scene that needs everything it looks the same."""
    core = scenes(3, CORE)
    assert parts(core) != parts(FULL_16)
    mixed = jax.tree.map(lambda a, b: np.concatenate([a, b[3:]]), core, FULL_16)
    assert parts(mixed) == parts(FULL_16)
    np.testing.assert_allclose(render(mixed, 5, 32, 32)[0][:3], render(core, 5, 32, 32)[0], atol=1e-5)


def test_a_wide_frame_shows_more_of_the_world():
    """The middle of a wide frame shows an object that stands in the middle as a square frame does."""
    scene = where(scenes(200), scenes(200).motion[:, 0, 0] == words.STILL)
    scene = scene._replace(place=np.full_like(scene.place, 0.5))
    np.testing.assert_allclose(render(scene, 1, 32, 64)[0][:, :, :, 16:48], render(scene, 1, 32, 32)[0], atol=1e-4)


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


def test_a_tenth_of_combinations_is_held_out_and_no_pair():
    grid = np.meshgrid(np.arange(8), np.arange(5), np.arange(11), indexing="ij")
    secret = held_out(*grid)
    assert 0.09 < secret.mean() < 0.11
    assert not any(secret.all(axis).any() for axis in range(3))


def test_splits_do_not_overlap():
    for split in ("train", "held_out"):
        scene = scenes(300, FULL, split)
        secret = held_out(scene.colour[:, None], scene.shape[:, None], scene.motion)
        shown = (np.arange(2)[None, :, None] < scene.shots[:, None, None]) & (
            np.arange(2)[None, None, :] < scene.objects[:, None, None]
        )
        assert len(scene.colour) == 300
        assert (secret & shown).any() == (split == "held_out")
        assert split == "train" or secret[:, 0, 0].all()


def test_small_stars_are_added_to_a_mix():
    scene = scenes(2000, WorldMix(small_stars=0.5, two_objects=0, wall=0))
    star = (scene.shape == words.SHAPES.index("star")) & (scene.size == words.SIZES.index("small"))
    assert star[:, 0].mean() == pytest.approx(0.5 + 0.5 * 0.1, abs=0.04)
    assert scene.radius[star].max() < scene.radius[scene.size == words.SIZES.index("large")].min()


def test_a_probability_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"WorldMix.camera is 1.5"):
        WorldMix(camera=1.5)


def test_turns_are_added_to_a_mix():
    scene = scenes(2000, WorldMix(turning=0.5, two_objects=0, wall=0, two_shots=0))
    turning = np.isin(scene.motion[:, 0, 0], [words.SPINS, words.CIRCLES])
    assert 0.5 < turning.mean() < 0.62
