"""Laws of the flow: its ends, its velocity, its clocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.flow import interpolate, logit_normal, schedule, shift_time, velocity_target

DATA = jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 4))
NOISE = jax.random.normal(jax.random.key(1), (2, 3, 2, 2, 4))


def test_the_path_runs_from_data_to_noise():
    assert np.array_equal(interpolate(DATA, NOISE, 0.0), DATA)
    assert np.array_equal(interpolate(DATA, NOISE, 1.0), NOISE)


def test_each_frame_is_noised_to_its_own_time():
    time = jnp.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.25]])
    x = interpolate(DATA, NOISE, time)
    assert np.array_equal(x[0, 0], DATA[0, 0])
    assert np.array_equal(x[1, 0], NOISE[1, 0])
    np.testing.assert_allclose(x[1, 2], 0.75 * DATA[1, 2] + 0.25 * NOISE[1, 2], rtol=1e-6)


def test_the_velocity_is_the_derivative_along_the_path():
    _, slope = jax.jvp(lambda time: interpolate(DATA, NOISE, time), (0.3,), (1.0,))
    np.testing.assert_allclose(slope, velocity_target(DATA, NOISE), rtol=1e-6)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 8.0])
def test_the_timestep_shift_keeps_0_and_1_and_has_an_inverse(shift):
    time = jnp.linspace(0, 1, 11)
    shifted = shift_time(time, shift)
    assert shifted[0] == 0
    assert shifted[-1] == 1
    assert (jnp.diff(shifted) > 0).all()
    np.testing.assert_allclose(shift_time(shifted, 1 / shift), time, atol=1e-6)


@pytest.mark.parametrize("start", [1.0, 0.6])
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_the_schedule_falls_from_start_to_zero(start, shift):
    times = np.asarray(schedule(7, shift, start))
    assert times.shape == (8,)
    assert times[0] == np.float32(start)
    assert times[-1] == 0
    assert (np.diff(times) < 0).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0,), "0 steps"), ((5, -1.0), "shift -1"), ((5, 1.0, 0.0), "start 0"), ((5, 1.0, 2.0), "start 2")],
)
def test_wrong_schedules_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        schedule(*arguments)


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 12.0])
@pytest.mark.parametrize("within", [(0.9, 1.0), (0.875, 1.0), (0.0, 0.9), (0.6, 0.8)])
def test_an_experts_training_times_are_on_its_side_of_the_boundary(within, shift):
    time = logit_normal(jax.random.key(0), (4096,), shift=shift, within=within)
    assert within[0] - 1e-5 <= float(time.min()) < float(time.max()) <= within[1] + 1e-5


def test_logit_normal_times_lie_inside_and_centre_on_the_shifted_mean():
    time = logit_normal(jax.random.key(0), (4096,), mean=0.0, std=1.0, shift=3.0)
    assert (time > 0).all()
    assert (time < 1).all()
    assert abs(float(jnp.median(time)) - 0.75) < 0.02
