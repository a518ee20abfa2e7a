"""Laws of step caching: what is left out, and what stays exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.caching import EasyCache, MagCache, Recording, Reuses, advance, calibrated
from sorajax.diffusion.flow import schedule
from sorajax.diffusion.samplers import SOLVERS

X = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
DATA = jax.random.normal(jax.random.key(1), X.shape)
TIMES = np.asarray(schedule(10, 3.0))


def run(cache, velocity, sampler="euler", x=X):
    """The result of sampling with a cache, and the times of the evaluations that were computed."""
    computed, solver = [], SOLVERS[sampler]

    def counted(x, time):
        jax.debug.callback(lambda time: computed.append(float(time)), time.max())
        return velocity(x, time)

    rows = solver.rows(jnp.asarray(TIMES))
    made = jax.jit(lambda x: advance(solver, counted, cache, solver.begin(x), rows, (0, len(rows[0])))[0])(x)
    jax.effects_barrier()
    return made, sorted(computed, reverse=True)


def to_a_point(x, time):
    """The velocity to DATA, which is constant along each path."""
    return (x - DATA) / jnp.maximum(time, 1e-6)[..., None, None, None]


def turning(x, time):
    return jnp.sin(3 * x + 5 * time[..., None, None, None])


@pytest.mark.parametrize("sampler", SOLVERS)
def test_a_cache_that_reuses_nothing_is_the_sampler(sampler):
    """Each step evaluates once, at its state's first latent and its row's time."""
    rows = SOLVERS[sampler].rows(jnp.asarray(TIMES))
    expected = jax.jit(lambda x: SOLVERS[sampler](turning, x, jnp.asarray(TIMES)))(X)
    for cache in (Reuses((False,) * len(rows[0])), EasyCache(1e-9)):
        made, computed = run(cache, turning, sampler)
        np.testing.assert_allclose(made, expected, atol=1e-5)
        assert len(computed) == len(rows[0])


def test_a_constant_velocity_is_reused_without_error():
    for cache in (Reuses((False, *(True,) * 9)), EasyCache(0.05)):
        made, computed = run(cache, to_a_point)
        np.testing.assert_allclose(made, DATA, atol=1e-4)
        assert len(computed) <= 3


def test_a_higher_threshold_reuses_more_evaluations():
    counts = [len(run(EasyCache(threshold), turning)[1]) for threshold in (1e-9, 0.3, 1.0, 10.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 10
    assert counts[-1] == 3  # two for a rate, and the last


def test_zero_velocities_stay_zero_to_the_bit():
    def held(x, time):
        return turning(x, time).at[:, 0].set(0.0)

    made, computed = run(EasyCache(10.0), held)
    assert len(computed) == 3
    assert np.array_equal(made[:, 0], X[:, 0])
    assert not np.allclose(made[:, 1], X[:, 1])


def test_a_reuse_ends_when_its_errors_add_up_to_the_threshold():
    times = np.linspace(1, 0.1, 10)
    steady = MagCache(tuple(times), (1.0,) * 10, 0.01).schedule(times)
    assert steady.reused == (False, False, True, True, True, False, True, True, True, False)  # at most 3 in a row
    falling = MagCache(tuple(times), (1.0,) + (0.9,) * 9, 0.15).schedule(times)
    assert falling.reused == (False, False, True, False, True, False, True, False, True, False)
    assert not any(MagCache(tuple(times), (1.0,) + (0.9,) * 9, 0.05).schedule(times).reused)


def test_calibrated_magnitudes_are_interpolated_in_time():
    """Twice as many steps: each changes half as much, so the same threshold reuses twice as often in a row."""
    times = np.linspace(1, 0.1, 10)
    cache = MagCache(tuple(times), (1.0,) + (0.9,) * 9, 0.16)
    reused = cache.schedule(np.linspace(1, 0.1, 19)).reused
    assert reused[4:10] == (True, True, False, True, True, False)


def test_a_recorded_sampling_gives_the_calibration():
    """The velocity -x of euler's steps shrinks by known factors; fixed frames do not count."""
    magnitudes = {}
    cache = Recording(lambda time, magnitude: magnitudes.__setitem__(float(time), np.asarray(magnitude)))
    _, computed = run(cache, lambda x, time: x.at[:, 0].set(0.0))
    measured = calibrated(magnitudes, 0.1)
    assert measured.times == tuple(computed)
    np.testing.assert_allclose(measured.times, TIMES[:-1], atol=1e-6)
    np.testing.assert_allclose(measured.ratios, [1.0, *(1 + np.diff(TIMES)[:-1])], rtol=1e-4)
