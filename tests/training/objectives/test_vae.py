"""The autoencoder's objective: its loss, what a critic changes in it, and that the critic is not in the model."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch
from sorajax.models.critic import CriticConfig
from sorajax.models.vae import VAE, VAEConfig, stream_encode
from sorajax.training.adversarial import AdversarialConfig
from sorajax.training.autoencoder import load_vae
from sorajax.training.experiments.vae import VAETraining
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective, VAEStage
from sorajax.training.views import views

TINY = VAEConfig(base=4, multipliers=(1, 1), strides=((2, 2),), residual_blocks=1, pixel_patch=4, latent_channels=4)
CRITIC = AdversarialConfig(weight=0.3, after=2, ramp=1, critic=CriticConfig(base=4, levels=2))
PLAIN = VAEObjective(l1=0.3, mse=8.0, kl=3e-5, noise=0.05)


@pytest.fixture(scope="module")
def begun():
    """A stage with a critic, its parameters, and a batch."""
    stage = VAEStage(TINY, replace(PLAIN, structure=0.5, flicker=0.5, adversarial=CRITIC))
    rng, shapes = np.random.default_rng(0), jax.eval_shape(stage.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0.05, 0.2, leaf.shape).astype(np.float32), shapes)
    return stage, params, filmed(Bucket(5, 32, 32, batch_size=2, crop=16))


def filmed(bucket):
    """A batch of pixels: nothing to render, so that a step compiles soon."""
    pixels = np.random.default_rng(0).integers(0, 256, (bucket.batch_size, *bucket.size, 3)).astype(np.uint8)
    return WorldBatch(pixels=pixels, bucket=bucket)


def slopes(stage, step, params, clips):
    """(loss, metrics, gradients) at a step."""
    found = jax.jit(lambda stage, p: jax.value_and_grad(stage.loss, has_aux=True)(p, clips, jax.random.key(3)))
    return found(stage.at(step), params)


@pytest.mark.slow
def test_without_a_critic_parameters_and_loss_are_unchanged(begun):
    """The objective of the world's autoencoder, written out again."""
    _, params, clips = begun
    stage = VAEStage(TINY, PLAIN)
    assert set(jax.eval_shape(stage.init, jax.random.key(0))) == {"encoder", "decoder"}

    def loss(params):
        crop_key, sample_key, noise_key = jax.random.split(jax.random.key(3), 3)
        video, _ = views(clips, crop_key)
        apply = partial(VAE(TINY).apply, {"params": params})
        mean, log_variance = apply(video, method="moments")
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(sample_key, mean.shape)
        z = z + 0.05 * jax.lax.stop_gradient(jnp.std(mean, (0, 1, 2, 3))) * jax.random.normal(noise_key, z.shape)
        error = apply(z, method=lambda vae, z: vae.decoder(z, {})[0]) - video
        kl = 0.5 * jnp.mean(mean**2 + jnp.exp(log_variance) - 1 - log_variance)
        return jnp.mean(0.3 * jnp.abs(error) + 8 * error**2) + 3e-5 * kl

    (value, _), gradient = slopes(stage, 0, stage.autoencoder(params), clips)
    wanted, by_hand = jax.jit(jax.value_and_grad(loss))(stage.autoencoder(params))
    assert value == pytest.approx(float(wanted), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradient, by_hand)


@pytest.mark.slow
def test_a_critic_changes_training_from_its_first_step_and_never_the_reported_loss(begun):
    """Before: gradients as without it, bit for bit, and none for the critic. After: both learn, the value stays."""
    stage, params, clips = begun
    alone = VAEStage(TINY, replace(stage.objective, adversarial=AdversarialConfig()))
    (value, _), without = slopes(alone, 0, stage.autoencoder(params), clips)
    (early_value, early), before = slopes(stage, 1, params, clips)
    (late_value, late), after = slopes(stage, 3, params, clips)
    assert jax.tree.all(jax.tree.map(np.array_equal, stage.autoencoder(before), without))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(before["critic"]))
    assert value == early_value == late_value
    assert late.keys() - early.keys() == {"critic", "told_apart"}
    assert all(np.any(leaf) for leaf in jax.tree.leaves(after["critic"]["conv_out"]))
    assert not jax.tree.all(jax.tree.map(np.array_equal, stage.autoencoder(after), without))


@pytest.mark.slow
def test_validation_leaves_the_critic_out(begun):
    stage, params, clips = begun
    found = jax.jit(stage.validate)(params, clips, jax.random.key(0))
    assert set(found) == {"l1", "psnr", "ssim", "flicker"}
    stills = filmed(Bucket(1, 32, 32, batch_size=2))
    assert set(jax.jit(stage.validate)(params, stills, jax.random.key(0))) == {"l1", "psnr", "ssim"}


@pytest.mark.slow
def test_training_the_decoder_alone_keeps_the_encoder_to_the_bit(begun, tmp_path):
    stage, params, clips = begun
    start = tmp_path / "start"
    stage.export(start, params)
    experiment = VAETraining(model=TINY, objective=PLAIN, decoder_only=True, loop=LoopConfig(start=start))
    alone, _ = experiment.build(tmp_path)
    trained = alone.load(start)
    assert set(trained) == {"decoder"}
    (value, _), gradient = slopes(alone, 0, trained, clips)
    (both, _), _ = slopes(VAEStage(TINY, PLAIN), 0, stage.autoencoder(params), clips)
    assert value == pytest.approx(float(both), rel=1e-5)
    alone.export(tmp_path / "end", jax.tree.map(lambda p, g: p - 0.1 * g, trained, gradient))
    (before, old), (after, new) = load_vae(start), load_vae(tmp_path / "end")
    assert before == after  # the latents' moments too
    jax.tree.map(np.testing.assert_array_equal, old["encoder"], new["encoder"])
    assert not jax.tree.all(jax.tree.map(np.array_equal, old["decoder"], new["decoder"]))
    with pytest.raises(ValueError, match="decoder_only needs an autoencoder to begin from"):
        replace(experiment, loop=LoopConfig()).build(tmp_path)


@pytest.fixture(scope="module")
def open_vae(tmp_path_factory):
    """(diffusers' autoencoder, its folder, the folder of a pipeline with it in `vae`)"""
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
    torch.manual_seed(0)
    model = diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.0, 2.0, 0.5, 1.5],
    ).eval()
    whole = tmp_path_factory.mktemp("wan")
    model.save_pretrained(whole / "vae")
    (whole / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    return model, whole / "vae", whole


@pytest.mark.parity
def test_training_starts_from_an_open_autoencoder(open_vae):
    """What is loaded reconstructs as the reference does, whole and streamed, and the stage adds its critic."""
    torch = pytest.importorskip("torch")
    model, folder, whole = open_vae
    config, params = load_vae(folder)
    video = np.tanh(np.random.default_rng(0).standard_normal((1, 3, 5, 16, 24), np.float32))
    with torch.no_grad():
        mean = model.encode(torch.tensor(video)).latent_dist.mode()
        wanted = np.moveaxis(model.decode(mean).sample.numpy(), 1, -1)
        latent = (mean - torch.tensor(config.mean)[:, None, None, None]) / torch.tensor(config.std)[:, None, None, None]
    clip = np.moveaxis(video, 1, -1)
    again = jax.jit(lambda p, x: VAE(config).apply({"params": p}, x))(params, clip)
    assert np.abs(again - wanted).max() < 1e-4
    streamed = jax.jit(stream_encode, static_argnums=1)(params, config, clip)
    assert np.abs(streamed - np.moveaxis(latent.numpy(), 1, -1)).max() < 1e-4
    assert jax.tree.all(jax.tree.map(np.array_equal, params, load_vae(whole)[1]))
    stage = VAEStage(config, VAEObjective(adversarial=CRITIC))
    begun, needed = stage.load(folder), jax.eval_shape(stage.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, begun) == jax.tree.map(jnp.shape, needed)
