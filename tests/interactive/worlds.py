"""A tiny random model to play, shared by the tests of what is played."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np

from sorajax.models.folder import export_model
from sorajax.models.play import PlayConfig
from sorajax.models.sora import init_dit
from tests.conftest import TINY

DIT = replace(TINY.dit, depth=1, actions=4)


def play_model(folder, base, dit=DIT, window=4):
    """The folder of a tiny model to play, random in every leaf, with the autoencoder of the model in `base`."""
    config = PlayConfig(dit, base=str(base), size=(16, 16), window=window)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(init_dit, dit), jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    return export_model(folder, {"dit": params}, config)
