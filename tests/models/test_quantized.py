"""Weights of 8 bits: a quarter of the memory, an error that is known, and never whole all at once."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.models import quantized
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.quantized import quantize
from sorajax.models.sora import init_dit, init_text
from sorajax.models.text import TextConfig, TextEncoder

DIT = DiTConfig(width=64, hidden=256, depth=6, heads=2, text_width=16, in_channels=4, out_channels=4, remat="none")
TEXT = TextConfig(vocabulary=50, width=32, hidden=64, depth=3, heads=2, head_width=16, tokens=8)
MOST = {"int8": 0.02, "fp8": 0.06}
"""Relative error of what comes out: a step of int8 is 1/127 of a channel's largest weight, of e4m3 1/8 of any."""


def drawn(tree, scale=0.2):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, scale, leaf.shape).astype(np.float32), tree)


def nbytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def apart(a, b):
    return np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b)


@pytest.mark.parametrize("bits", MOST)
def test_a_quantized_transformer_is_near_the_full_one(bits):
    params = drawn(jax.eval_shape(lambda: init_dit(DIT, jax.random.key(0))))
    rng = np.random.default_rng(1)
    x, context = rng.normal(size=(2, 3, 4, 4, 4)), rng.normal(size=(2, 5, 16))
    inputs = [np.asarray(a, np.float32) for a in (x, np.full((2, 3), 0.5), context)]
    whole = jax.jit(DiT(DIT).apply)({"params": params}, *inputs)
    small = quantize(params, bits)
    model = DiT(replace(DIT, quantized=True))
    made = jax.jit(model.apply)({"params": small}, *inputs)
    print(f"{bits}: velocities of random weights are {100 * apart(made, whole):.1f}% off")
    assert 0 < apart(made, whole) < MOST[bits]
    assert nbytes(small["blocks"]) < 0.3 * nbytes(params["blocks"])
    planned = jax.jit(model.apply).lower({"params": small}, *inputs).compile().memory_analysis()
    if bits == "int8":  # XLA's CPU compiler has no float8, and widens all of it beforehand
        assert planned.temp_size_in_bytes < nbytes(params["blocks"]) / 2  # one block at a time is whole
    jax.tree.map(np.testing.assert_array_equal, quantize(small, bits), small)


@pytest.fixture
def int8_on_cpu(monkeypatch):
    """CPU multiplies int8 by int8 too, as TPU and GPU do."""
    monkeypatch.setattr(quantized, "product_as_stored", quantized.product_in_int8)


def test_int8_products_are_nearly_as_exact_as_int8_weights(int8_on_cpu):
    params = drawn(jax.eval_shape(lambda: init_dit(DIT, jax.random.key(0))))
    rng = np.random.default_rng(1)
    x, context = rng.normal(size=(2, 3, 4, 4, 4)), rng.normal(size=(2, 5, 16))
    inputs = [np.asarray(a, np.float32) for a in (x, np.full((2, 3), 0.5), context)]
    whole = jax.jit(DiT(DIT).apply)({"params": params}, *inputs)
    small = quantize(params, "int8")
    stored, made = (
        jax.jit(DiT(replace(DIT, quantized=True, int8_products=both)).apply)({"params": small}, *inputs)
        for both in (False, True)
    )
    print(f"int8 weights {100 * apart(stored, whole):.2f}% off, int8 products {100 * apart(made, whole):.2f}%")
    assert apart(stored, whole) < apart(made, whole) < MOST["int8"]


def test_a_product_has_one_scale_per_token_and_one_per_output():
    """So a large token or column costs the others nothing; zeros stay zeros."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 64)).astype(np.float32), rng.normal(size=(1, 64, 48)).astype(np.float32)
    x[0, 1] *= 1e4
    x[1, 2] = 0
    kernel[..., 3] *= 1e4
    small = jax.tree.map(lambda leaf: leaf[0], quantize({"blocks": {"up": {"kernel": kernel}}}, "int8"))
    product = jax.jit(quantized.product_in_int8, static_argnums=2)
    made = np.asarray(product(x, small["blocks"]["up"]["kernel"], jnp.float32))
    exact = x @ kernel[0]
    assert np.all(made[1, 2] == 0)
    scale = np.linalg.norm(x, axis=-1)[..., None] * np.linalg.norm(kernel[0], axis=0)
    assert np.max(np.abs(made - exact) / np.maximum(scale, 1e-9)) < 0.01


def test_accelerators_multiply_int8_and_cpus_and_trainings_do_not():
    """In the program that is lowered for each of them."""
    params = jax.eval_shape(lambda: quantize(init_dit(DIT, jax.random.key(0)), "int8"))
    x, time, text = (jax.ShapeDtypeStruct(size, jnp.float32) for size in ((1, 1, 4, 4, 4), (1, 1), (1, 5, 16)))

    def in_int8(platform, products):
        model = DiT(replace(DIT, quantized=True, int8_products=products))
        traced = jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs)).trace(params, x, time, text)
        return len(
            re.findall(r"dot_general.*xi8>.*xi8>.*xi32>", traced.lower(lowering_platforms=(platform,)).as_text())
        )

    assert (in_int8("tpu", True), in_int8("cuda", True)) == (10, 10)  # q, k, v, out of two attentions, and two more
    assert (in_int8("cpu", True), in_int8("tpu", False)) == (0, 0)


def test_a_quantized_text_encoder_is_near_the_full_one():
    params = drawn(jax.eval_shape(lambda: init_text(TEXT, jax.random.key(0))))
    ids, mask = np.arange(8, dtype=np.int32)[None], np.ones((1, 8), bool)
    whole = jax.jit(TextEncoder(TEXT).apply)({"params": params}, ids, mask)
    small = {"params": quantize(params, "int8")}
    made = jax.jit(TextEncoder(replace(TEXT, quantized=True)).apply)(small, ids, mask)
    assert 0 < apart(made, whole) < 0.02


@pytest.mark.slow
def test_the_model_in_the_box_makes_nearly_the_same_clip_by_int8_products(int8_on_cpu):
    settings = {"frames": 1, "steps": 8, "num": 4}
    whole = sorajax.load()("a red ball", **settings)
    small = sorajax.load(quantize="int8")("a red ball", **settings)
    error = np.mean([np.square(a.frames.astype(float) - b.frames) for a, b in zip(whole, small)])
    print(f"int8 products: {10 * np.log10(255**2 / error):.1f} dB from the clips of whole weights")
    assert 0 < error < 255**2 / 10**2.5  # 25 dB


@pytest.mark.slow
@pytest.mark.parametrize("bits", MOST)
def test_the_quantized_bundled_model_makes_nearly_the_same_clip(bits):
    settings = {"frames": 1, "steps": 8, "num": 4}
    whole = sorajax.load()("a red ball", **settings)
    small = sorajax.load(quantize=bits)("a red ball", **settings)
    error = np.mean([np.square(a.frames.astype(float) - b.frames) for a, b in zip(whole, small)])
    print(f"{bits}: {10 * np.log10(255**2 / error):.1f} dB from the clips of whole weights")
    assert 0 < error < 255**2 / 10**2.5  # 25 dB
