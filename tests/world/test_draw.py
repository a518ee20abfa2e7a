"""The renderer: the same scene is the same pixels, in every size, window and frame rate."""

import jax
import numpy as np
import pytest

from sorajax.world import scenes as words
from sorajax.world.draw import parts, render
from sorajax.world.scenes import CORE, FULL, STYLES
from tests.world.sampled import scenes, where

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
