"""Laws of the causal autoencoder."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.sora import init_vae
from sorajax.models.stream import decode_chunks
from sorajax.models.vae import VAE, VAEConfig, stream_decode, stream_encode

SMALL = VAEConfig(base=4, multipliers=(1, 2, 2), strides=((2, 2), (2, 2)), residual_blocks=1, latent_channels=3)
CONFIGS = {
    "stride 4x4": SMALL,
    "pixel patches, time alone, normalised": replace(
        SMALL, strides=((2, 2), (2, 1)), pixel_patch=2, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    config = CONFIGS[request.param]
    video = np.random.default_rng(1).uniform(-1, 1, (2, 9, 16, 24, 3)).astype(np.float32)
    return config, init_vae(config, jax.random.key(0)), video


@cache
def program(config, method):
    return jax.jit(partial(VAE(config).apply, method=method))


def use(config, params, x, method):
    return program(config, method)({"params": params}, x)


def test_latent_shapes_follow_from_the_config(model):
    config, params, video = model
    latent = use(config, params, video, "encode")
    assert latent.shape == (2, *config.latent_shape(9, 16, 24))
    assert use(config, params, latent, "decode").shape == video.shape
    assert use(config, params, video[:, :1], "encode").shape[1] == 1


def test_the_encoder_never_sees_the_future(model):
    config, params, video = model
    latent = np.asarray(use(config, params, video, "encode"))
    later = np.asarray(use(config, params, video * (np.arange(9) < 5)[:, None, None, None], "encode"))
    np.testing.assert_allclose(latent[:, :2], later[:, :2], atol=1e-5)
    assert np.abs(latent[:, 2] - later[:, 2]).max() > 1e-3


def test_the_decoder_never_sees_the_future(model):
    config, params, video = model
    latent = np.asarray(use(config, params, video, "encode"))
    pixels = np.asarray(use(config, params, latent, "decode"))
    later = np.asarray(use(config, params, latent * (np.arange(3) < 2)[:, None, None, None], "decode"))
    np.testing.assert_allclose(pixels[:, :5], later[:, :5], atol=1e-5)
    assert np.abs(pixels[:, 5:] - later[:, 5:]).max() > 1e-3


def test_streamed_equals_whole(model):
    config, params, video = model
    latent = use(config, params, video, "encode")
    np.testing.assert_allclose(jax.jit(stream_encode, static_argnums=1)(params, config, video), latent, atol=1e-5)
    pixels = use(config, params, latent, "decode")
    np.testing.assert_allclose(jax.jit(stream_decode, static_argnums=1)(params, config, latent), pixels, atol=1e-5)
    frames = np.concatenate(list(decode_chunks(params, config, latent, chunk=2)), 1)
    assert np.abs(frames - (np.asarray(pixels) + 1) * 127.5).max() <= 0.51


def test_streamed_decoding_needs_no_more_memory_for_a_longer_clip():
    def peak(frames):
        latent = jax.ShapeDtypeStruct((1, frames, 4, 4, 3), jnp.float32)
        params = jax.eval_shape(partial(init_vae, SMALL), jax.random.key(0))
        analysis = jax.jit(stream_decode, static_argnums=1).lower(params, SMALL, latent).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    video = 4 * 16 * 16 * 3 * 4  # bytes that one more latent frame adds to the result itself
    assert peak(65) - peak(9) <= 3 * 56 * video


@pytest.mark.parametrize(
    ("size", "said"), [((8, 16, 16), "4n\\+1, e.g. 9"), ((9, 18, 16), "height 18"), ((9, 16, 2), "width 2")]
)
def test_sizes_that_the_strides_do_not_divide_are_refused(size, said):
    with pytest.raises(ValueError, match=said):
        SMALL.latent_shape(*size)


def test_configs_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="3 levels need 2 strides"):
        replace(SMALL, strides=((2, 2),))
    with pytest.raises(ValueError, match="`mean` has 2 values for 3 latent channels"):
        replace(SMALL, mean=(0.0, 1.0))
