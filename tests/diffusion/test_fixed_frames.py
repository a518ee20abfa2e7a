"""Fixed frames stand at time 0 and stay, and training draws every kind of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.fixed_frames import (
    CHANCES,
    KINDS,
    FixedLatents,
    anchored,
    clock,
    drop_conditioning,
    hold_fixed,
    initial,
    no_fixed_frames,
    random_fixed_frames,
    random_window,
    whole_frames,
)
from sorajax.diffusion.samplers import euler

SHAPE = (1, 3, 2, 2, 1)
LATENT = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
NOISE = np.random.default_rng(1).standard_normal(SHAPE, np.float32)
FIRST = jnp.array([[True, False, False]])


def test_without_fixed_frames_sampling_begins_from_noise():
    assert np.array_equal(initial(no_fixed_frames(SHAPE), NOISE), NOISE)


def test_fixed_frames_begin_as_themselves_and_others_at_the_start_time():
    x = initial(FixedLatents(LATENT, FIRST, 0.25), NOISE)
    assert np.array_equal(x[:, 0], LATENT[:, 0])
    np.testing.assert_allclose(x[:, 1:], 0.75 * LATENT[:, 1:] + 0.25 * NOISE[:, 1:], rtol=1e-6)


def test_fixed_frames_have_time_zero_and_zero_velocity():
    seen = []

    def velocity(x, time):
        seen.append(time)
        return jnp.ones_like(x)

    moved = hold_fixed(velocity, FixedLatents(LATENT, FIRST), NOISE)(LATENT, jnp.full((1, 3), 0.7))
    np.testing.assert_allclose(seen[0], [[0.0, 0.7, 0.7]])
    assert (moved[:, 0] == 0).all()
    assert (moved[:, 1:] == 1).all()


def test_fixed_regions_reach_their_values_and_share_their_frames_time():
    part = jnp.zeros(SHAPE[:4], bool).at[:, :, 0].set(True)
    known = FixedLatents(LATENT, part)
    assert not whole_frames(known).any()
    assert whole_frames(FixedLatents(LATENT, part.at[:, 0].set(True))).tolist() == [[True, False, False]]
    velocity, times = hold_fixed(lambda x, time: jnp.ones_like(x), known, NOISE), jnp.array([1.0, 0.4, 0.0])
    x = np.asarray(jax.jit(lambda x: euler(velocity, x, times))(initial(known, NOISE)))
    np.testing.assert_allclose(x[:, :, 0], LATENT[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(x[:, :, 1], NOISE[:, :, 1] - 1, atol=1e-6)


def test_frames_dropped_in_guidance_are_noised_to_the_common_time():
    time = clock(FixedLatents(LATENT, FIRST), 0.75)
    x, everywhere = drop_conditioning(FixedLatents(LATENT, FIRST), NOISE, LATENT, time)
    np.testing.assert_allclose(everywhere, [[0.75, 0.75, 0.75]])
    np.testing.assert_allclose(x[:, 0], 0.25 * LATENT[:, 0] + 0.75 * NOISE[:, 0], rtol=1e-6)
    assert np.array_equal(x[:, 1:], LATENT[:, 1:])
    assert np.array_equal(drop_conditioning(no_fixed_frames(SHAPE), NOISE, LATENT, everywhere)[0], LATENT)


def test_a_scalar_time_becomes_one_time_per_frame():
    np.testing.assert_allclose(clock(FixedLatents(LATENT, FIRST), 0.5), [[0.0, 0.5, 0.5]])


fixed_frames = jax.jit(random_fixed_frames, static_argnums=(1, 2))


@pytest.mark.parametrize("t", [1, 2, 5])
def test_random_fixed_frames_leave_some_to_generate(t):
    mask = np.asarray(fixed_frames(jax.random.key(2), 512, t))
    assert mask.shape == (512, t)
    assert mask.dtype == bool
    assert not mask.all(axis=1).any()


def test_an_image_has_no_fixed_frames():
    assert not fixed_frames(jax.random.key(2), 64, 1).any()


def test_random_fixed_frames_have_the_stated_probabilities():
    mask = np.asarray(fixed_frames(jax.random.key(3), 8192, 9))
    runs = mask[:, 0].astype(int) + (np.diff(mask.astype(int), axis=1) == 1).sum(1)
    none = ~mask.any(1)
    head_only = mask[:, 0] & ~mask[:, -1] & (runs == 1)
    tail_only = ~mask[:, 0] & mask[:, -1] & (runs == 1)
    chance = dict(zip(KINDS, (0.5, *(0.5 * share for share in CHANCES)), strict=True))
    assert abs(none.mean() - chance["none"]) < 0.03
    assert head_only.mean() > chance["head"] - 0.02
    assert tail_only.mean() > chance["tail"] - 0.02
    assert (mask[:, 0] & mask[:, -1] & (runs == 2)).mean() > 0.6 * chance["both ends"]
    assert (runs > 2).mean() > 0.02
    assert sum(CHANCES) == pytest.approx(1)


def test_a_windows_rotary_positions_are_those_of_its_film_up_to_max_anchor_gap():
    clip = np.broadcast_to(np.arange(17, dtype=np.float32)[None, :, None, None, None], (2, 17, 1, 1, 1))
    window_of = jax.jit(random_window, static_argnums=(2, 3))
    windows = [jax.device_get(window_of(jax.random.key(seed), clip, 5, 4)) for seed in range(60)]
    firsts = {int(window[0, 1, 0, 0, 0]) for window, _ in windows}
    assert firsts == set(range(1, 14))
    for window, positions in windows:
        frames = window[1, :, 0, 0, 0]
        assert frames[0] == positions[0] == 0
        np.testing.assert_array_equal(frames[2:] - frames[1], [1, 2, 3])
        np.testing.assert_array_equal(positions[1:], frames[1:] - max(0, frames[1] - 5))


def test_a_window_without_a_gap_has_the_positions_of_a_clip():
    for max_anchor_gap in (0, 4):
        for step in (0.5, 1.0, 2.0):
            np.testing.assert_array_equal(anchored(1, 5, max_anchor_gap, step), step * np.arange(5))
    np.testing.assert_array_equal(anchored(7, 4, 4, 0.5), [0, 3.5, 4, 4.5])  # nearer in time, at a higher rate
    np.testing.assert_array_equal(anchored(100, 4, 4, 2.0), [0, 5, 7, 9])
