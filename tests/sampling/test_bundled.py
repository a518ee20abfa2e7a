"""Models of the package are opened by name, and `world-fast` has the autoencoder of `world`."""

import jax
import numpy as np
import pytest

import sorajax
from sorajax.sampling.request import Request


def test_world_fast_takes_four_evaluations_with_the_autoencoder_of_world():
    world, fast = sorajax.load(), sorajax.load("world-fast")
    settings = fast.plan(Request(("a red ball",)))
    assert (settings.steps, settings.sampler, settings.guidance_scale) == (4, "flow_map", 1.0)
    jax.tree.map(np.testing.assert_array_equal, world.params["vae"], fast.params["vae"])


def test_a_model_that_is_not_there_is_one_line_with_what_may_be_given():
    with pytest.raises(FileNotFoundError) as missing:
        sorajax.load("nope")
    assert str(missing.value).startswith("model nope does not exist: use world, world-fast, the folder of ")
    assert "\n" not in str(missing.value)
