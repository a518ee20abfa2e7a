"""The autoencoder's stage: crops show the object, a perfect reconstruction has no error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.batches import WorldData, clips, scene_maker
from sorajax.data.buckets import Bucket
from sorajax.data.scenes import CORE
from sorajax.training.vae import psnr, views


def batch(bucket):
    return scene_maker(WorldData(buckets=(bucket,), mix=CORE))(bucket, np.random.default_rng(0))


def test_a_crop_is_part_of_the_frame_and_holds_the_object():
    scenes = batch(Bucket(1, 64, 64, batch_size=16, crop=48))
    crops, near = (np.asarray(part) for part in views(scenes, jax.random.key(0)))
    assert crops.shape == (16, 1, 48, 48, 3)
    assert near.any(axis=(1, 2, 3, 4)).all()
    backdrop = np.median(crops, axis=(2, 3), keepdims=True)
    stands_out = (np.abs(crops - backdrop).max(-1, keepdims=True) > 0.35)
    assert (stands_out <= near.astype(bool)).mean() > 0.99  # whatever stands out is near the object
    contrast = np.ptp(crops, axis=(1, 2, 3)).max(-1)
    assert (contrast > 0.35).all()  # dots and floor alone differ less from the background


def test_without_a_crop_whole_frames_are_seen_from_a_random_moment():
    scenes = batch(Bucket(5, 16, 24, batch_size=2))
    whole = np.asarray(clips(scenes, 0))
    assert whole.shape == (2, 5, 16, 24, 3)
    assert views(scenes, jax.random.key(1))[0].shape == whole.shape


def test_psnr_of_a_known_error():
    assert psnr(jnp.full((2, 1, 4, 4, 3), 0.02)) == pytest.approx(40, abs=0.01)
