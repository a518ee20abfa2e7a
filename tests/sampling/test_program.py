"""Which transformer of a model makes which evaluations."""

from dataclasses import replace

import numpy as np

from sorajax.diffusion.flow import schedule
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.sampling.program import expert_ranges
from tests.conftest import TINY


def test_a_single_transformer_makes_all_evaluations():
    assert expert_ranges(TINY, SAMPLERS["unipc"], schedule(4)) == {"dit": (0, None)}


def test_of_two_experts_the_second_goes_on_where_the_boundary_is_passed():
    pair, times = replace(TINY, boundary=0.875), schedule(4, 12.0)  # 1, 0.973, 0.923, 0.8, 0
    assert expert_ranges(pair, SAMPLERS["unipc"], times) == {"dit": (0, 3), "dit_low": (3, 4)}
    assert expert_ranges(pair, SAMPLERS["heun"], times) == {"dit": (0, 5), "dit_low": (5, 7)}
    assert expert_ranges(pair, SAMPLERS["euler"], np.array([0.5, 0.2, 0.0], np.float32)) == {"dit_low": (0, 2)}


def test_the_boundary_is_passed_in_the_times_that_the_transformer_sees():
    times = np.array([0.9, 0.8996, 0.2, 0.0], np.float32)  # in whole thousandths 0.9, 0.899
    assert expert_ranges(replace(TINY, boundary=0.9), SAMPLERS["euler"], times)["dit"] == (0, 1)
    assert expert_ranges(replace(TINY, boundary=0.8995), SAMPLERS["euler"], times)["dit"] == (0, 2)
    assert expert_ranges(replace(TINY, boundary=0.8995, whole_times=True), SAMPLERS["euler"], times)["dit"] == (0, 1)
