"""Targets of a flow map, on a velocity whose trajectories are known."""

from functools import partial

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
    random_scales,
    times_from,
    trajectory,
)

SHAPE = (3, 2, 2, 2, 1)
NOISE = np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def velocity(x, time):
    """dx/dt = x: trajectories are x_0 exp(t), mean velocities x (1 - exp(r - t)) / (t - r)."""
    return x


def mean_velocity(x, time, until):
    gap = frame_time(jnp.maximum(time - until, 1e-3))
    return x * (1 - jnp.exp(-gap)) / gap


pairs_of = jax.jit(random_pairs, static_argnums=(1, 2, 3, 4))


def test_guidance_scales_have_the_density_of_their_inverse():
    scales = np.asarray(random_scales(jax.random.key(1), 4000, (1.0, 9.0), 5.0))
    drawn = scales[scales != 5.0]
    assert len(drawn) == pytest.approx(2000, abs=150)
    assert (drawn.min() >= 1, drawn.max() <= 9) == (True, True)
    assert np.mean(drawn < 3) == pytest.approx(0.5, abs=0.04)  # log 3 is half of log 9


def test_pairs_of_times_are_ordered_and_on_the_requested_schedules():
    first, last = map(np.asarray, pairs_of(jax.random.key(1), (40, 50), 12, (4, 2, 1), 1.0))
    sizes = last - first
    assert set(np.unique(sizes)) == {3, 6, 12}
    assert (first % sizes == 0).all()
    assert last.max() == 12
    first, last = map(np.asarray, pairs_of(jax.random.key(1), (40, 50), 12, (1,), 0.0))
    assert (first < last).all()
    assert first.min() == 0
    assert last.max() == 12
    assert len(np.unique(last - first)) == 12


@pytest.mark.parametrize("start", [1.0, 0.4])
def test_times_are_those_of_the_schedule(start):
    np.testing.assert_allclose(times_from(jnp.float32(start), 8, 3.0), schedule(8, 3.0, start), atol=1e-6)


path = jax.jit(lambda solver, noise, times: trajectory(solver, velocity, noise, times), static_argnums=0)


@pytest.mark.parametrize("name", ["euler", "unipc"])
def test_trajectory_ends_where_the_sampler_does(name):
    times = schedule(6, 3.0)
    latents = path(SOLVERS[name], NOISE, times)
    np.testing.assert_array_equal(latents[0], NOISE)
    sampler = jax.jit(SOLVERS[name], static_argnums=0)
    np.testing.assert_allclose(latents[-1], sampler(velocity, NOISE, times), rtol=1e-5)


def test_targets_on_a_trajectory_lead_from_one_time_to_the_other():
    times = schedule(6, 3.0)
    latents = path(SOLVERS["unipc"], NOISE, times)
    generated = np.ones(SHAPE[:2], np.float32)
    generated[:, 0] = 0
    pairs = pairs_of(jax.random.key(2), (5, SHAPE[0]), 6, (2, 1), 0.5)
    x, time, until, target = map(np.asarray, jax.jit(on_trajectories)(latents, times, generated, pairs))
    level, last = (np.asarray(times)[np.asarray(index)].reshape(-1, 1) for index in pairs)
    end = np.asarray(latents)[np.ravel(pairs[1]), np.tile(np.arange(SHAPE[0]), 5)]
    np.testing.assert_allclose(x - (level - last)[..., None, None, None] * target, end, atol=1e-5)
    assert np.all(time[:, 0] == 0)
    assert np.all(until[:, 0] == 0)
    np.testing.assert_array_equal(time[:, 1:], level)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_a_perfect_student_is_its_own_target(name):
    @jax.jit
    def targets():
        points = random_points(jax.random.key(3), no_fixed_frames(SHAPE), NOISE, jnp.ones(SHAPE[:2]), 3.0)
        return by_student(
            jax.random.key(4), DERIVATIVES[name], velocity, mean_velocity, points, least_jump=0.0, calm=1.0
        )

    x, time, until, target = targets()
    assert np.max(np.asarray(time) - np.asarray(until)) > 0.3
    np.testing.assert_allclose(target, jax.jit(mean_velocity)(x, time, until), atol=2e-3)


def test_a_jump_is_a_step_of_the_teacher_and_then_the_student():
    time, until = np.full(SHAPE[:2], 0.8, np.float32), np.full(SHAPE[:2], 0.1, np.float32)
    target = jax.jit(partial(jump_target, mean_velocity))
    expected = np.asarray(jax.jit(mean_velocity)(NOISE, time, until))
    errors = [
        np.abs(target(NOISE, NOISE, time, until, np.full((3, 1), step, np.float32)) - expected).max()
        for step in (0.1, 0.01)
    ]
    assert errors[1] < 1e-3
    assert errors[1] < errors[0] / 50
    whole = target(2 * NOISE, NOISE, time, until, time - until)
    np.testing.assert_allclose(whole, 2 * NOISE, atol=1e-6)  # all of the way by the teacher's velocity


def test_late_times_have_jumps_for_derivatives():
    @jax.jit
    def targets():
        points = random_points(jax.random.key(5), no_fixed_frames(SHAPE), NOISE, jnp.ones(SHAPE[:2]), 3.0)
        key, options = jax.random.key(6), {"least_jump": 0.2, "calm": 0.0}
        return [by_student(key, d, velocity, mean_velocity, points, **options).target for d in (None, derivative)]

    derivative = DERIVATIVES["derivative"]
    np.testing.assert_array_equal(*targets())


def test_the_flow_map_sampler_needs_one_step():
    end = NOISE * np.exp(-1.0)
    for steps in (1, 2, 5):
        found = jax.jit(flow_map, static_argnums=0)(mean_velocity, NOISE, schedule(steps, 3.0))
        np.testing.assert_allclose(found, end, atol=1e-4)
