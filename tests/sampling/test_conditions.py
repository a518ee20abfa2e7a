"""What sampling takes besides parameters: plans have its shapes, and making it needs no program."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from sorajax.models.conditioning import Encoders
from sorajax.sampling.conditions import abstract_conditions, conditions_of
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for
from tests.conftest import TINY


def test_the_inputs_of_a_text_clip_need_no_program():
    """Any operation of JAX would load the compiler's Python modules and lower a program before the sampler starts."""
    settings = settings_for(Request(("a",)), TINY)
    known, extra = TINY.conditioning.inputs(
        None, (1, *settings.latent), TINY.vae.stride[0], Encoders(None, None), "tiny"
    )
    conditions = conditions_of(settings, [np.zeros((4, 8), np.float32)], [0], settings.times(), known, extra)
    assert {type(leaf) for leaf in jax.tree.leaves(conditions)} == {np.ndarray}
    abstract = abstract_conditions(TINY, settings.latent, settings.steps)
    assert conditions.positions.dtype == conditions.times.dtype == abstract.positions.dtype == np.float32


READER = replace(TINY, dit=replace(TINY.dit, guidance=4.0, guidance_range=(1.0, 6.0)))
"""A model that reads the guidance scale."""


def made(request, contexts, config=TINY, **options):
    """Conditions of one clip without fixed frames."""
    settings = settings_for(request, config)
    known, extra = TINY.conditioning.inputs(
        None, (1, *settings.latent), TINY.vae.stride[0], Encoders(None, None), "tiny"
    )
    context = [np.zeros((TINY.text.tokens, TINY.text.width), np.float32)] * contexts
    return conditions_of(settings, context, [0], settings.times(), known, extra, **options)


@pytest.mark.parametrize(("config", "guided"), [(TINY, True), (TINY, False), (READER, False)])
def test_a_plan_has_the_shapes_of_the_conditions(config, guided):
    request = Request(("a",), guidance_scale=4.0 if guided else 1.0)
    settings = settings_for(request, config)
    real = made(request, 2 if guided else 1, config)
    planned = abstract_conditions(config, settings.latent, settings.steps, guided)
    assert jax.tree.structure(real) == jax.tree.structure(planned)
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(one)] for one in (real, planned)]
    assert shapes[0] == shapes[1]


def test_a_model_that_reads_the_guidance_scale_has_it_as_an_input():
    conditions = made(Request(("a",), guidance_scale=2.5), 1, replace(READER, guidance_scale=1.0))
    assert (conditions.extra.guidance.tolist(), conditions.guidance_scale) == ([2.5], 1)
    conditions = made(Request(("a",)), 1, replace(READER, guidance_scale=1.0))
    assert conditions.extra.guidance.tolist() == [4.0]


def test_positions_are_in_units_of_the_models_frame_rate():
    assert made(Request(("a",), fps=TINY.fps), 1).positions.tolist() == [0, 1]
    assert made(Request(("a",), fps=2 * TINY.fps), 1).positions.tolist() == [0, 0.5]
