"""The linear map from latents to colours."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.sampling.loading import load
from sorajax.sampling.preview import ColourMap, colour_map, data_estimate, fit
from sorajax.sampling.request import Request


def test_the_data_are_where_the_velocity_points():
    rng = np.random.default_rng(0)
    data, noise = rng.normal(size=(2, 1, 3, 2, 2, 4))
    time = np.array([[0.0, 0.3, 1.0]])
    at = time[:, :, None, None, None]
    x = (1 - at) * data + at * noise
    assert np.allclose(data_estimate(jnp.asarray(x), jnp.asarray(time), jnp.asarray(noise - data)), data, atol=1e-5)


def test_a_linear_autoencoder_is_fitted_exactly():
    """Latents that are the mean colours of their pixels, in another basis."""
    basis = np.random.default_rng(1).normal(size=(3, 5))

    def latents(frames):
        means = frames.reshape(2, 4, 8, 8, 8, 8, 3).mean((1, 3, 5))
        return (means @ basis + 0.5).astype(np.float32)

    config = SimpleNamespace(vae=SimpleNamespace(stride=(4, 8, 8)), dit=SimpleNamespace(patch=(1, 2, 2)))
    codec = SimpleNamespace(config=config, encode=lambda frames: np.pad(latents(frames[1:]), ((1, 0), *[(0, 0)] * 3)))
    clip = np.random.default_rng(2).uniform(-1, 1, (9, 64, 64, 3))
    means = 127.5 * (clip[1:].reshape(2, 4, 8, 8, 8, 8, 3).mean((1, 3, 5)) + 1)
    assert np.abs(fit(codec).colours(codec.encode(clip)[1:]) - means).max() <= 1


def test_the_map_is_stored_and_read(tmp_path, tiny_model):
    pipeline = load(tiny_model)
    first = colour_map(pipeline.codec, tmp_path)
    (path,) = tmp_path.glob("colours_*.npz")
    with path.open("wb") as out:
        np.savez(out, matrix=first.matrix + 1, offset=first.offset)
    assert np.array_equal(colour_map(pipeline.codec, tmp_path).matrix, first.matrix + 1)


@pytest.mark.slow
def test_the_map_of_the_bundled_model_shows_the_clip():
    """A sampled clip, encoded and shown by the map, is the clip in small: within a tenth of the range, on average."""
    pipeline = load()
    (video,) = pipeline("a red ball bounces on a navy floor", seed=1)
    settings = pipeline.plan(Request(("a",)))
    shown = fit(pipeline.codec).colours(pipeline.codec.encode(video.frames))
    t, h, w, _ = shown.shape
    assert (t, h, w) == settings.latent[:3]
    small = video.frames[2::4].reshape(t - 1, h, video.frames.shape[1] // h, w, video.frames.shape[2] // w, 3)
    error = np.abs(shown[1:].astype(float) - small.mean((2, 4)))
    assert error.mean() < 25
    assert ColourMap(np.zeros((3, 3)), np.ones(3)).colours(np.zeros((1, 2, 2, 3))).min() == 255
