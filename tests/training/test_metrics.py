"""Averages over a window: by step, by count, and by bucket."""

import time

import numpy as np
import pytest

from sorajax.training.metrics import Mean, Meter, Work, clips_of


def test_scalars_are_averaged_over_steps():
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add({"loss": np.float32(value)})
    assert meter.means() == {"loss": 3.0}
    assert meter.work.steps == 3


def test_means_are_weighted_by_their_counts_and_empty_buckets_are_left_out():
    meter = Meter()
    meter.add(
        {"by_time": Mean(np.array([1.0, 0.0, 4.0]), np.array([1, 0, 2])), "rare": Mean(np.zeros(()), np.zeros(()))}
    )
    meter.add({"by_time": Mean(np.array([5.0, 0.0, 0.0]), np.array([1, 0, 0]))})
    means = meter.means()
    assert np.isnan(means.pop("rare"))
    assert means == {"by_time/0": 3.0, "by_time/2": 2.0}


def test_speeds_are_of_the_time_since_the_last_report():
    meter = Meter(since=time.monotonic() - 10.0)
    meter.add({}, Work(steps=2, clips=20, tokens=100.0))
    meter.waited = 5.0
    speeds = meter.report()
    assert speeds["steps_per_second"] == pytest.approx(0.2, rel=0.05)
    assert speeds["clips_per_second"] == pytest.approx(2, rel=0.05)
    assert speeds["waiting"] == pytest.approx(0.5, rel=0.05)
    assert "flops_per_second" not in speeds
    assert meter.summary(10.0).startswith("trained 2 steps, 20 clips in ")


def test_the_clips_of_a_batch_are_its_leading_axis():
    assert clips_of({"step": np.float32(1), "x": np.zeros((7, 2))}) == 7
    assert clips_of({"step": np.float32(1)}) == 0
