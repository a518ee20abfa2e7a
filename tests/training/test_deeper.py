"""A transformer that is made deeper begins as the same function, and every new layer learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.sora import init_dit
from sorajax.training.deeper import OUTPUTS, deeper

CONFIG = DiTConfig(
    width=16, hidden=32, depth=2, heads=2, in_channels=4, out_channels=4, patch=(1, 2, 2), text_width=8, frequencies=8
)
X = jax.random.normal(jax.random.key(1), (2, 3, 4, 4, 4))
TIME = jnp.full((2, 3), 0.4)
TEXT = jax.random.normal(jax.random.key(2), (2, 5, 8))


@pytest.fixture(scope="module")
def params():
    """Random ones, zeros as well: what leaves the blocks matters."""
    params = init_dit(CONFIG, jax.random.key(0))
    keys = jax.random.split(jax.random.key(3), len(jax.tree.leaves(params)))
    leaves, tree = jax.tree.flatten(params)
    return tree.unflatten([x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])


def velocity(params, depth):
    return DiT(replace(CONFIG, depth=depth)).apply({"params": params}, X, TIME, TEXT)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_it_computes_the_same(params, depth):
    deep = deeper(params, depth)
    assert {len(x) for x in jax.tree.leaves(deep["blocks"])} == {depth}
    np.testing.assert_allclose(velocity(deep, depth), velocity(params, 2), atol=1e-6)


def test_as_deep_as_it_is_or_deeper_it_stays_as_it_is(params):
    assert deeper(params, 2) is params
    assert deeper(params, 1) is params


def test_every_new_layer_learns(params):
    deep = deeper(params, 5)
    gradient = jax.grad(lambda deep: jnp.sum(jnp.sin(velocity(deep, 5))))(deep)["blocks"]
    for path in OUTPUTS:
        module, layer, _ = path.split("/")
        assert (jnp.linalg.norm(gradient[module][layer]["kernel"], axis=(1, 2)) > 0).all(), path
