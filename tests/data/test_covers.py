"""Clips to hide a watermark in are of the shape asked for, repeat by index, and move."""

import numpy as np
import pytest
from PIL import Image

from sorajax.data.buckets import Bucket
from sorajax.data.covers import CoverData, dead_leaves, moved_over, noise

BUCKET = Bucket(5, 32, 48, batch_size=2)


@pytest.mark.parametrize("world", [0.0, 1.0])
def test_a_batch_depends_on_its_index_only(world):
    data = CoverData(buckets=(BUCKET,), world=world)
    one, same, other = (data.make(BUCKET, np.random.default_rng(seed)).pixels for seed in (0, 0, 1))
    assert (one.shape, one.dtype) == ((2, 5, 32, 48, 3), np.uint8)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_pictures_of_a_folder_are_used(tmp_path):
    Image.new("RGB", (64, 40), (250, 0, 0)).save(tmp_path / "red.png")
    data = CoverData(buckets=(BUCKET,), world=0.0, pictures=tmp_path)
    found = [data.still(np.random.default_rng(seed), 32, 48) for seed in range(8)]
    red = [bool((still == (250, 0, 0)).all()) for still in found]
    assert 0 < sum(red) < 8
    with pytest.raises(ValueError, match="holds no picture"):
        CoverData(buckets=(BUCKET,), world=0.0, pictures=tmp_path / "empty").make(BUCKET, np.random.default_rng(0))


def test_a_camera_stays_within_its_picture():
    picture = np.arange(40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)
    for seed in range(20):
        clip = moved_over(picture, 30, 32, 48, np.random.default_rng(seed))
        assert clip.shape == (30, 32, 48, 3)
    same = moved_over(picture[:32, :48], 4, 32, 48, np.random.default_rng(0))
    assert (same == picture[:32, :48]).all()


def test_drawn_pictures_have_texture_at_all_scales():
    picture = dead_leaves(np.random.default_rng(0), 64, 96)
    assert (picture.shape, picture.dtype) == ((64, 96, 3), np.uint8)
    smooth, rough = (noise(np.random.default_rng(0), 64, 64, power) for power in (2.0, 0.5))
    assert np.isclose(smooth.std(), 1)
    assert np.abs(np.diff(smooth)).mean() < np.abs(np.diff(rough)).mean() / 3
