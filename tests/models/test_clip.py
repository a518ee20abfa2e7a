"""Two towers, one space: vectors of length 1, and a text's vector is read at its end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.models.clip import Clip, ClipConfig, ClipTextConfig, init_clip, unit
from sorajax.models.vision import VisionConfig

TEXT = ClipTextConfig(vocabulary=9, width=8, hidden=16, depth=1, heads=2, tokens=6, end=8)
VISION = VisionConfig(width=8, hidden=16, depth=2, heads=2, patch=7, size=14)
CONFIG = ClipConfig(TEXT, VISION, width=5)


@pytest.fixture(scope="module")
def params():
    shapes, rng = jax.eval_shape(lambda: init_clip(CONFIG, jax.random.key(0))), np.random.default_rng(0)
    return {"params": jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)}


def test_a_texts_vector_depends_on_its_tokens_up_to_the_first_end(params):
    prompt = jax.jit(lambda ids: Clip(CONFIG).apply(params, ids, method="prompt"))
    first, same, order, other = prompt(np.array([[1, 2, 8, 8, 8], [1, 2, 8, 3, 8], [2, 1, 8, 8, 8], [1, 3, 8, 8, 8]]))
    np.testing.assert_allclose(first, same, atol=1e-6)
    assert min(np.abs(first - order).max(), np.abs(first - other).max()) > 1e-3
    np.testing.assert_allclose(np.linalg.norm(first), 1, atol=1e-6)


def test_cosines_are_of_all_pairs(params):
    images = np.random.default_rng(1).normal(size=(3, 14, 14, 3)).astype(np.float32)
    ids = np.array([[1, 8], [2, 8]])
    found, pictures, prompts = jax.jit(
        lambda: (
            Clip(CONFIG).apply(params, images, ids),
            Clip(CONFIG).apply(params, images, method="image"),
            Clip(CONFIG).apply(params, ids, method="prompt"),
        )
    )()
    assert found.shape == (3, 2)
    np.testing.assert_allclose(found, pictures @ prompts.T, atol=1e-6)
    np.testing.assert_allclose(unit(3 * pictures), pictures, atol=1e-6)


def test_the_image_tower_uses_all_of_its_layers():
    """One more is counted, for models that read the layer before the last."""
    deeper = dataclasses.replace(CONFIG, vision=dataclasses.replace(VISION, depth=4))
    blocks = jax.eval_shape(lambda: init_clip(deeper, jax.random.key(0)))["vision"]["blocks"]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(blocks)} == {3}
