"""The captioner's experiment: which clips its batches have."""

from dataclasses import replace

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.training.decoded import Decoding
from sorajax.training.experiments.captioner import CaptionerTraining


def test_a_step_takes_its_share_of_decoded_clips(tmp_path):
    bucket = Bucket(5, 64, 64, batch_size=4)
    rendered = CaptionerTraining(
        data=WorldData(buckets=(bucket,)), buckets=(bucket,), latents=tmp_path / "latents", encoded=4
    )
    decoded = replace(rendered, decoded=1.0, decoding=Decoding(clips=4, edited=0))
    for experiment, suffix in ((rendered, ""), (decoded, ".decoded")):
        batch = next(iter(experiment.build(tmp_path)[1]))
        clips = np.load(tmp_path / "latents" / f"5x64x64{suffix}.npy")
        assert all(any(np.array_equal(one, clip) for clip in clips) for one in batch.latent)


def test_an_impossible_share_is_named():
    with pytest.raises(ValueError, match=r"decoded is 1\.5"):
        CaptionerTraining(decoded=1.5)
