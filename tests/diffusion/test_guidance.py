"""Laws of guidance."""

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.diffusion.guidance import contrast, guided, guided_pair

X = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
TIME = jnp.full((2, 3), 0.5)


def velocity(x, time):
    return 2 * x


def velocity_null(x, time):
    return jnp.sin(x)


def test_scale_one_is_no_guidance():
    assert np.array_equal(guided(velocity, velocity_null, 1.0)(X, TIME), velocity(X, TIME))


def test_scale_zero_is_the_null_velocity():
    np.testing.assert_allclose(guided(velocity, velocity_null, 0.0)(X, TIME), velocity_null(X, TIME), atol=1e-6)


def test_equation_six():
    plain, null = velocity(X, TIME), velocity_null(X, TIME)
    np.testing.assert_allclose(guided(velocity, velocity_null, 5.0)(X, TIME), null + 5 * (plain - null), atol=1e-5)


def test_frames_outside_the_interval_are_not_guided():
    time = jnp.array([[0.1, 0.5, 0.9]] * 2)
    v = guided(velocity, velocity_null, 4.0, interval=(0.2, 0.8))(X, time)
    plain = velocity(X, time)
    assert np.array_equal(v[:, [0, 2]], plain[:, [0, 2]])
    assert not np.allclose(v[:, 1], plain[:, 1])


def test_full_rescale_restores_the_contrast_of_the_plain_velocity():
    v = guided(velocity, velocity_null, 6.0, rescale=1.0)(X, TIME)
    np.testing.assert_allclose(contrast(v), contrast(velocity(X, TIME)), rtol=1e-5)


def test_one_call_for_both_equals_two():
    pair = guided_pair(lambda x, time: (velocity(x, time), velocity_null(x, time)), 3.0, 0.4)
    assert np.array_equal(pair(X, TIME), guided(velocity, velocity_null, 3.0, 0.4)(X, TIME))
