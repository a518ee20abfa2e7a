"""A decoder that runs part by part: each part gets the cache of the one before, in order, and frames become bytes.

That streamed equals whole is a law of the autoencoder (`test_vae.py`)."""

import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.stream import Stream, decode_chunks, decode_singly, to_bytes
from sorajax.models.vae import VAEConfig

LATENT = np.arange(10, dtype=np.float32).reshape(1, 10, 1, 1, 1)


def part(params, config, latent, cache):
    """In place of a decoder: the frames are the latents, plus the parameters; the cache is all latents before."""
    seen = cache.get("seen", ())
    return jnp.asarray(latent + params), {"seen": (*seen, *latent[0, :, 0, 0, 0].tolist())}


@pytest.mark.parametrize(
    ("video", "expected"), [(-1.0, 0), (1.0, 255), (0.0, 128), (-1.0 + 3 / 127.5, 3), (-1.0 + 3.4 / 127.5, 3)]
)
def test_pixels_are_rounded_to_bytes(video, expected):
    assert to_bytes(jnp.full((1, 1, 1, 1, 3), video)).tolist() == [[[[[expected] * 3]]]]


@pytest.mark.parametrize(("chunk", "sizes"), [(4, [1, 4, 4, 1]), (3, [1, 3, 3, 3]), (20, [1, 9])])
def test_the_first_latent_frame_is_decoded_alone_and_the_rest_in_chunks(chunk, sizes):
    frames = list(decode_chunks(100, VAEConfig(), LATENT, chunk, part))
    assert [len(one[0]) for one in frames] == sizes
    np.testing.assert_array_equal(np.concatenate(frames, 1), LATENT + 100)


def test_a_stream_goes_on_from_its_cache():
    first, cache = decode_singly(0, VAEConfig(), LATENT[:, :3], {}, part)
    stream = Stream(0, VAEConfig(), cache, part)
    rest = list(stream.frames([LATENT[:, 3:5], LATENT[:, 5:]]))
    np.testing.assert_array_equal(np.concatenate([first, *rest], 1), LATENT)
    assert cache["seen"] == (0, 1, 2)
    assert stream.cache["seen"] == tuple(range(10))
