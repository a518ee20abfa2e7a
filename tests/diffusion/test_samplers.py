"""Laws of the samplers: exactness, order of convergence, and frames that must not move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.diffusion.fixed_frames import FixedLatents, hold_fixed, initial
from sorajax.diffusion.flow import frame_time, schedule, whole_times
from sorajax.diffusion.samplers import SAMPLERS, SOLVERS, coefficients, moments

SHAPE = (2, 3, 2, 2, 1)
ORDERS = {"euler": 1, "heun": 2, "unipc": 2, "dpmpp_2m": 2}
parametrize_samplers = pytest.mark.parametrize("name", SOLVERS)


def noise_of(seed):
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)


def point_mass(target):
    """The flow's velocity when all data is one point."""
    return lambda x, time: (x - target) / frame_time(time)


def gaussian(mean, std):
    """The flow's velocity for data ~ N(mean, std^2), and the map from noise to data that its exact solution gives."""

    def velocity(x, time):
        time = frame_time(time)
        variance = ((1 - time) * std) ** 2 + time**2
        slope = (time - (1 - time) * std**2) / variance
        return -mean + slope * (x - (1 - time) * mean)

    return velocity, lambda noise: mean + std * noise


@parametrize_samplers
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_every_sampler_is_exact_on_a_point_mass(name, steps, shift):
    x = jax.jit(SOLVERS[name], static_argnums=0)(point_mass(target := noise_of(1)), noise_of(2), schedule(steps, shift))
    np.testing.assert_allclose(x, target, atol=2e-6)


@parametrize_samplers
def test_samplers_converge_at_their_order_on_a_gaussian(name):
    velocity, solution = gaussian(mean=1.0, std=0.5)
    noise = noise_of(0)
    sampler = jax.jit(SOLVERS[name], static_argnums=0)
    errors = [np.abs(sampler(velocity, noise, schedule(steps)) - solution(noise)).max() for steps in (80, 160, 320)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(orders > ORDERS[name] - 0.3), (errors, orders)


def test_second_order_beats_first_at_equal_steps():
    velocity, solution = gaussian(mean=1.0, std=0.2)
    noise = noise_of(0)
    made = jax.jit(lambda noise: {name: solver(velocity, noise, schedule(12)) for name, solver in SOLVERS.items()})(
        noise
    )
    error = {name: np.abs(x - solution(noise)).max() for name, x in made.items()}
    assert max(error["heun"], error["unipc"], error["dpmpp_2m"]) < 0.7 * error["euler"], error


@parametrize_samplers
@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_sampling_split_in_two_equals_the_whole(name, cut):
    velocity, _ = gaussian(mean=0.3, std=0.7)
    sampler, noise, times = SOLVERS[name], noise_of(0), schedule(9, 3.0)

    def part(state, first, stop):
        return sampler.advance(velocity, state, jax.tree.map(lambda row: row[first:stop], sampler.rows(times)))

    parted = jax.jit(lambda noise: part(part(sampler.begin(noise), 0, cut), cut, None)[0])(noise)
    np.testing.assert_allclose(parted, jax.jit(sampler, static_argnums=0)(velocity, noise, times), atol=1e-6)


@parametrize_samplers
def test_fixed_frames_are_unchanged_to_the_bit(name):
    latent, noise = noise_of(3), noise_of(4)
    known = FixedLatents(latent, jnp.array([[True, False, False], [False, True, True]]))
    velocity, _ = gaussian(mean=0.3, std=0.7)
    run = jax.jit(
        lambda noise: SOLVERS[name](hold_fixed(velocity, known, noise), initial(known, noise), schedule(6, 3.0))
    )
    x = run(noise)
    mask = np.asarray(known.mask)
    assert np.array_equal(np.asarray(x)[mask], np.asarray(latent)[mask])
    assert not np.isclose(np.asarray(x)[~mask], np.asarray(latent)[~mask]).any()


@parametrize_samplers
def test_the_velocity_is_compiled_once(name):
    traces = []

    def velocity(x, time):
        traces.append(time.shape)
        return x

    jax.jit(lambda x: SOLVERS[name](velocity, x, schedule(9)))(jnp.ones(SHAPE))
    assert traces == [SHAPE[:2]]


def test_unipc_repeats_the_paper_formulas():
    """A plain transcription of algorithms 5 and 8 in float64, on a velocity that is not linear."""
    times = np.asarray(schedule(8, 3.0, start=0.97), np.float64)
    velocity = lambda x, time: np.sin(3 * x) + time * x  # noqa: E731
    x0 = np.linspace(-2, 2, 12)
    ours = jax.jit(SOLVERS["unipc"], static_argnums=0)(
        lambda x, time: jnp.sin(3 * x) + frame_time(time) * x,
        np.float32(x0).reshape(1, 1, 3, 4, 1),
        np.float32(times),
    )
    np.testing.assert_allclose(np.asarray(ours).ravel(), reference_unipc(velocity, x0, times), atol=2e-5)


def reference_unipc(velocity, x, times):
    """Multistep UniPC-2 (bh2, data prediction) with the 2x2 system solved as the paper writes it."""
    logsnr = np.log(1 - times) - np.log(np.maximum(times, 1e-300))
    history, steps = [], len(times) - 1
    last, last_order = x, 0
    for i in range(steps):
        data = x - times[i] * velocity(x, times[i])
        if i:
            x = step_between(last, times, logsnr, i - 1, history, last_order, corrected=data)
        history.append(data)
        last, last_order = x, min(2, i + 1, steps - i)
        x = step_between(x, times, logsnr, i, history, last_order)
    return x


def step_between(x, times, logsnr, i, history, order, corrected=None):
    if times[i + 1] == 0:
        return history[-1]
    h = logsnr[i + 1] - logsnr[i]
    z, alpha, b_h = -h, 1 - times[i + 1], np.expm1(-h)
    base = times[i + 1] / times[i] * x - alpha * np.expm1(z) * history[-1]
    ratios = [(logsnr[i - 1] - logsnr[i]) / h] if order == 2 else []
    slopes = [(history[-2] - history[-1]) / ratios[0]] if order == 2 else []
    if corrected is None:
        return base - alpha * b_h * 0.5 * slopes[0] if order == 2 else base
    phi, factorial, right = np.expm1(z) / z - 1, 1, []
    for k in range(1, order + 1):
        right.append(phi * factorial / b_h)
        factorial *= k + 1
        phi = phi / z - 1 / factorial
    nodes = np.array([*ratios, 1.0])
    weights = np.linalg.solve(np.stack([nodes**k for k in range(order)]), right) if order == 2 else [0.5]
    return base - alpha * b_h * sum(w * d for w, d in zip(weights, [*slopes, corrected - history[-1]], strict=True))


def test_the_series_for_small_steps_meets_the_closed_form():
    z = np.array([-1.001, -0.999, -8.0], np.float32)
    first, second = (np.asarray(m, np.float64) for m in jax.jit(moments)(z))
    exact = 1 / np.float64(z) - 1 / np.expm1(np.float64(z))
    np.testing.assert_allclose(first, exact, rtol=2e-6)
    np.testing.assert_allclose(second, (2 * exact - 1) / np.float64(z) + exact, rtol=5e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 30])
def test_coefficients_are_finite_at_both_ends(steps):
    assert all(np.isfinite(weights).all() for weights in jax.jit(coefficients)(schedule(steps)))


@pytest.mark.parity
@pytest.mark.parametrize(("name", "theirs"), [("unipc", "UniPC"), ("dpmpp_2m", "DPMSolver")])
@pytest.mark.parametrize("shift", [3.0, 5.0])
def test_fifty_steps_agree_with_the_reference(name, theirs, shift):
    """The whole trajectory on a fixed velocity, at the reference's own times, which for UniPC are our schedule's."""
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
    scheduler = getattr(diffusers, f"{theirs}MultistepScheduler")(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift
    )
    scheduler.set_timesteps(50)
    times = scheduler.sigmas.numpy()
    if name == "unipc":
        ours = schedule(50, shift, last=0.001)
        np.testing.assert_allclose(ours, times, atol=1.1e-6)  # theirs begin at 1 - 1e-6
        assert np.array_equal(np.round(1000 * whole_times(ours))[:-1], scheduler.timesteps.numpy())
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x = torch.tensor(noise)
    for step, time in enumerate(scheduler.timesteps):
        velocity = torch.sin(2 * x) + float(times[step]) * x / 2 + 0.3
        x = scheduler.step(velocity, time, x, return_dict=False)[0]
    field = lambda x, time: jnp.sin(2 * x) + frame_time(time) * x / 2 + 0.3  # noqa: E731
    found = jax.jit(lambda noise: SOLVERS[name](field, noise, jnp.asarray(times)))(noise)
    np.testing.assert_allclose(found, x.numpy(), atol=1e-4 * np.abs(x.numpy()).max())


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_time_of_each_evaluation_needs_no_other_row(name):
    times = np.asarray(schedule(5, 3.0))
    assert np.array_equal(SAMPLERS[name].evaluated(times), SAMPLERS[name].rows(jnp.asarray(times))[0])
