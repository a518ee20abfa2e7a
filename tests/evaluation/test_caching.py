"""The quality of a cached clip, and what is said where a model cannot be calibrated."""

from types import SimpleNamespace

import numpy as np
import pytest

from sorajax.evaluation.caching import Counter, calibrate, psnr, with_first_frame
from sorajax.sampling.request import Request


def test_psnr_falls_by_twenty_decibels_for_ten_times_the_error():
    frames = np.full((2, 4, 4, 3), 100, np.uint8)
    assert psnr(frames, frames) == 99
    assert psnr(frames, frames + 1) == pytest.approx(20 * np.log10(255))
    assert psnr(frames, frames - 10) == pytest.approx(psnr(frames, frames + 1) - 20)


def test_evaluations_are_counted_anew_for_each_clip():
    counter = Counter()
    for times in 3, 2:
        counter.open(1, np.linspace(1, 0, times + 1))
        for _ in range(times):
            counter.report(np.float32(0.5))
        assert counter.count == times


def test_a_model_without_a_folder_is_named():
    with pytest.raises(ValueError, match="tiny is in no folder: load it from one to calibrate it"):
        calibrate(SimpleNamespace(folder=None, name="tiny"), Request("a red ball"))


def test_without_a_picture_the_request_stays():
    request = Request("a red ball")
    assert with_first_frame(None, request, None) == (request, None)
