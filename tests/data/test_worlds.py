"""Batches of the world: scenes of the mix, captions that are dropped as often as asked, pixels in [-1, 1]."""

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData, caption_maker, clips, parts_of, scene_maker
from sorajax.world.scenes import CORE, FULL

CLIP, IMAGE = Bucket(9, 16, 16, batch_size=200), Bucket(1, 16, 16, batch_size=200)


def made(data, bucket, seed=0):
    """A batch, and its captions."""
    told = []

    def encode(prompts):
        told.extend(prompts)
        ids = np.array([[len(prompt)] for prompt in prompts])
        return ids, ids > 0

    return caption_maker(data, encode)(bucket, np.random.default_rng(seed)), told


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_captions_are_dropped_with_their_mask(dropout):
    batch, told = made(WorldData(dropout=dropout), CLIP)
    kept = batch.mask[:, 0]
    assert abs(kept.mean() - (1 - dropout)) < 0.1
    assert np.array_equal(batch.ids[:, 0], np.where(kept, [len(prompt) for prompt in told], 0))


def test_captions_are_of_the_scenes_and_a_seed_repeats_them():
    (batch, told), (again, same) = (made(WorldData(), CLIP, seed=3) for _ in range(2))
    scenes = scene_maker(WorldData())(CLIP, np.random.default_rng(3)).scene
    assert told == same
    assert np.array_equal(batch.scene.colour, again.scene.colour)
    assert np.array_equal(batch.scene.colour, scenes.colour), "the same as without captions"


def test_captions_of_images_are_shorter_as_they_rarely_mention_motion():
    data = WorldData(mix=CORE, register="detailed")
    of_clips, of_images = (np.mean([len(text.split()) for text in made(data, bucket)[1]]) for bucket in (CLIP, IMAGE))
    assert of_images < of_clips - 0.5


def test_the_renderer_has_the_features_of_the_mix():
    assert parts_of(FULL).objects == 2
    assert parts_of(CORE) != parts_of(FULL)
    assert scene_maker(WorldData(mix=CORE))(CLIP, np.random.default_rng(0)).needs == parts_of(CORE)


def test_pixels_are_read_as_they_are():
    pixels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 1, 1, 3)
    assert np.allclose(clips(WorldBatch(pixels=pixels)), [-1, 128 / 127.5 - 1, 1], atol=1e-6)


def test_a_dropout_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"data\.dropout is 1\.5: it must be in \[0, 1\]"):
        WorldData(dropout=1.5)
