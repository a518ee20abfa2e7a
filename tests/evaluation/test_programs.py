"""A program that is timed computes what the function computes, and its figures are those of one device."""

import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.evaluation.programs import measure_function, ready
from sorajax.evaluation.speed import normal


def test_a_program_computes_its_function():
    a, b = normal(8, 16), normal(16, 4, seed=1)
    program = ready(jnp.matmul, a, b)
    np.testing.assert_allclose(program.call(), a @ b, atol=1e-5)
    assert program.flops == 2 * 8 * 16 * 4
    assert program.compile_seconds > 0


def test_figures_agree_with_each_other():
    found = measure_function(jnp.matmul, 3, normal(8, 16), normal(16, 4, seed=1))
    assert found.flops == 2 * 8 * 16 * 4
    assert found.flops_per_second * found.seconds == pytest.approx(found.flops)
    assert 0 < found.fastest <= found.seconds
    assert found.frames_per_second is None
