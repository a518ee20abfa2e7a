"""Autoencoders are read from models that have them, and from models that name another one's."""

from pathlib import Path

import jax
import numpy as np
import pytest

from sorajax.models.folder import WORLD, WORLD_FAST
from sorajax.training.autoencoder import load_vae


@pytest.mark.parametrize("model", [WORLD_FAST, Path("world-fast"), Path("world")])
def test_a_model_with_another_ones_autoencoder_is_read(model):
    config, params = load_vae(model)
    expected, values = load_vae(WORLD)
    assert config == expected
    jax.tree.map(np.testing.assert_array_equal, params, values)
