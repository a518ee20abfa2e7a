"""Frames come back from a codec in number and size, and the worse the stronger it compresses."""

import numpy as np
import pytest

from sorajax.media.recoding import recoded


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 255, (5, 8, 10, 3)), np.ones((1, 6, 6, 1))).astype(np.uint8)


@pytest.mark.parametrize(("codec", "low", "high"), [("libx264", 8, 40), ("libx265", 8, 40), ("jpeg", 95, 10)])
def test_quality_is_what_is_asked_for(frames, codec, low, high):
    good, bad = (recoded(frames, codec, quality) for quality in (low, high))
    assert good.shape == bad.shape == frames.shape
    errors = [np.abs(one.astype(int) - frames).mean() for one in (good, bad)]
    assert errors[0] < errors[1]
    assert errors[0] < 12


def test_odd_sizes_lose_a_line(frames):
    assert recoded(frames[:, :47, :59], "libx264", 20).shape == (5, 46, 58, 3)
