"""The image encoder: how a picture is prepared, and which layers it has."""

import jax
import numpy as np
import pytest

from sorajax.models.vision import MEAN, STD, Vision, VisionConfig, preprocess

SMALL = VisionConfig(width=8, hidden=16, depth=3, heads=2, patch=7, size=28)


def test_values_are_normalised_by_channel():
    image = np.full((28, 28, 3), (0, 128, 255), np.uint8)
    expected = (np.array([0, 128 / 255, 1]) - MEAN) / STD
    np.testing.assert_allclose(preprocess(image, 14), np.broadcast_to(expected, (14, 14, 3)), atol=1e-6)


@pytest.mark.parametrize("tall", [True, False])
def test_the_centre_of_an_oblong_picture_is_seen(tall):
    image = np.zeros((60, 20, 3), np.uint8)
    image[20:40] = 255
    found = preprocess(image if tall else image.swapaxes(0, 1), 20)
    assert found.shape == (20, 20, 3)
    np.testing.assert_allclose(found, np.broadcast_to((1 - np.array(MEAN)) / STD, found.shape), atol=1e-5)


def test_a_token_for_each_patch_and_one_for_the_class_by_all_layers_but_the_last():
    image = jax.ShapeDtypeStruct((2, SMALL.size, SMALL.size, 3), np.float32)
    tokens, variables = jax.eval_shape(Vision(SMALL).init_with_output, jax.random.key(0), image)
    assert tokens.shape == (2, SMALL.tokens, SMALL.width) == (2, 17, 8)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(variables["params"]["blocks"])} == {SMALL.depth - 1}
    assert VisionConfig().tokens == 257
