"""A transformer of smaller patches begins near the one it comes from."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import reduce, repeat
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.models.dit import DiT
from sorajax.training.finer import finer
from tests.training.test_deeper import CONFIG, TEXT, TIME, params  # noqa: F401 (a fixture)

COARSE, FINE = CONFIG.patch, (1, 1, 1)


def velocity(weights, patch, x):
    return DiT(replace(CONFIG, patch=patch)).apply({"params": weights}, x, TIME, TEXT)


@pytest.fixture
def alone(params):  # noqa: F811
    """Parameters whose tokens do not see each other: what differs then is no distance between tokens."""
    flat = flatten_dict(params, sep="/")
    return unflatten_dict({k: 0 * v if "self_attention/out" in k else v for k, v in flat.items()}, sep="/")


def test_latents_that_are_constant_within_a_patch_have_its_mean_velocity(alone):
    x = repeat(jax.random.normal(jax.random.key(1), (2, 3, 2, 2, 4)), "b t h w c -> b t (h i) (w j) c", i=2, j=2)
    mean = "b t (h i) (w j) c -> b t h w c"
    coarse, fine = (velocity(p, patch, x) for p, patch in ((alone, COARSE), (finer(alone, COARSE, FINE), FINE)))
    np.testing.assert_allclose(reduce(coarse, mean, "mean", i=2, j=2), reduce(fine, mean, "mean", i=2, j=2), atol=2e-6)
    assert not np.allclose(coarse, fine)  # within a patch they need not agree


def test_a_patch_in_rows_alone_too(alone):
    x = jnp.ones((2, 3, 4, 4, 4)) * jnp.arange(4)
    half = finer(alone, COARSE, (1, 2, 1))
    np.testing.assert_allclose(
        jnp.mean(velocity(half, (1, 2, 1), x), (2, 3)), jnp.mean(velocity(alone, COARSE, x), (2, 3)), atol=2e-6
    )


def test_patches_that_do_not_divide_are_refused(params):  # noqa: F811
    assert finer(params, COARSE, COARSE) is params
    with pytest.raises(ValueError, match=r"patches of \(1, 2, 2\) give no start for patches of \(1, 4, 4\)"):
        finer(params, COARSE, (1, 4, 4))
