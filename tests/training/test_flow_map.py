"""Targets of a flow map, on a velocity whose trajectories are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.fixed_frames import no_fixed_frames
from sorajax.diffusion.flow import frame_time, schedule
from sorajax.diffusion.samplers import SOLVERS, flow_map
from sorajax.training.flow_map import (
    DERIVATIVES,
    by_student,
    jump_target,
    on_trajectories,
    random_pairs,
    random_points,
    times_from,
    trajectory,
)

SHAPE = (3, 2, 2, 2, 1)
NOISE = jax.random.normal(jax.random.key(0), SHAPE)


def velocity(x, time):
    """dx/dt = x: trajectories are x_0 exp(t), mean velocities x (1 - exp(r - t)) / (t - r)."""
    return x


def mean_velocity(x, time, until):
    gap = frame_time(jnp.maximum(time - until, 1e-3))
    return x * (1 - jnp.exp(-gap)) / gap


def test_pairs_of_times_are_ordered_and_on_the_requested_schedules():
    first, last = random_pairs(jax.random.key(1), (40, 50), 12, (4, 2, 1), 1.0)
    sizes = np.asarray(last - first)
    assert set(np.unique(sizes)) == {3, 6, 12}
    assert (np.asarray(first) % sizes == 0).all()
    assert np.asarray(last).max() == 12
    first, last = map(np.asarray, random_pairs(jax.random.key(1), (40, 50), 12, (1,), 0.0))
    assert (first < last).all()
    assert first.min() == 0
    assert last.max() == 12
    assert len(np.unique(last - first)) == 12


@pytest.mark.parametrize("start", [1.0, 0.4])
def test_times_are_those_of_the_schedule(start):
    np.testing.assert_allclose(times_from(jnp.float32(start), 8, 3.0), schedule(8, 3.0, start), atol=1e-6)


@pytest.mark.parametrize("name", ["euler", "unipc"])
def test_trajectory_ends_where_the_sampler_does(name):
    times = schedule(6, 3.0)
    latents = trajectory(SOLVERS[name], velocity, NOISE, times)
    np.testing.assert_array_equal(latents[0], NOISE)
    np.testing.assert_allclose(latents[-1], SOLVERS[name](velocity, NOISE, times), rtol=1e-5)


def test_targets_on_a_trajectory_lead_from_one_time_to_the_other():
    times = schedule(6, 3.0)
    latents = trajectory(SOLVERS["unipc"], velocity, NOISE, times)
    generated = jnp.ones(SHAPE[:2]).at[:, 0].set(0.0)
    pairs = random_pairs(jax.random.key(2), (5, SHAPE[0]), 6, (2, 1), 0.5)
    x, time, until, target = on_trajectories(latents, times, generated, pairs)
    level, last = (times[index].reshape(-1, 1) for index in pairs)
    end = latents[pairs[1].reshape(-1), jnp.tile(jnp.arange(SHAPE[0]), 5)]
    np.testing.assert_allclose(x - frame_time(level - last) * target, end, atol=1e-5)
    assert np.all(time[:, 0] == 0)
    assert np.all(until[:, 0] == 0)
    np.testing.assert_array_equal(time[:, 1:], level)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_a_perfect_student_is_its_own_target(name):
    points = random_points(jax.random.key(3), no_fixed_frames(SHAPE), NOISE, jnp.ones(SHAPE[:2]), 3.0)
    x, time, until, target = by_student(
        jax.random.key(4), DERIVATIVES[name], velocity, mean_velocity, points, least_jump=0.0, calm=1.0
    )
    assert float(jnp.max(time - until)) > 0.3
    np.testing.assert_allclose(target, mean_velocity(x, time, until), atol=2e-3)


def test_a_jump_is_a_step_of_the_teacher_and_then_the_student():
    time, until = jnp.full(SHAPE[:2], 0.8), jnp.full(SHAPE[:2], 0.1)
    expected = mean_velocity(NOISE, time, until)
    errors = [
        jnp.abs(jump_target(mean_velocity, NOISE, NOISE, time, until, jnp.full((3, 1), step)) - expected).max()
        for step in (0.1, 0.01)
    ]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0] / 50
    whole = jump_target(mean_velocity, 2 * NOISE, NOISE, time, until, time - until)
    np.testing.assert_allclose(whole, 2 * NOISE, atol=1e-6)  # all of the way by the teacher's velocity


def test_late_times_have_jumps_for_derivatives():
    points = random_points(jax.random.key(5), no_fixed_frames(SHAPE), NOISE, jnp.ones(SHAPE[:2]), 3.0)
    key, options = jax.random.key(6), {"least_jump": 0.2, "calm": 0.0}
    jumps = by_student(key, None, velocity, mean_velocity, points, **options)
    derivatives = by_student(key, DERIVATIVES["derivative"], velocity, mean_velocity, points, **options)
    np.testing.assert_array_equal(jumps.target, derivatives.target)


def test_the_flow_map_sampler_needs_one_step():
    end = NOISE * np.exp(-1.0)
    for steps in (1, 2, 5):
        np.testing.assert_allclose(flow_map(mean_velocity, NOISE, schedule(steps, 3.0)), end, atol=1e-4)
