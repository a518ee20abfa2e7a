"""A model that grows begins as the same function, or near it, and what is new in it learns."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import reduce, repeat
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.sora import init_dit, init_vae
from sorajax.models.vae import VAE, VAEConfig, stream_decode, stream_encode
from sorajax.training.experiments.vae import VAETraining
from sorajax.training.growth import OUTPUTS, deeper, finer, narrower, wider
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEStage

CONFIG = DiTConfig(
    width=16, hidden=32, depth=2, heads=2, in_channels=4, out_channels=4, patch=(1, 2, 2), text_width=8, frequencies=8
)
X = np.random.default_rng(1).standard_normal((2, 3, 4, 4, 4), np.float32)
TIME = np.full((2, 3), 0.4, np.float32)
TEXT = np.random.default_rng(2).standard_normal((2, 5, 8), np.float32)
COARSE, FINE = CONFIG.patch, (1, 1, 1)
NARROW = VAEConfig(
    base=4, multipliers=(1, 2, 2), strides=((2, 2), (2, 1)), residual_blocks=1, pixel_patch=4, latent_channels=3
)


@pytest.fixture(scope="module")
def params():
    """Random ones, zeros as well: what leaves the blocks matters."""
    return moved(init_dit(CONFIG, jax.random.key(0)))


def moved(params):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), jax.device_get(params))


@partial(jax.jit, static_argnums=0)
def applied(config, params, x):
    return DiT(config).apply({"params": params}, x, TIME, TEXT)


def velocity(params, x=X, **changes):
    return applied(replace(CONFIG, **changes), params, x)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_a_deeper_transformer_computes_the_same(params, depth):
    deep = deeper(params, depth)
    assert {len(x) for x in jax.tree.leaves(deep["blocks"])} == {depth}
    np.testing.assert_allclose(velocity(deep, depth=depth), velocity(params), atol=1e-6)


def test_a_transformer_of_equal_depth_is_unchanged(params):
    assert deeper(params, 2) is params
    assert deeper(params, 1) is params


def test_every_new_layer_learns(params):
    deep = deeper(params, 5)
    gradient = jax.jit(jax.grad(lambda deep: jnp.sum(jnp.sin(velocity(deep, depth=5)))))(deep)["blocks"]
    for path in OUTPUTS:
        module, layer, _ = path.split("/")
        assert np.any(gradient[module][layer]["kernel"], axis=(1, 2)).all(), path


@pytest.fixture
def alone(params):
    """Parameters whose tokens do not see each other: what differs then is no distance between tokens."""
    flat = flatten_dict(params, sep="/")
    return unflatten_dict({k: 0 * v if "self_attention/out" in k else v for k, v in flat.items()}, sep="/")


def test_latents_that_are_constant_within_a_patch_have_its_mean_velocity(alone):
    x = repeat(X[:, :, :2, :2], "b t h w c -> b t (h i) (w j) c", i=2, j=2)
    mean = "b t (h i) (w j) c -> b t h w c"
    grown = finer(alone, COARSE, FINE)
    coarse, fine = (np.asarray(velocity(p, x, patch=patch)) for p, patch in ((alone, COARSE), (grown, FINE)))
    np.testing.assert_allclose(reduce(coarse, mean, "mean", i=2, j=2), reduce(fine, mean, "mean", i=2, j=2), atol=2e-6)
    assert not np.allclose(coarse, fine)  # within a patch they need not agree


def test_a_patch_split_in_rows_only_computes_the_same(alone):
    x = np.ones((2, 3, 4, 4, 4), np.float32) * np.arange(4, dtype=np.float32)
    split, whole = velocity(finer(alone, COARSE, (1, 2, 1)), x, patch=(1, 2, 1)), velocity(alone, x)
    np.testing.assert_allclose(np.mean(split, (2, 3)), np.mean(whole, (2, 3)), atol=2e-6)


def test_patches_that_do_not_divide_are_refused(params):
    assert finer(params, COARSE, COARSE) is params
    with pytest.raises(ValueError, match=r"patches of \(1, 2, 2\) give no start for patches of \(1, 4, 4\)"):
        finer(params, COARSE, (1, 4, 4))


@pytest.fixture(scope="module")
def autoencoder():
    """Random values everywhere, also where a fresh model has zeros and ones."""
    return moved(init_vae(NARROW, jax.random.key(0)))


@partial(jax.jit, static_argnums=0, static_argnames="method")
def autoencoded(config, params, x, method=None):
    return VAE(config).apply({"params": params}, x, method=method)


def shapes_of(config):
    return jax.tree.map(jnp.shape, jax.eval_shape(partial(init_vae, config), jax.random.key(0)))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 3])
def test_a_wider_autoencoder_decodes_the_same(autoencoder, factor):
    wide = replace(NARROW, decoder_base=4 * factor)
    grown = {**autoencoder, "decoder": wider("decoder", autoencoder["decoder"], factor, jax.random.key(1))}
    assert jax.tree.map(jnp.shape, grown) == shapes_of(wide)
    latent = np.random.default_rng(2).standard_normal((2, 3, 2, 3, 3), np.float32)
    before = autoencoded(NARROW, autoencoder, latent, method="decode")
    assert np.std(before) > 0.05
    np.testing.assert_allclose(autoencoded(wide, grown, latent, method="decode"), before, atol=2e-5)
    np.testing.assert_allclose(stream_decode(grown, wide, latent), before, atol=2e-5)


@pytest.mark.slow
def test_a_wider_autoencoder_encodes_the_same(autoencoder):
    wide = replace(NARROW, base=12, decoder_base=4)
    grown = {**autoencoder, "encoder": wider("encoder", autoencoder["encoder"], 3, jax.random.key(1))}
    assert jax.tree.map(jnp.shape, grown) == shapes_of(wide)
    video = np.random.default_rng(2).uniform(-1, 1, (2, 9, 16, 24, 3)).astype(np.float32)
    before = autoencoded(NARROW, autoencoder, video, method="encode")
    assert np.std(before) > 0.05
    np.testing.assert_allclose(autoencoded(wide, grown, video, method="encode"), before, atol=2e-5)
    np.testing.assert_allclose(stream_encode(grown, wide, video), before, atol=2e-5)


@pytest.mark.slow
def test_a_wider_decoder_made_narrow_again_decodes_the_same(autoencoder):
    grown = wider("decoder", autoencoder["decoder"], 2, jax.random.key(1))
    again = {**autoencoder, "decoder": narrower("decoder", grown, 8, 4)}
    latent = np.random.default_rng(2).standard_normal((2, 3, 2, 3, 3), np.float32)
    before = autoencoded(NARROW, autoencoder, latent, method="decode")
    np.testing.assert_allclose(autoencoded(NARROW, again, latent, method="decode"), before, atol=2e-5)


def test_a_decoder_keeps_as_many_channels_as_asked_for(autoencoder):
    grown = wider("decoder", autoencoder["decoder"], 2, jax.random.key(1))
    between = replace(NARROW, decoder_base=6)
    made = {**autoencoder, "decoder": narrower("decoder", grown, 8, 6)}
    assert jax.tree.map(jnp.shape, made) == shapes_of(between)
    with pytest.raises(ValueError, match="8 channels cannot become 3: choose 4 to 7"):
        narrower("decoder", grown, 8, 3)


@pytest.mark.slow
def test_copied_layers_diverge_in_training(autoencoder, tmp_path):
    VAEStage(NARROW).export(tmp_path / "start", autoencoder)
    loop = LoopConfig(start=tmp_path / "start")
    training = VAETraining(model=replace(NARROW, decoder_base=8), decoder_only=True, loop=loop)
    stage, _ = training.build(tmp_path)
    trained = stage.load(tmp_path / "start")

    def loss(trained):
        made = VAE(stage.config).apply({"params": stage.autoencoder(trained)}, latent, method="decode")
        return jnp.mean(jnp.square(made - 0.3))

    latent = np.random.default_rng(2).standard_normal((1, 2, 2, 2, 3), np.float32)
    slope = jax.device_get(jax.jit(jax.grad(loss))(trained)["decoder"]["level0_block0"]["conv1"]["kernel"])
    first, second = np.split(slope, 2, -1)
    assert np.abs(first - second).max() > 0.1 * np.abs(slope).max()
    wrong = replace(training, model=replace(NARROW, decoder_base=6)).build(tmp_path)[0]
    with pytest.raises(ValueError, match=r"the decoder is to have 6 channels and that in .* has 4: one is"):
        wrong.load(tmp_path / "start")


@pytest.mark.slow
def test_a_run_starts_with_a_wider_transformer_and_autoencoder(autoencoder, tmp_path):
    VAEStage(NARROW).export(tmp_path / "start", autoencoder)
    wide = VAEStage(replace(NARROW, base=8))
    grown = wide.load(tmp_path / "start")
    video = np.random.default_rng(2).uniform(-1, 1, (1, 9, 16, 16, 3)).astype(np.float32)
    expected = autoencoded(NARROW, autoencoder, video)
    np.testing.assert_allclose(autoencoded(wide.config, grown, video), expected, atol=1e-4)
