"""Errors are reported by level of noise, and embeddings that are there are not made again."""

import jax
import numpy as np

from sorajax.training.velocity import LEVELS, by_time, embed, tokens_of_clip
from tests.conftest import TINY
from tests.training.flows import BUCKET, CONTEXT


def test_loss_levels_are_equal_intervals_of_time():
    time = np.array([[0.0, 0.999], [0.5, 0.06]], np.float32)
    found = jax.jit(by_time)(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.ones((2, 2), np.float32), time)
    expected = np.zeros(LEVELS)
    expected[[0, LEVELS - 1, LEVELS // 2]] = [5, 2, 3]
    np.testing.assert_array_equal(found.total, expected)
    assert found.number.sum() == 4


def test_given_embeddings_are_only_widened():
    found = embed(TINY, {}, context=CONTEXT.astype(np.float16))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, CONTEXT.astype(np.float16))


def test_a_clip_has_a_token_for_each_patch():
    """5 frames of 16x16 are latents of 2x4x4, and a patch is 1x2x2 of them."""
    assert tokens_of_clip(TINY.vae, TINY.dit, BUCKET) == 2 * 2 * 2
