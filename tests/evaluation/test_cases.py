"""The FLOPs of a case equal the formula, and its policy and autoencoder are those that its experiment names."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sorajax.evaluation import cases
from sorajax.models.dit import DiT
from sorajax.models.folder import WORLD
from sorajax.models.sora import init_dit
from sorajax.training.experiments import load_experiment
from sorajax.training.flops import forward_flops, training_flops
from tests import CONFIGS

VAE, DIT = str(CONFIGS / "tiny_vae.py"), str(CONFIGS / "tiny_dit.py")


def test_the_policy_that_is_measured_is_the_one_that_runs():
    for name in DIT, "wan2.1-1.3b":
        changed = cases.with_remat(cases.make_case(name, 1), "dots")
        assert "dots" == changed.dit.remat == getattr(changed.stage.config, "dit", changed.stage.config).remat
        assert changed.dit.stacked
        assert changed.dit.unroll == 1


def test_training_step_flops_equal_the_formula():
    shape = cases.NAMED["dit-12x384"]
    case = cases.make_case("dit-12x384", 3)
    params = jax.eval_shape(case.stage.init, jax.random.key(0))
    # Backward costs two forwards, but for the gradients of what is data: latents, text and features of the clock.
    patch = shape.dit.in_channels * math.prod(shape.dit.patch)
    inputs = tokens(shape) * patch + shape.tokens * shape.dit.text_width + shape.latent[0] * shape.dit.frequencies
    counted = training_flops(case.stage.loss, params, case.batch, jax.random.key(0))
    assert counted == 3 * (3 * on_paper(shape) - 2 * shape.dit.width * inputs)


def test_an_autoencoder_has_a_training_step_and_no_denoising():
    case = cases.make_case(VAE, 2)
    assert (case.clips, case.dit, case.latent, case.size) == (2, None, (3, 4, 4, 4), (5, 32, 32))
    params = jax.eval_shape(case.stage.init, jax.random.key(0))
    assert training_flops(case.stage.loss, params, case.batch, jax.random.key(0)) > 0


@pytest.mark.parametrize("name", cases.NAMED)
def test_forward_flops_equal_the_formula(name):
    shape = cases.NAMED[name]
    params = jax.eval_shape(lambda key: init_dit(shape.dit, key), jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, *shape.latent, shape.dit.in_channels), jnp.float32)
    clock = jax.ShapeDtypeStruct((1, shape.latent[0]), jnp.float32)
    context = jax.ShapeDtypeStruct((1, shape.tokens, shape.dit.text_width), jnp.float32)
    counted = forward_flops(DiT(shape.dit).apply, {"params": params}, x, clock, context)
    assert counted == pytest.approx(on_paper(shape), rel=2e-3)  # long sequences are padded to blocks of queries


def tokens(shape):
    (t, h, w), (pt, ph, pw) = shape.latent, shape.dit.patch
    return t // pt * (h // ph) * (w // pw)


def on_paper(shape):
    return cases.velocity_flops(shape.dit, shape.latent, shape.tokens)


def test_the_autoencoder_of_a_whole_model_is_found():
    found = cases.autoencoder(WORLD, Path("configs/world_large.py"))
    assert found.latent_channels == load_experiment("configs/world_large.py").model.in_channels
