"""Options of `sorajax.serve`: what the parser refuses, and what the worker opens its model with."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from sorajax.commands.serve import main, parse
from sorajax.models.conditioning import Replacement
from sorajax.models.folder import export_model
from sorajax.sampling.request import Request
from sorajax.server.processes import open_model
from tests.conftest import TINY, tiny_tokenizer
from tests.weights import init

WAN = replace(TINY, conditioning=Replacement(), clean_prompts=True, guidance_scale=5.0, steps=50)
"""A tiny model that is sampled as Wan 2.1 is."""


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(partial(init, WAN), jax.random.key(0)))
    return export_model(tmp_path_factory.mktemp("wan"), params, WAN, tiny_tokenizer())


@pytest.mark.parametrize(("preset", "steps", "guided"), [("lightning", 4, False), ("none", 50, True)])
def test_the_worker_samples_with_the_preset(wan, preset, steps, guided):
    pipeline = open_model(parse(["--model", str(wan), "--preset", preset]))
    settings = pipeline.plan(Request(("a red ball",)))
    assert (settings.steps, settings.guided) == (steps, guided)


def test_an_unknown_preset_is_refused_before_anything_starts(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "data"), "--preset", "fast"]) == 2
    assert capsys.readouterr().err.startswith("sorajax: preset 'fast' is unknown: use ")
    assert not (tmp_path / "data").exists()
