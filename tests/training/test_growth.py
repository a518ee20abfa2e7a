"""A model that grows begins as the same function, or near it, and what is new in it learns."""

from dataclasses import replace

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
from sorajax.training.growth import OUTPUTS, deeper, finer, wider
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEStage

CONFIG = DiTConfig(
    width=16, hidden=32, depth=2, heads=2, in_channels=4, out_channels=4, patch=(1, 2, 2), text_width=8, frequencies=8
)
X = jax.random.normal(jax.random.key(1), (2, 3, 4, 4, 4))
TIME = jnp.full((2, 3), 0.4)
TEXT = jax.random.normal(jax.random.key(2), (2, 5, 8))
COARSE, FINE = CONFIG.patch, (1, 1, 1)
NARROW = VAEConfig(
    base=4, multipliers=(1, 2, 2), strides=((2, 2), (2, 1)), residual_blocks=1, pixel_patch=4, latent_channels=3
)


@pytest.fixture(scope="module")
def params():
    """Random ones, zeros as well: what leaves the blocks matters."""
    params = init_dit(CONFIG, jax.random.key(0))
    keys = jax.random.split(jax.random.key(3), len(jax.tree.leaves(params)))
    leaves, tree = jax.tree.flatten(params)
    return tree.unflatten([x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])


def velocity(params, x=X, **changes):
    return DiT(replace(CONFIG, **changes)).apply({"params": params}, x, TIME, TEXT)


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
    gradient = jax.grad(lambda deep: jnp.sum(jnp.sin(velocity(deep, depth=5))))(deep)["blocks"]
    for path in OUTPUTS:
        module, layer, _ = path.split("/")
        assert (jnp.linalg.norm(gradient[module][layer]["kernel"], axis=(1, 2)) > 0).all(), path


@pytest.fixture
def alone(params):
    """Parameters whose tokens do not see each other: what differs then is no distance between tokens."""
    flat = flatten_dict(params, sep="/")
    return unflatten_dict({k: 0 * v if "self_attention/out" in k else v for k, v in flat.items()}, sep="/")


def test_latents_that_are_constant_within_a_patch_have_its_mean_velocity(alone):
    x = repeat(jax.random.normal(jax.random.key(1), (2, 3, 2, 2, 4)), "b t h w c -> b t (h i) (w j) c", i=2, j=2)
    mean = "b t (h i) (w j) c -> b t h w c"
    coarse, fine = (velocity(p, x, patch=patch) for p, patch in ((alone, COARSE), (finer(alone, COARSE, FINE), FINE)))
    np.testing.assert_allclose(reduce(coarse, mean, "mean", i=2, j=2), reduce(fine, mean, "mean", i=2, j=2), atol=2e-6)
    assert not np.allclose(coarse, fine)  # within a patch they need not agree


def test_a_patch_split_in_rows_only_computes_the_same(alone):
    x = jnp.ones((2, 3, 4, 4, 4)) * jnp.arange(4)
    half = finer(alone, COARSE, (1, 2, 1))
    np.testing.assert_allclose(
        jnp.mean(velocity(half, x, patch=(1, 2, 1)), (2, 3)), jnp.mean(velocity(alone, x), (2, 3)), atol=2e-6
    )


def test_patches_that_do_not_divide_are_refused(params):
    assert finer(params, COARSE, COARSE) is params
    with pytest.raises(ValueError, match=r"patches of \(1, 2, 2\) give no start for patches of \(1, 4, 4\)"):
        finer(params, COARSE, (1, 4, 4))


@pytest.fixture(scope="module")
def autoencoder():
    """Random values everywhere, also where a fresh model has zeros and ones."""
    shapes = init_vae(NARROW, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32), shapes)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 3])
def test_a_wider_autoencoder_decodes_the_same(autoencoder, factor):
    wide = replace(NARROW, decoder_base=4 * factor)
    grown = {**autoencoder, "decoder": wider("decoder", autoencoder["decoder"], factor, jax.random.key(1))}
    expected = jax.tree.map(jnp.shape, init_vae(wide, jax.random.key(0)))
    assert jax.tree.map(jnp.shape, grown) == expected
    latent = jax.random.normal(jax.random.key(2), (2, 3, 2, 3, 3))
    before = VAE(NARROW).apply({"params": autoencoder}, latent, method="decode")
    assert float(jnp.std(before)) > 0.05
    np.testing.assert_allclose(VAE(wide).apply({"params": grown}, latent, method="decode"), before, atol=2e-5)
    np.testing.assert_allclose(stream_decode(grown, wide, latent), before, atol=2e-5)


@pytest.mark.slow
def test_a_wider_autoencoder_encodes_the_same(autoencoder):
    wide = replace(NARROW, base=12, decoder_base=4)
    grown = {**autoencoder, "encoder": wider("encoder", autoencoder["encoder"], 3, jax.random.key(1))}
    expected = jax.tree.map(jnp.shape, init_vae(wide, jax.random.key(0)))
    assert jax.tree.map(jnp.shape, grown) == expected
    video = jax.random.uniform(jax.random.key(2), (2, 9, 16, 24, 3), minval=-1)
    before = VAE(NARROW).apply({"params": autoencoder}, video, method="encode")
    assert float(jnp.std(before)) > 0.05
    np.testing.assert_allclose(VAE(wide).apply({"params": grown}, video, method="encode"), before, atol=2e-5)
    np.testing.assert_allclose(stream_encode(grown, wide, video), before, atol=2e-5)


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

    latent = jax.random.normal(jax.random.key(2), (1, 2, 2, 2, 3))
    slope = jax.grad(loss)(trained)["decoder"]["level0_block0"]["conv1"]["kernel"]
    first, second = jnp.split(slope, 2, -1)
    assert float(jnp.abs(first - second).max()) > 0.1 * float(jnp.abs(slope).max())
    wrong = replace(training, model=replace(NARROW, decoder_base=6)).build(tmp_path)[0]
    with pytest.raises(ValueError, match=r"the decoder is to have 6 channels and that in .* has 4: one is"):
        wrong.load(tmp_path / "start")


@pytest.mark.slow
def test_a_run_starts_with_a_wider_transformer_and_autoencoder(autoencoder, tmp_path):
    VAEStage(NARROW).export(tmp_path / "start", autoencoder)
    wide = VAEStage(replace(NARROW, base=8))
    grown = wide.load(tmp_path / "start")
    video = jax.random.uniform(jax.random.key(2), (1, 9, 16, 16, 3), minval=-1)
    expected = VAE(NARROW).apply({"params": autoencoder}, video)
    np.testing.assert_allclose(VAE(wide.config).apply({"params": grown}, video), expected, atol=1e-4)
