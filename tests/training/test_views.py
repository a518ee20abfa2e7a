"""Crops show the object, whole clips stay whole, and a row has a clip's first and last frame."""

import jax
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData, clips, scene_maker
from sorajax.training.views import frame_rows, views
from sorajax.world.scenes import CORE


def batch(bucket):
    return scene_maker(WorldData(buckets=(bucket,), mix=CORE))(bucket, np.random.default_rng(0))


@pytest.mark.slow
def test_a_crop_is_part_of_the_frame_and_holds_the_object():
    scenes = batch(Bucket(1, 64, 64, batch_size=16, crop=48))
    crops, near = map(np.asarray, jax.jit(views)(scenes, jax.random.key(0)))
    assert crops.shape == (16, 1, 48, 48, 3)
    assert near.any(axis=(1, 2, 3, 4)).all()
    backdrop = np.median(crops, axis=(2, 3), keepdims=True)
    stands_out = np.abs(crops - backdrop).max(-1, keepdims=True) > 0.35
    assert (stands_out <= near.astype(bool)).mean() > 0.99  # whatever stands out is near the object
    contrast = np.ptp(crops, axis=(1, 2, 3)).max(-1)
    assert (contrast > 0.35).all()  # dots and floor alone differ less from the background


def test_without_a_crop_training_clips_are_whole_frames():
    scenes = batch(Bucket(5, 16, 24, batch_size=2))
    assert jax.eval_shape(lambda scenes: clips(scenes, 0), scenes).shape == (2, 5, 16, 24, 3)
    assert jax.eval_shape(views, scenes, jax.random.key(1))[0].shape == (2, 5, 16, 24, 3)


def test_a_crop_of_a_video_is_the_same_part_of_all_its_frames():
    still = np.random.default_rng(0).integers(0, 256, (1, 1, 16, 24, 3)).astype(np.uint8)
    batch = WorldBatch(pixels=np.repeat(still, 5, 1), bucket=Bucket(5, 16, 24, batch_size=1, crop=8))
    crops, near = views(batch, jax.random.key(0))
    assert crops.shape == (1, 5, 8, 8, 3)
    assert not near.any()
    np.testing.assert_array_equal(crops[:, 1:], crops[:, :-1])
    whole = still[0, 0].astype(np.float32) / 127.5 - 1
    places = [(y, x) for y in range(9) for x in range(17)]
    assert any(np.allclose(crops[0, 0], whole[y : y + 8, x : x + 8], atol=1e-6) for y, x in places)


def test_a_row_has_six_frames_from_the_first_to_the_last():
    video = np.broadcast_to(np.linspace(-1, 1, 11)[None, :, None, None, None], (2, 11, 4, 4, 3))
    picture = frame_rows(video)
    assert (picture.shape, picture.dtype) == ((2 * 4, 6 * 4, 3), np.uint8)
    assert picture[0, ::4, 0].tolist() == [0, 51, 102, 153, 204, 255]
    assert frame_rows(video[:, :1]).shape == (2 * 4, 4, 3)
