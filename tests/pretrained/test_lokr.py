"""Kronecker products: of whole factors, and of factors that are products themselves."""

import numpy as np
import pytest

from sorajax.pretrained.lokr import factors, product

RNG = np.random.default_rng(0)


def test_the_product_of_matrices_is_that_of_numpy():
    one, two = RNG.normal(size=(2, 3)), RNG.normal(size=(4, 5))
    np.testing.assert_array_equal(product(one, two), np.kron(one, two))


def test_a_convolution_keeps_its_further_axes():
    one, two = RNG.normal(size=(2, 3)), RNG.normal(size=(4, 5, 1, 2, 2))
    made = product(one, two)
    assert made.shape == (8, 15, 1, 2, 2)
    np.testing.assert_array_equal(made[..., 0, 1, 0], np.kron(one, two[..., 0, 1, 0]))


def test_a_factor_may_be_a_product_of_two_of_a_rank():
    whole, a, b = RNG.normal(size=(2, 2)), RNG.normal(size=(4, 3)), RNG.normal(size=(3, 5))
    one, two, rank = factors({"lokr_w1": whole, "lokr_w2_a": a, "lokr_w2_b": b})
    assert one is whole
    assert rank == 3
    np.testing.assert_allclose(two, a @ b)
    assert factors({"lokr_w1": whole, "lokr_w2": whole})[2] is None


def test_a_missing_half_is_named():
    with pytest.raises(KeyError, match="lokr_w2_b"):
        factors({"lokr_w1": np.ones((2, 2)), "lokr_w2_a": np.ones((2, 1))})
