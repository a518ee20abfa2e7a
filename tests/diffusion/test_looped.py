"""Laws of loops: no place in a cycle is special, and views that agree change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.flow import schedule
from sorajax.diffusion.looped import Cycle, looped
from sorajax.diffusion.samplers import euler

CYCLES = [Cycle(8, 8), Cycle(12, 4), Cycle(5, 4), Cycle(2, 8), Cycle(3, 1)]


def state(cycle: Cycle) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, cycle.latents, 2, 1, 3), np.float32)


def causal(x, time):
    """A velocity that depends on the place in the clip and on all that comes before it."""
    return jnp.cumsum(x, 1) * jnp.cos(jnp.arange(x.shape[1]))[:, None, None, None] + time[..., None, None, None]


@pytest.mark.parametrize("cycle", CYCLES)
def test_every_latent_of_a_loop_is_inside_a_view(cycle):
    views = cycle.views
    assert set(views.ravel()) == set(range(cycle.size))
    inside = views[:, cycle.length // 4 : cycle.length - cycle.length // 4]
    assert cycle.length < 4 or set(inside.ravel()) == set(range(cycle.size))


@pytest.mark.parametrize("cycle", CYCLES)
def test_a_velocity_that_sees_no_neighbours_is_the_same_in_a_loop(cycle):
    x, time = state(cycle), np.full((2, cycle.latents), 0.3, np.float32)
    velocity = lambda x, time: jnp.sin(x) * time[..., None, None, None]  # noqa: E731
    np.testing.assert_allclose(jax.jit(looped(velocity, cycle))(x, time), 0.3 * np.sin(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cycle", [Cycle(8, 8), Cycle(12, 4), Cycle(8, 4)])
def test_a_loop_does_not_depend_on_where_its_views_begin(cycle):
    k = len(cycle.views)
    x, time = state(cycle), np.full((2, cycle.latents), 0.3, np.float32)

    def turn(x):
        return np.concatenate([np.roll(x[:, :k], -1, 1), np.roll(x[:, k:], -cycle.size // k, 1)], 1)

    velocity = jax.jit(looped(causal, cycle))
    np.testing.assert_allclose(velocity(turn(x), time), turn(velocity(x, time)), rtol=1e-4, atol=1e-5)


def test_sampling_a_cycle_reaches_the_data_of_a_point_mass():
    cycle = Cycle(6, 4)
    point = np.arange(3, dtype=np.float32)

    def velocity(x, time):
        return (x - point) / time[..., None, None, None]

    made = jax.jit(euler, static_argnums=0)(looped(velocity, cycle), state(cycle), schedule(4, 1.0))
    np.testing.assert_allclose(made, np.broadcast_to(point, made.shape), atol=1e-5)


def test_an_unrolled_loop_repeats_the_cycle():
    cycle = Cycle(6, 4)
    clip = np.asarray(jax.jit(cycle.unrolled)(state(cycle)))
    assert clip.shape[1] == 13
    assert np.array_equal(clip[:, 1:7], clip[:, 7:])
