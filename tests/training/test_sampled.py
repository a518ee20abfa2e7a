"""A model that is sampled in training: the conditions of a batch, with its captions, its noise and its start."""

import jax
import numpy as np
import pytest

from sorajax.training.sampled import LEAST_START, SampledModel
from tests.conftest import TINY
from tests.training.flows import BATCH, CONTEXT, LATENT, flow_stage

NEGATIVE = np.full((1, 12, 8), 0.5, np.float32)


def conditions(noised, temperature=(1.0, 1.0), **objective):
    model = SampledModel({}, {"context": NEGATIVE}, np.float32(4), TINY)
    return model.conditions(flow_stage(**objective), BATCH, jax.random.key(3), 6, noised, temperature)


def test_captions_come_before_as_many_negative_prompts():
    found, _ = conditions(0.0)
    np.testing.assert_array_equal(found.context, np.concatenate([CONTEXT, np.repeat(NEGATIVE, 4, 0)]))
    assert found.times.shape == (7,)
    assert (found.times[0], found.times[-1], found.guidance_scale) == (1, 0, 4)


def test_every_second_clip_has_the_models_own_temperature():
    _, usual = conditions(0.0)
    _, warm = conditions(0.0, (5.0, 5.0))
    np.testing.assert_array_equal(warm[::2], usual[::2])
    np.testing.assert_allclose(warm[1::2], 5 * usual[1::2], rtol=1e-6)
    assert np.std(usual[::2]) == pytest.approx(TINY.temperature, rel=0.2)


def test_a_batch_that_begins_noised_fixes_no_frames():
    fixed, _ = conditions(0.0, known=1.0)
    assert fixed.known.mask.any()
    noised, _ = conditions(1.0, known=1.0)
    assert not noised.known.mask.any()
    assert LEAST_START <= noised.known.start < 1
    assert noised.times[0] < 1
    np.testing.assert_array_equal(noised.known.latent, LATENT)
