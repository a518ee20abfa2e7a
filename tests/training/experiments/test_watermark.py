"""The watermark's experiment is validated on clips of its own."""

import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.covers import CoverData
from sorajax.training.experiments.watermark import WatermarkTraining


def test_held_out_clips_are_the_same_each_time_and_not_those_of_training(tmp_path):
    data = CoverData(buckets=(Bucket(5, 16, 16, batch_size=1),), world=0.0)
    experiment = WatermarkTraining(data=data, validation=2)
    stage, batches = experiment.build(tmp_path)
    assert stage.objective is experiment.objective
    found, again = ([batch.pixels for batch in experiment.held_out(stage, tmp_path)] for _ in range(2))
    assert [one.shape for one in found] == [(1, 5, 16, 16, 3)] * 2
    np.testing.assert_array_equal(found, again)
    assert not np.array_equal(found[0], next(iter(batches)).pixels)
