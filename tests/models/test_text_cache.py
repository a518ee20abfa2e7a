"""Cached keys and values of the text equal those that every evaluation would compute."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.devices.partitioned import work_of
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.quantized import quantize
from sorajax.models.sora import init_dit
from sorajax.models.velocity import ExtraInputs, read_once, velocity_of
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.program import sample_latents
from tests.cases import slow_after
from tests.conftest import TINY

CONFIG = DiTConfig(
    width=24, hidden=32, depth=2, heads=2, in_channels=4, out_channels=4, text_width=8, frequencies=16, remat="none"
)
X = np.random.default_rng(0).standard_normal((2, 3, 4, 4, 4), np.float32)
TIME = np.array([[0.1, 0.5, 0.9], [0.3, 0.3, 0.3]], np.float32)
CONTEXT = np.random.default_rng(1).standard_normal((2, 5, 8), np.float32)
read_in_one_program = jax.jit(read_once, static_argnums=0)


def random_params(config):
    shapes = jax.eval_shape(lambda: init_dit(config, jax.random.key(0)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), shapes)


@partial(jax.jit, static_argnums=0)
def velocity(config, variables, context, extra=ExtraInputs()):  # noqa: B008 (a value)
    return velocity_of(config, variables, context, extra)(X, TIME)


@pytest.mark.parametrize(
    "changes",
    slow_after(
        2, [{}, {"image_width": 6, "stacked": False}, {"stacked": False}, {"pooled_text": True}, {"image_width": 6}]
    ),
    ids=str,
)
def test_a_cached_text_gives_the_same_velocity(changes):
    config = replace(CONFIG, **changes)
    params = {"params": random_params(config)}
    image = np.random.default_rng(2).standard_normal((1, 7, 6), np.float32) if config.image_width else None
    extra = ExtraInputs(image)
    read = read_in_one_program(config, params, CONTEXT, image)
    expected = np.asarray(velocity(config, params, CONTEXT, extra))
    np.testing.assert_allclose(velocity(config, params, read, extra), expected, atol=1e-5)
    first = read_in_one_program(config, params, CONTEXT[:1], image)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), read.of_first(1), first)
    assert np.abs(expected - velocity(config, params, CONTEXT + 1, extra)).max() > 1e-3


def test_a_text_cache_reads_quantized_weights():
    config, params = replace(CONFIG, quantized=True), {"params": quantize(random_params(CONFIG), "int8")}
    read = read_in_one_program(config, params, CONTEXT, None)
    np.testing.assert_allclose(velocity(config, params, read), velocity(config, params, CONTEXT), atol=1e-5)


def test_a_text_cache_reads_adapters():
    params = random_params(CONFIG)
    a, b = np.ones((2, 24, 2), np.float32), np.full((2, 2, 24), 0.1, np.float32)
    variables = {"params": params, "adapters": {"blocks": {"cross_attention": {"v": {"a": a, "b": b}}}}}
    made = velocity(CONFIG, variables, read_in_one_program(CONFIG, variables, CONTEXT, None))
    np.testing.assert_allclose(made, velocity(CONFIG, variables, CONTEXT), atol=1e-5)
    assert np.abs(made - velocity(CONFIG, {"params": params}, CONTEXT)).max() > 1e-3


def test_image_tokens_need_an_image_input():
    with pytest.raises(ValueError, match="image_width is 0, and image tokens were given"):
        read_once(CONFIG, {"params": random_params(CONFIG)}, CONTEXT, jnp.ones((2, 3, 6)))


def flops(function, *arguments):
    return work_of(jax.jit(function).lower(*arguments).compile()).flops


def test_text_keys_and_values_are_computed_once_per_clip():
    """Between two and six steps the program grows by four evaluations without the products of the text."""
    config = replace(TINY, text=replace(TINY.text, tokens=64))
    dit, shape = config.dit, (2, 4, 4, 4)
    params = jax.eval_shape(lambda: init_dit(dit, jax.random.key(0)))

    def sampled(steps):
        conditions = abstract_conditions(config, shape, steps)
        return flops(lambda p, c: sample_latents(config, SAMPLERS["euler"], True, None, p, c), params, conditions)

    x, time = jax.ShapeDtypeStruct((2, *shape), np.float32), jax.ShapeDtypeStruct((2, 2), np.float32)
    context = jax.ShapeDtypeStruct((2, 64, dit.text_width), np.float32)
    evaluation = flops(DiT(dit).apply, {"params": params}, x, time, context)
    text = 2 * 2 * 64 * (dit.text_width * dit.width + dit.width**2 + 2 * dit.depth * dit.width**2)
    assert (sampled(6) - sampled(2)) / 4 == pytest.approx(evaluation - text, rel=0.01)
    assert text > 0.1 * evaluation
