"""Post-hoc averages: a width that was tracked comes back exactly, one that was not nearly so; training is unchanged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sorajax.training import posthoc
from sorajax.training.loop import fit
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from tests.training.test_loop import Interrupted, one, same
from tests.training.toy import toy, toy_batches, toy_loop

TRACKED = (0.05, 0.1)


def walk(steps=1024, size=6):
    """Parameters that wander as those of a model do: a drift that slows down, and noise."""
    rng = np.random.default_rng(0)
    drift = np.log1p(np.arange(1, steps + 1))[:, None] * rng.normal(size=size)
    return (drift + np.cumsum(0.05 * rng.normal(size=(steps, size)), 0)).astype(np.float32)


def averaged(trajectory, sigma):
    """The average at every update."""
    return np.asarray(moved(trajectory, posthoc.exponent(sigma)))


@jax.jit
def moved(trajectory, gamma):
    def step(average, given):
        average = posthoc.moved(average, *given, gamma)
        return average, average

    counts = jnp.arange(1, len(trajectory) + 1)
    return jax.lax.scan(step, jnp.zeros(trajectory.shape[1]), (trajectory, counts))[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Snapshots of two widths, 32 moments, in float32."""
    directory, trajectory = tmp_path_factory.mktemp("run"), walk()
    tracked = [averaged(trajectory, sigma) for sigma in TRACKED]
    for step in range(32, 1025, 32):
        trees = tuple({"w": {"kernel": average[step - 1]}} for average in tracked)
        posthoc.write_snapshot(directory, step, posthoc.PowerAverages(jnp.int32(step), trees), TRACKED, "float32")
    return directory, trajectory


def rebuilt(directory, sigma, updates, step=None):
    snapshots = posthoc.read_snapshots(directory, step)
    factors, error = posthoc.solve(snapshots, sigma, updates)
    return posthoc.combine(snapshots, factors)["w"]["kernel"], error


def width(gamma):
    """The relative width of a power function of this exponent."""
    return float(np.sqrt(gamma + 1) / ((gamma + 2) * np.sqrt(gamma + 3)))


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_width_and_exponent_are_inverse(sigma):
    assert width(posthoc.exponent(sigma)) == pytest.approx(sigma, rel=1e-9)


def test_the_average_weights_steps_by_a_power_of_time():
    trajectory, gamma = walk(200), posthoc.exponent(0.1)
    edges = np.arange(201.0) ** (gamma + 1) / 200.0 ** (gamma + 1)
    np.testing.assert_allclose(averaged(trajectory, 0.1)[-1], np.diff(edges) @ trajectory, rtol=1e-4)


@pytest.mark.parametrize(("sigma", "updates"), [(0.05, 1024), (0.1, 1024), (0.05, 512), (0.1, 544)])
def test_a_width_that_was_tracked_is_exact(run, sigma, updates):
    found, error = rebuilt(run[0], sigma, updates)
    np.testing.assert_allclose(found, averaged(run[1], sigma)[updates - 1], rtol=1e-5)
    assert error < 1e-5


@pytest.mark.parametrize(("sigma", "updates"), [(0.07, 1024), (0.08, 1024), (0.15, 1024), (0.08, 640)])
def test_an_untracked_width_equals_tracking_it(run, sigma, updates):
    found, error = rebuilt(run[0], sigma, updates)
    expected, plain = averaged(run[1], sigma)[updates - 1], averaged(run[1], 0.05)[updates - 1]
    assert np.abs(found - expected).max() < 0.02 * np.abs(plain - expected).max()
    assert error < 0.02


def test_later_snapshots_can_be_left_out(run):
    assert np.abs(rebuilt(run[0], 0.08, 512, 512)[0] - averaged(run[1], 0.08)[511]).max() < 0.01
    assert rebuilt(run[0], 0.005, 1024)[1] > 0.1  # narrower than anything that was kept
    with pytest.raises(ValueError, match="no averages as early as step 8"):
        posthoc.read_snapshots(run[0], 8)
    with pytest.raises(FileNotFoundError, match="holds no averages: train with"):
        posthoc.read_snapshots(run[0] / "nothing")


def optimizer(**changes):
    return OptimizerConfig(learning_rate=3e-2, warmup=2, **changes)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_tracking_changes_no_update_and_counts_updates(accumulation):
    plain = make_optimizer(optimizer(accumulation=accumulation), 20)
    tracking = make_optimizer(optimizer(accumulation=accumulation, posthoc=TRACKED), 20)
    params = other = {"w": {"kernel": jnp.ones((3, 2))}}
    state, tracked = plain.init(params), tracking.init(other)
    seen = []
    for step in range(6):
        gradient = jax.tree.map(lambda x: x * (step + 1), params)  # noqa: B023
        change, state = plain.update(gradient, state, params)
        same_change, tracked = tracking.update(gradient, tracked, other)
        params, other = optax.apply_updates(params, change), optax.apply_updates(other, same_change)
        assert same(params, other)
        if (step + 1) % accumulation == 0:
            seen.append(np.asarray(params["w"]["kernel"]).reshape(-1))
    found = posthoc.averages_in(tracked)
    assert int(found.updates) == len(seen) == 6 // accumulation
    assert posthoc.averages_in(state) is None
    for sigma, tree in zip(TRACKED, found.averages, strict=True):
        np.testing.assert_allclose(tree["w"]["kernel"].reshape(-1), averaged(np.stack(seen), sigma)[-1], rtol=1e-6)


def test_a_resumed_run_tracks_and_writes_as_an_uninterrupted_one(tmp_path):
    loop = toy_loop(12, optimizer=optimizer(posthoc=TRACKED, snapshot_every=4), save_every=7)
    whole = fit(toy(), toy_batches(), loop, tmp_path / "whole", mesh=one())
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit(toy(), Interrupted(toy_batches(), 9), loop, stopped, mesh=one())
    assert same(whole, fit(toy(), toy_batches(), loop, stopped, resume=True, mesh=one()))
    snapshots = posthoc.read_snapshots(tmp_path / "whole")
    assert [(s.sigma, s.updates) for s in snapshots] == [(s, n) for n in (4, 8, 12) for s in TRACKED]
    pick = np.array([0, 0, 0, 0, 0, 1.0])
    last = posthoc.combine(snapshots, pick)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), last, posthoc.averages_in(whole.opt_state).averages[1]
    )
    again = posthoc.combine(posthoc.read_snapshots(stopped), pick)
    assert same(last, again)


@pytest.mark.parametrize("widths", [(0.0,), (0.3,), (0.05, 0.05)])
def test_an_impossible_width_is_one_line(widths):
    with pytest.raises(ValueError, match=r"optimizer\.posthoc"):
        OptimizerConfig(posthoc=widths)
