"""Clips that are decoded and encoded again: what they keep, and what each part changes."""

import jax
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldData, clips, scene_maker
from sorajax.models.folder import WORLD
from sorajax.models.stream import decode_to_bytes
from sorajax.training.autoencoder import encoder, load_vae
from sorajax.training.decoded import Decoding, decoding, editor


@pytest.fixture(scope="module")
def vae():
    return load_vae(WORLD)


@pytest.fixture(scope="module")
def encoded(vae):
    """Scenes of short clips, and their latents."""
    batch = scene_maker(WorldData())(Bucket(5, 64, 64, batch_size=4), np.random.default_rng(0))
    return batch.scene, np.asarray(jax.jit(lambda batch: encoder(*vae)(clips(batch)))(batch))


def distance(a, b):
    return float(np.mean(np.square(np.asarray(a) - np.asarray(b))))


def test_clips_that_nothing_else_happens_to_are_decoded_and_encoded(vae, encoded):
    (config, params), (scene, latent) = vae, encoded
    again = decoding(Decoding(edited=0, compressed=0), config, params)(latent, scene, np.random.default_rng(0))
    video = np.asarray(decode_to_bytes(params, config, latent, {})[0])
    assert np.allclose(again, encoder(config, params)(video.astype(np.float32) / 127.5 - 1), atol=1e-4)


def test_editing_and_compression_change_clips_and_keep_each_nearest_to_itself(vae, encoded):
    scene, latent = encoded
    make = lambda **values: decoding(Decoding(**values), *vae)(latent, scene, np.random.default_rng(0))  # noqa: E731
    plain = make(edited=0, compressed=0)
    for other in (make(edited=0, compressed=1), make(edited=1, compressed=0, start=(0.5, 0.5))):
        assert distance(other, plain) > 1e-4
        nearest = [min(range(4), key=lambda one: distance(other[number], latent[one])) for number in range(4)]
        assert nearest == [0, 1, 2, 3]


def test_edited_clips_are_the_same_for_the_same_seed(vae, encoded):
    scene, latent = encoded
    again = decoding(Decoding(edited=1, compressed=0), *vae)
    first, second, other = (again(latent, scene, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_model_of_many_steps_cannot_edit():
    with pytest.raises(ValueError, match="distilled"):
        editor(WORLD)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"edited": 1.5}, "decoding.edited is 1.5"), ({"compressed": -1}, "compressed"), ({"start": (0.8, 0.3)}, "start")],
)
def test_impossible_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Decoding(**values)


def test_how_latents_were_made_does_not_depend_on_their_number(vae):
    made_by = lambda **values: Decoding(**values).made_by(vae[1])  # noqa: E731
    assert made_by(clips=8) == made_by(clips=16) != made_by(edited=0.1)
