"""Which transformer of a model makes which evaluations, and what they compute."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import sorajax
from sorajax.devices.partitioned import work_of
from sorajax.diffusion.flow import schedule
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models.sora import init_dit
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.program import Ranges, expert_ranges, interruptible, sample_latents
from tests.conftest import TINY


def test_a_single_transformer_makes_all_evaluations():
    assert expert_ranges(TINY, SAMPLERS["unipc"], schedule(4)) == {"dit": (0, None)}


def test_the_second_expert_takes_over_at_the_boundary():
    pair, times = replace(TINY, boundary=0.875), schedule(4, 12.0)  # 1, 0.973, 0.923, 0.8, 0
    assert expert_ranges(pair, SAMPLERS["unipc"], times) == {"dit": (0, 3), "dit_low": (3, 4)}
    assert expert_ranges(pair, SAMPLERS["heun"], times) == {"dit": (0, 5), "dit_low": (5, 7)}
    assert expert_ranges(pair, SAMPLERS["euler"], np.array([0.5, 0.2, 0.0], np.float32)) == {"dit_low": (0, 2)}


def test_the_boundary_applies_to_the_transformers_times():
    times = np.array([0.9, 0.8996, 0.2, 0.0], np.float32)  # in whole thousandths 0.9, 0.899
    assert expert_ranges(replace(TINY, boundary=0.9), SAMPLERS["euler"], times)["dit"] == (0, 1)
    assert expert_ranges(replace(TINY, boundary=0.8995), SAMPLERS["euler"], times)["dit"] == (0, 2)
    assert expert_ranges(replace(TINY, boundary=0.8995, whole_times=True), SAMPLERS["euler"], times)["dit"] == (0, 1)


def flops(guided, ranges, steps=6, config=TINY):
    """Of sampling one clip of the tiny model, in its compiled program."""
    params = jax.eval_shape(lambda: init_dit(config.dit, jax.random.key(0)))
    conditions = abstract_conditions(config, (2, 4, 4, 4), steps)
    if not guided:
        conditions = conditions._replace(context=jax.ShapeDtypeStruct((1, *conditions.context.shape[1:]), np.float32))
    function = partial(sample_latents, config, SAMPLERS["unipc"], guided, None, ranges=ranges)
    return work_of(jax.jit(function).lower(params, conditions).compile()).flops


def test_without_guidance_the_unconditional_branch_is_not_computed():
    whole, none = flops(True, Ranges()), flops(False, Ranges())
    assert flops(True, Ranges(guided=(0, 0))) == pytest.approx(none, rel=1e-3)
    assert flops(True, Ranges(guided=(1, 3))) == pytest.approx((2 * whole + 4 * none) / 6, rel=0.03)
    assert whole > 1.9 * none


@pytest.mark.parametrize("evaluations", [(0, None), (0, 4), (2, 6), (5, 6)])
@pytest.mark.parametrize("guided", [(0, None), (0, 0), (1, 3), (3, 6), (6, 6), (4, 2)])
def test_every_evaluation_runs_once_and_in_order(evaluations, guided):
    made = [(number, on) for on, span in Ranges(evaluations, guided).parts(6) for number in range(*span)]
    wanted = range(6)[slice(*evaluations)]
    assert made == [(number, number in range(6)[slice(*guided)]) for number in wanted]


def test_a_full_guidance_interval_changes_nothing_and_an_empty_one_removes_guidance(tiny_model):
    pipeline = sorajax.load(tiny_model)

    def frames(**settings):
        return next(iter(pipeline("a red ball", steps=4, **settings))).frames.astype(int)

    assert np.array_equal(frames(guidance_interval=(0, 1)), frames())
    assert np.abs(frames(guidance_interval=(0, 0.01)) - frames(guidance_scale=1)).max() <= 1
    some = pipeline("a red ball", steps=4, guidance_scale=40, guidance_interval=(0.6, 0.95))[0]
    assert some.metadata["guidance_interval"] == [0.6, 0.95]
    assert np.abs(some.frames - frames(guidance_scale=40)).max() > 1


def test_an_error_in_the_decoding_thread_is_raised_in_the_caller():
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)
