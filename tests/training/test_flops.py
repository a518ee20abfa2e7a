"""Counted FLOPs equal those on paper; a scanned body counts as often as it runs, recomputation not at all."""

import jax
import jax.numpy as jnp
import pytest

from sorajax.training.flops import forward_flops, training_flops

STACK, X = jax.ShapeDtypeStruct((5, 8, 8), jnp.float32), jax.ShapeDtypeStruct((3, 8), jnp.float32)
ONE = 2 * 3 * 8 * 8


def scanned(stack, x):
    body = jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None))
    return jnp.sum(jax.lax.scan(body, x, stack)[0])


def test_a_scan_counts_every_iteration_and_remat_no_recomputation():
    assert forward_flops(scanned, STACK, X) == 5 * ONE
    # The first turn's input is data, yet the carry becomes dependent: backward costs both products.
    assert training_flops(scanned, STACK, X) == 3 * 5 * ONE


def test_a_matrix_product_costs_one_backward_product_per_learned_operand():
    weight = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    assert training_flops(lambda w, x: jnp.sum(x @ w), weight, X) == 2 * ONE
    assert training_flops(lambda w, x: jnp.sum((x @ w) @ w), weight, X) == 5 * ONE
    assert training_flops(lambda w, x: jnp.sum(x @ x.T) + jnp.sum(w), weight, X) == 2 * 3 * 3 * 8


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolutions_flops_are_counted(stride):
    kernel, x = jax.ShapeDtypeStruct((3, 3, 4, 6), jnp.float32), jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)

    def convolve(kernel, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=numbers)

    assert forward_flops(convolve, kernel, x) == 2 * 2 * (8 // stride) ** 2 * 6 * 9 * 4
