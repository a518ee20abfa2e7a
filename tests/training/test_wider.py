"""A wider autoencoder encodes and decodes the same, whole and streamed, and its copies learn apart."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.sora import init_vae
from sorajax.models.vae import VAE, VAEConfig, stream_decode, stream_encode
from sorajax.training.experiments.vae import VAEStage, VAETraining
from sorajax.training.loop import LoopConfig
from sorajax.training.wider import wider

NARROW = VAEConfig(
    base=4, multipliers=(1, 2, 2), strides=((2, 2), (2, 1)), residual_blocks=1, pixel_patch=4, latent_channels=3
)


@pytest.fixture(scope="module")
def params():
    """Random values everywhere, also where a fresh model has zeros and ones."""
    shapes = init_vae(NARROW, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32), shapes)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 3])
def test_it_decodes_the_same(params, factor):
    wide = replace(NARROW, decoder_base=4 * factor)
    grown = {**params, "decoder": wider("decoder", params["decoder"], factor, jax.random.key(1))}
    expected = jax.tree.map(jnp.shape, init_vae(wide, jax.random.key(0)))
    assert jax.tree.map(jnp.shape, grown) == expected
    latent = jax.random.normal(jax.random.key(2), (2, 3, 2, 3, 3))
    before = VAE(NARROW).apply({"params": params}, latent, method="decode")
    assert float(jnp.std(before)) > 0.05
    np.testing.assert_allclose(VAE(wide).apply({"params": grown}, latent, method="decode"), before, atol=2e-5)
    np.testing.assert_allclose(stream_decode(grown, wide, latent), before, atol=2e-5)


@pytest.mark.slow
def test_it_encodes_the_same(params):
    wide = replace(NARROW, base=12, decoder_base=4)
    grown = {**params, "encoder": wider("encoder", params["encoder"], 3, jax.random.key(1))}
    expected = jax.tree.map(jnp.shape, init_vae(wide, jax.random.key(0)))
    assert jax.tree.map(jnp.shape, grown) == expected
    video = jax.random.uniform(jax.random.key(2), (2, 9, 16, 24, 3), minval=-1)
    before = VAE(NARROW).apply({"params": params}, video, method="encode")
    assert float(jnp.std(before)) > 0.05
    np.testing.assert_allclose(VAE(wide).apply({"params": grown}, video, method="encode"), before, atol=2e-5)
    np.testing.assert_allclose(stream_encode(grown, wide, video), before, atol=2e-5)


@pytest.mark.slow
def test_a_run_begins_with_it_and_its_copies_learn_apart(params, tmp_path):
    VAEStage(NARROW).export(tmp_path / "start", params)
    loop = LoopConfig(start=tmp_path / "start")
    training = VAETraining(model=replace(NARROW, decoder_base=8), decoder_only=True, loop=loop)
    stage, _ = training.build(tmp_path)
    trained = stage.load(tmp_path / "start")

    def loss(trained):
        made = VAE(stage.config).apply({"params": stage.autoencoder(trained)}, latent, method="decode")
        return jnp.mean(jnp.square(made - 0.3))

    latent = jax.random.normal(jax.random.key(2), (1, 2, 2, 2, 3))
    slope = jax.grad(loss)(trained)["decoder"]["level0_block0"]["conv1"]["kernel"]
    first, second = jnp.split(slope, 2, -1)
    assert float(jnp.abs(first - second).max()) > 0.1 * float(jnp.abs(slope).max())
    wrong = replace(training, model=replace(NARROW, decoder_base=6)).build(tmp_path)[0]
    with pytest.raises(ValueError, match=r"the decoder is to have 6 channels and that in .* has 4: one is"):
        wrong.load(tmp_path / "start")


@pytest.mark.slow
def test_a_whole_run_begins_with_both_parts_wider(params, tmp_path):
    VAEStage(NARROW).export(tmp_path / "start", params)
    wide = VAEStage(replace(NARROW, base=8))
    grown = wide.load(tmp_path / "start")
    video = jax.random.uniform(jax.random.key(2), (1, 9, 16, 16, 3), minval=-1)
    expected = VAE(NARROW).apply({"params": params}, video)
    np.testing.assert_allclose(VAE(wide.config).apply({"params": grown}, video), expected, atol=1e-4)
