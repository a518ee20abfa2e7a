"""Models are opened by name or by folder; `world-fast` has the autoencoder of `world`."""

import jax
import numpy as np
import pytest

import sorajax
from sorajax.models.folder import WORLD, WORLD_FAST
from sorajax.sampling.loading import model_files
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


def test_the_files_of_a_bundled_model_are_in_the_package_and_of_a_path_where_it_is(tmp_path):
    assert [model_files(name) for name in ("world", "world-fast")] == [WORLD, WORLD_FAST]
    assert model_files(tmp_path) == tmp_path


def test_a_model_has_the_options_with_which_it_was_opened(tiny_model):
    plain, small = sorajax.load(tiny_model), sorajax.load(tiny_model, dtype="bfloat16")
    assert plain.load_options == {}
    assert small.load_options == {"dtype": "bfloat16"}
    assert plain.folder == small.folder == tiny_model
