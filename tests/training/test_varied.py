"""Varied clips: whole latents move together, within the limit, and nothing else changes without noise."""

import jax
import numpy as np

from sorajax.training.varied import varied

LATENT = np.random.default_rng(0).normal(size=(16, 3, 4, 6, 2)).astype(np.float16)


def test_without_noise_and_shift_clips_stay_as_they_are():
    assert np.array_equal(varied(LATENT, 0.0, 0, jax.random.key(0)), LATENT)


def test_a_shift_moves_all_frames_alike_and_by_at_most_its_limit():
    moved = np.asarray(varied(LATENT, 0.0, 1, jax.random.key(1)))
    found = set()
    for before, after in zip(LATENT, moved, strict=True):
        padded = np.pad(before, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
        same = [(y, x) for y in range(3) for x in range(3) if np.array_equal(padded[:, y : y + 4, x : x + 6], after)]
        assert len(same) == 1
        found |= set(same)
    assert len(found) > 4


def test_noise_is_of_its_own_size_for_each_clip():
    spread = np.std(np.asarray(varied(LATENT, 0.5, 0, jax.random.key(2))) - LATENT, (1, 2, 3, 4))
    assert spread.max() < 0.6
    assert spread.min() < 0.5 * spread.max()
