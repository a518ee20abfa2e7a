"""Laws of guidance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.guidance import guided, guided_evaluations, guided_pair

X = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
TIME = jnp.full((2, 3), 0.5)


def velocity(x, time):
    return 2 * x


def velocity_null(x, time):
    return jnp.sin(x)


def test_scale_one_is_the_conditional_velocity():
    assert np.array_equal(guided(velocity, velocity_null, 1.0)(X, TIME), velocity(X, TIME))


def test_scale_zero_is_the_unconditional_velocity():
    np.testing.assert_allclose(guided(velocity, velocity_null, 0.0)(X, TIME), velocity_null(X, TIME), atol=1e-6)


def test_guidance_is_equation_6_of_ho_and_salimans():
    plain, null = velocity(X, TIME), velocity_null(X, TIME)
    np.testing.assert_allclose(guided(velocity, velocity_null, 5.0)(X, TIME), null + 5 * (plain - null), atol=1e-5)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.0, 1.0), (0, 5)), ((0.25, 0.9), (1, 4)), ((0.3, 1.0), (0, 3)), ((0.6, 0.7), (2, 2)), ((0.0, 0.1), (5, 5))],
)
def test_only_times_in_the_guidance_interval_are_guided(interval, expected):
    times = np.array([1.0, 0.9, 0.5, 0.25, 0.2], np.float32)
    assert guided_evaluations(times, interval) == expected


def test_one_batched_call_equals_two_calls():
    pair = guided_pair(lambda x, time: (velocity(x, time), velocity_null(x, time)), 3.0)
    assert np.array_equal(pair(X, TIME), guided(velocity, velocity_null, 3.0)(X, TIME))
