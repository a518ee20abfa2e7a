"""Attention in matrix products: unbiased scores, and blocks of queries that change memory and not values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models import softmax
from sorajax.models.attention import attend


def random(b, s, m, n, k, dtype=jnp.float32):
    """Queries of length s, keys and values of length m, and the weights of a loss."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((b, size, n, k), np.float32).astype(dtype) for size in (s, m, m, s)]


def values_and_gradients(function, q, k, v, weights):
    """What attention gives, and the gradients of a weighted sum of it."""

    def loss(q, k, v):
        found = function(q, k, v)
        return jnp.sum(found.astype(jnp.float32) * weights), found

    gradients, found = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(q, k, v)
    return found, *gradients


def assert_same(found, expected, tolerance=2e-5):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), atol=tolerance, rtol=tolerance)


def test_scores_in_half_precision_are_unbiased():
    """128**-0.5 in bfloat16 is off by 0.2 percent: every score would be, in the same direction."""
    q = softmax.scaled(jax.random.normal(jax.random.key(0), (4096,), jnp.bfloat16), 128**-0.5)
    exact = jax.random.normal(jax.random.key(0), (4096,), jnp.bfloat16).astype(jnp.float32) * 128**-0.5
    assert abs(float(jnp.sum(q.astype(jnp.float32) * exact) / jnp.sum(exact**2)) - 1) < 3e-4


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("limit", [1, 300, 800], ids=["a query each", "uneven blocks", "two blocks"])
def test_blocked_equals_whole(monkeypatch, limit, biased):
    *qkv, weights = random(2, 11, 7, 3, 4)
    bias = np.random.default_rng(1).standard_normal((1, 3, 11, 7), np.float32) if biased else None
    whole = values_and_gradients(lambda *a: attend(*a, bias=bias), *qkv, weights)
    monkeypatch.setattr(softmax, "SCORES_LIMIT", limit)
    assert_same(values_and_gradients(lambda *a: attend(*a, bias=bias), *qkv, weights), whole)


@pytest.mark.parametrize("differentiated", [False, True], ids=["forward", "backward"])
def test_memory_grows_with_length_and_not_with_its_square(monkeypatch, differentiated):
    monkeypatch.setattr(softmax, "SCORES_LIMIT", 1 << 16)

    def temporary(s):
        x = jax.ShapeDtypeStruct((1, s, 2, 8), jnp.float32)
        function = jax.grad(lambda *a: attend(*a).sum(), (0, 1, 2)) if differentiated else attend
        return jax.jit(function).lower(x, x, x).compile().memory_analysis().temp_size_in_bytes

    short, long = temporary(1024), temporary(4096)
    held = 4 * (1 << 16)  # one block of scores, in bytes
    linear = 4 * 4096 * 2 * 8  # one array of queries, keys or values
    assert short < long < 6 * held + 8 * linear < 4 * 2 * 4096**2 / 20, (short, long)
