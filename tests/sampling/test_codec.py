"""The autoencoder in use: frames become whole patches, and in how many calls they are decoded changes nothing."""

import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.diffusion.looped import Cycle
from sorajax.sampling.codec import Codec
from tests.conftest import TINY

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def codec(tiny_model):
    return sorajax.load(tiny_model).codec


def encoded(frames):
    """What the encoder gets."""
    return Codec(TINY, {"vae": None}, lambda kind, function, weights, video: jnp.asarray(video)).encode(frames)


def test_the_last_rows_and_columns_are_repeated_to_whole_patches():
    frames = RNG.integers(0, 256, (5, 12, 20, 3), np.uint8)
    expected = np.pad(frames / 127.5 - 1, ((0, 0), (0, 4), (0, 4), (0, 0)), "edge")
    np.testing.assert_allclose(encoded(frames), expected, atol=1e-6)
    np.testing.assert_allclose(encoded(frames[:, :8, :16]), frames[:, :8, :16] / 127.5 - 1, atol=1e-6)


def test_floats_are_pixels_already():
    frames = RNG.uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(encoded(frames), frames)


def test_a_clip_decoded_in_chunks_is_the_same(codec, monkeypatch):
    latents = RNG.normal(size=(1, 2, 4, 4, 4)).astype(np.float32)
    whole = codec.decode(latents, 16, 16).astype(int)
    assert whole.shape == (1, 5, 16, 16, 3)
    assert whole.std() > 10
    monkeypatch.setattr("sorajax.sampling.codec.MAX_WHOLE_PIXELS", 0)
    assert np.abs(codec.decode(latents, 16, 16) - whole).max() <= 1
    assert np.abs(codec.decode(latents, 15, 9) - whole[:, :, :15, :9]).max() <= 1
    first, cache = codec.decode_next(latents[0, :1], {}, 16, 16)
    rest, _ = codec.decode_next(latents[0, 1:], cache, 16, 16)
    assert np.abs(np.concatenate([first, rest]) - whole[0]).max() <= 1


def test_the_frames_of_a_loop_are_its_last_turn():
    """With a decoder that repeats each latent for its frames."""

    def programs(kind, function, weights, latents):
        return jnp.repeat(jnp.asarray(latents, jnp.uint8), 4, 1)[:, 3:]

    cycle = Cycle(3, 2)
    state = np.array([9] * len(cycle.views) + [1, 2, 3]).reshape(1, -1, 1, 1, 1)
    frames = Codec(TINY, {"vae": None}, programs).decode(state, 1, 1, cycle)
    assert frames.ravel().tolist() == [1] * 4 + [2] * 4 + [3] * 4
