"""An autoencoder's experiment: clips that it cannot encode are named, held-out ones are other scenes."""

from pathlib import Path

import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData
from sorajax.models.vae import VAEConfig
from sorajax.training.experiments.vae import VAETraining
from sorajax.world.scenes import held_out

TINY = VAEConfig(base=4, multipliers=(1, 1), strides=((2, 2),), residual_blocks=1, pixel_patch=4, latent_channels=4)


def training(*buckets, **changes):
    return VAETraining(model=TINY, data=WorldData(buckets=buckets or (Bucket(5, 16, 16, batch_size=4),)), **changes)


def test_validation_has_its_number_of_held_out_batches(tmp_path):
    experiment = training(validation=2)
    stage, _ = experiment.build(tmp_path)
    found = experiment.held_out(stage, tmp_path)
    assert len(found) == 2
    for batch in found:
        scene = batch.scene
        assert held_out(scene.colour[:, 0], scene.shape[:, 0], scene.motion[:, 0, 0]).all()


def test_clips_that_the_strides_do_not_divide_are_named():
    with pytest.raises(ValueError, match="20"):
        training(Bucket(5, 16, 20, batch_size=4)).build(Path())


def test_a_decoder_alone_needs_an_autoencoder():
    with pytest.raises(ValueError, match=r"decoder_only needs an autoencoder to begin from: say --loop.start FOLDER"):
        training(decoder_only=True).build(Path())
