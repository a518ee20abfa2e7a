"""PSNR is the definition; the autoencoder sees every clip once, whatever the batch."""

import numpy as np
import pytest

from sorajax.evaluation.reconstruction import Autoencoder, evaluate_reconstruction, psnr
from sorajax.models.vae import VAEConfig


def test_psnr_is_the_definition():
    """A constant error of e in a range of 2 has 20 log10(2 / e) dB; equal clips are at the cap."""
    clip = np.zeros((2, 3, 4, 4, 3), np.float32)
    off = clip + np.array([0.02, 0.2], np.float32)[:, None, None, None, None]
    np.testing.assert_allclose(psnr(clip, off), [40, 20], atol=1e-3)
    assert (psnr(clip, clip) > 100).all()


def test_every_clip_is_returned_whatever_the_batch(monkeypatch):
    monkeypatch.setattr("sorajax.evaluation.reconstruction.VAE", Mirror)
    autoencoder = Autoencoder(VAEConfig(), {}, batch=4)
    video = np.random.default_rng(0).uniform(-1, 1, (6, 1, 2, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(autoencoder(video), video)


def test_no_clips_are_named():
    with pytest.raises(ValueError, match="0 clips cannot be evaluated"):
        evaluate_reconstruction(VAEConfig(), {}, num=0)


class Mirror:
    """An autoencoder that keeps everything."""

    def __init__(self, config):
        pass

    def apply(self, variables, x, method):
        return x
