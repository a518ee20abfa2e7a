"""Laws of patches and rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.spacetime import patchify, rope, rope_angles, rotate, unpatchify


@pytest.mark.parametrize("patch", [(1, 2, 2), (1, 1, 1), (2, 2, 4)])
def test_unpatchify_undoes_patchify(patch):
    z = jax.random.normal(jax.random.key(0), (2, 4, 8, 12, 3))
    grid = tuple(size // p for size, p in zip(z.shape[1:4], patch, strict=True))
    tokens = patchify(z, patch)
    assert tokens.shape == (2, np.prod(grid), 3 * np.prod(patch))
    np.testing.assert_array_equal(unpatchify(tokens, grid, patch), z)


def test_tokens_stand_in_raster_order():
    t, h, w = jnp.meshgrid(jnp.arange(2), jnp.arange(4), jnp.arange(6), indexing="ij")
    z = (100 * t + 10 * h + w)[None, ..., None]
    np.testing.assert_array_equal(patchify(z, (1, 2, 2))[0, :4, 0], [0, 2, 4, 20])


def scores(times, shift=0.0):
    """Dot products of two fixed vectors placed at every pair of tokens."""
    angles = rope_angles(jnp.asarray(times) + shift, 2, 3, 24)
    q, k = jax.random.normal(jax.random.key(1), (2, 24))
    at = lambda x: rotate(jnp.broadcast_to(x, (1, len(angles), 1, 24)), rope(angles))[0, :, 0]  # noqa: E731
    return at(q) @ at(k).T


def test_rotary_scores_depend_only_on_differences_of_positions():
    np.testing.assert_allclose(scores([0.0, 1.0, 2.0]), scores([0.0, 1.0, 2.0], shift=7.5), atol=1e-4)
    assert np.abs(scores([0.0, 1.0, 2.0]) - scores([0.0, 2.0, 4.0])).max() > 0.1


def test_rotary_positions_keep_vector_lengths():
    x = jax.random.normal(jax.random.key(2), (2, 12, 3, 16))
    turned = rotate(x, rope(rope_angles(jnp.arange(2.0), 2, 3, 16)))
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


def test_each_rotary_pair_turns_by_its_angle():
    x = jax.random.normal(jax.random.key(3), (1, 12, 1, 16))
    angles = rope_angles(jnp.arange(2.0), 2, 3, 16)
    pairs = jax.lax.complex(x[..., 0::2], x[..., 1::2]) * jnp.exp(1j * angles)[None, :, None]
    np.testing.assert_allclose(
        rotate(x, rope(angles)), jnp.stack([pairs.real, pairs.imag], -1).reshape(x.shape), atol=1e-6
    )
