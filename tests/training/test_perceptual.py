"""Perceptual losses are zero for equal clips, equal their formulas, and order errors as people do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.training import perceptual
from sorajax.training.perceptual import C1, C2, feature_distance, halved, psnr

blurred, flicker, ssim, structure = map(
    jax.jit, (perceptual.blurred, perceptual.flicker, perceptual.ssim, perceptual.structure)
)


def textured(seed=0, shape=(2, 5, 48, 40, 3)):
    """Clips with shapes and faint texture, that move: [-1, 1]."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(-0.7, 0.7, (*shape[:1], 1, 6, 5, 3)).repeat(8, 2).repeat(8, 3)
    clip = np.broadcast_to(ground + 0.1 * rng.standard_normal((*shape[:1], 1, *shape[2:])), shape)
    moved = [np.roll(clip[:, i], i, 2) for i in range(shape[1])]
    return np.clip(np.stack(moved, 1), -1, 1).astype(np.float32)


def blur(clip):
    weights = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (2, 3):
        clip = sum(w * np.roll(clip, i - 2, axis) for i, w in enumerate(weights))
    return clip.astype(np.float32)


def scaled_to(error, clip, size):
    """The clip with an error of root mean square `size`."""
    return clip + error * (size / np.sqrt(np.mean(np.square(error))))


def test_equal_clips_have_no_distance_and_others_have():
    clip, other = textured(0), textured(1)
    assert structure(clip, clip) < 1e-7  # rounding: how sums are split differs by compiler
    assert np.array_equal(ssim(clip, clip), np.ones(2))
    assert np.array_equal(flicker(clip, clip), np.zeros(2))
    assert structure(clip, other) > 0.5
    assert (flicker(clip, other) > 0).all()
    for change in (blur(clip), clip * 0.9, clip + 0.02, clip[:, ::-1]):
        assert structure(clip, change) > 1e-5


@pytest.mark.parametrize("size", [(1, 16, 16), (5, 64, 32), (2, 7, 9)])
def test_any_length_and_size_has_a_distance_with_a_finite_gradient(size):
    video, made = (np.random.default_rng(seed).uniform(-1, 1, (2, *size, 3)).astype(np.float32) for seed in (0, 1))
    slope = jax.jit(
        jax.value_and_grad(lambda y: perceptual.structure(video, y) + jnp.mean(perceptual.flicker(video, y)))
    )
    for against in (made, -video, np.zeros_like(video)):
        value, gradient = slope(against)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_ssim_of_flat_and_faded_clips_is_the_formula():
    """Flat: only luminance is left. Contrast scaled by a around the mean: (2 a v + C2) / ((1 + a^2) v + C2)."""
    one, other = (np.full((1, 1, 16, 16, 1), value, np.float32) for value in (0.5, -0.2))
    assert ssim(one, other)[0] == pytest.approx((2 * 1.5 * 0.8 + C1) / (1.5**2 + 0.8**2 + C1), abs=1e-5)
    pattern = np.where(np.indices((11, 11)).sum(0) % 2, 0.4, -0.4).reshape(1, 1, 11, 11, 1).astype(np.float32)
    centred = pattern - blurred(pattern)  # one window: its weighted mean is now zero
    v, a = float(blurred(centred**2)[0, 0, 0, 0, 0]), 0.3
    assert ssim(centred, a * centred)[0] == pytest.approx((2 * a * v + C2) / ((1 + a * a) * v + C2), abs=1e-5)


def test_the_ssim_window_is_the_papers_gaussian():
    dot = np.zeros((1, 1, 21, 23, 1), np.float32)
    dot[0, 0, 10, 11] = 1
    weights = np.exp(-np.square(np.arange(-5, 6) / 1.5) / 2)
    weights /= weights.sum()
    np.testing.assert_allclose(blurred(dot)[0, 0, :, :, 0][:, 1:-1], np.outer(weights, weights), atol=1e-7)
    np.testing.assert_allclose(blurred(np.ones((1, 2, 30, 7, 3), np.float32)), 1, atol=1e-6)
    np.testing.assert_allclose(halved(np.arange(10.0).reshape(1, 1, 2, 5, 1))[0, 0, :, :, 0], [[3, 5]])


def test_blur_costs_more_than_an_equal_error_in_brightness_or_contrast():
    """Of errors with equal energy an eye minds least what keeps the structure, and lost texture more (Wang 2004)."""
    clip = textured()
    size = float(np.sqrt(np.mean(np.square(blur(clip) - clip))))
    noise = np.random.default_rng(0).standard_normal(clip.shape)
    brighter, faded = scaled_to(np.ones_like(clip), clip, size), scaled_to(-clip, clip, size)
    blurry, noisy = structure(clip, blur(clip)), structure(clip, scaled_to(noise, clip, size))
    assert structure(clip, brighter) < structure(clip, faded) < blurry
    assert structure(clip, brighter) < noisy


def test_a_larger_error_costs_more():
    clip = textured()
    noise = np.random.default_rng(0).standard_normal(clip.shape)
    blurs, levels = [clip, blur(clip), blur(blur(clip)), blur(blur(blur(clip)))], (0.0, 0.05, 0.1, 0.2)
    for errors in (blurs, [clip + level * noise for level in levels]):
        distances = [float(structure(clip, error)) for error in errors]
        assert all(a < b for a, b in zip(distances, distances[1:]))


def test_flicker_measures_changes_in_time_only():
    """A constant error does not flicker; one that turns its sign each frame does, by twice its size."""
    clip = textured()
    sign = np.array([1, -1, 1, -1, 1], np.float32)[:, None, None, None]
    np.testing.assert_allclose(flicker(clip, clip + 0.1), 0, atol=1e-6)
    np.testing.assert_allclose(flicker(clip, clip + 0.1 * sign), 0.2, atol=1e-6)
    assert flicker(clip[:, :1], clip[:, :1] + 0.1).tolist() == [0, 0]


def test_features_of_a_users_network_are_compared_by_direction():
    clip, other = textured(0), textured(1)
    features = lambda x: {"low": halved(x), "high": x}  # noqa: E731
    assert feature_distance(features, clip, clip) == 0
    np.testing.assert_allclose(feature_distance(features, clip, 2 * clip), 0, atol=1e-5)  # the same direction
    assert feature_distance(features, clip, other) > 0.1


def test_psnr_equals_the_formula():
    assert psnr(jnp.full((2, 1, 4, 4, 3), 0.02)) == pytest.approx(40, abs=0.01)
