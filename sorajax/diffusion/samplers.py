"""Samplers: from noise to data along a velocity, in few evaluations.

Each is `sampler(velocity, x, times) -> x`, with falling `times` [steps + 1] that end at 0. All are written as an Euler
step plus a correction built from differences of estimates of the data, `data = x - time * velocity`. So frames whose
velocity is zero do not change by a bit, and a time of exactly 1 or 0, where the log-SNR

    logsnr = log((1 - time) / time),    h = difference of logsnr over a step

is infinite, needs no special number: the correction vanishes there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.diffusion.known import Latent, Velocity

Times = Float[Array, " steps+1"]
PerStep = Float[Array, " steps"]


def euler(velocity: Velocity, x: Latent, times: Times) -> Latent:
    """First order: one evaluation a step."""

    def step(x: Latent, span: tuple[Array, Array]) -> tuple[Latent, None]:
        time, following = span
        return x + (following - time) * velocity(x, everywhere(x, time)), None

    return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]


def heun(velocity: Velocity, x: Latent, times: Times) -> Latent:
    """Second order, two evaluations a step but one in the last (Karras et al. 2022, algorithm 1, in flow form).

    The scan runs over evaluations, the first and second of each step in turn, so the model is compiled once.
    """
    steps = times.size - 1
    start, second = np.divmod(np.arange(2 * steps - 1), 2)

    def evaluate(carry: tuple[Latent, Latent, Latent], row: tuple[Array, ...]) -> tuple[tuple, None]:
        x, trial, first = carry
        time, change, second = row
        slope = velocity(trial, everywhere(x, time))
        whole = x + change * jnp.where(second, (first + slope) / 2, slope)
        return (jnp.where(second, whole, x), whole, slope), None

    rows = (times[start + second], jnp.diff(times)[start], second == 1)
    return jax.lax.scan(evaluate, (x, x, x), rows)[0][1]


def dpmpp_2m(velocity: Velocity, x: Latent, times: Times) -> Latent:
    """DPM-Solver++ (2M): order 2 from the last two data estimates (Lu et al. 2022, algorithm 2); last step Euler."""
    weights = coefficients(times)

    def step(carry: tuple[Latent, Latent], row: tuple[Array, ...]) -> tuple[tuple, None]:
        x, older = carry
        time, blend, second = row
        data = x - time * velocity(x, everywhere(x, time))
        return (x + blend * (data - x) + second * (data - older), data), None

    return jax.lax.scan(step, (x, x), (times[:-1], weights.blend, weights.second))[0][0]


def unipc(velocity: Velocity, x: Latent, times: Times) -> Latent:
    """UniPC of order 2 with B(h) = e^h - 1 (Zhao et al. 2023, algorithms 5 and 8: data prediction, multistep).

    Each evaluation first corrects the step that led to it, then predicts the next; so the corrector costs nothing.
    """

    def step(carry: tuple[Latent, ...], row: tuple[Array, ...]) -> tuple[tuple, None]:
        predicted, start, older, oldest = carry
        time, blend, second, last_blend, correct_old, correct_new = row
        data = predicted - time * velocity(predicted, everywhere(x, time))
        corrected = start + last_blend * (older - start) + correct_old * (older - oldest) + correct_new * (data - older)
        following = corrected + blend * (data - corrected) + second * (data - older)
        return (following, corrected, data, older), None

    blend, second, correct_old, correct_new = coefficients(times)
    rows = (times[:-1], blend, second, before(blend), correct_old, correct_new)
    return jax.lax.scan(step, (x, x, x, x), rows)[0][0]


SAMPLERS = {"euler": euler, "heun": heun, "unipc": unipc, "dpmpp_2m": dpmpp_2m}


class Coefficients(NamedTuple):
    """Weights of the multistep rules, one per step; zero where there is no history yet, or where order 1 is called for.

    blend: of (data - x), the Euler step towards the data estimate. second: of (data - older), which extrapolates it.
    correct_old, correct_new: UniPC's, of (older - oldest) and (data - older), for the step that ends where this begins.
    """

    blend: PerStep
    second: PerStep
    correct_old: PerStep
    correct_new: PerStep


def coefficients(times: Times) -> Coefficients:
    """Order 1 in the first and the last step, 2 between them (and 1 again after a step of infinite h)."""
    step = jnp.arange(times.size - 1)
    blend = 1 - times[1:] / times[:-1]
    h = jnp.diff(jnp.log1p(-times) - jnp.log(times))
    ratio = h / before(h)
    second = jnp.where((step == 0) | (step == step.size - 1), 0.0, 0.5 * blend * ratio)
    first, moment = moments(-h)
    old = jnp.where(step == 0, 0.0, (first - moment) * ratio / (1 + ratio))
    correct_old = jnp.where(step == 0, 0.0, blend * old * ratio)
    correct_new = blend * jnp.where(step == 0, 0.5, first - old)
    return Coefficients(blend, second, before(correct_old), before(correct_new))


def moments(z: PerStep) -> tuple[PerStep, PerStep]:
    """Right-hand sides b1, b2 of UniPC's linear system at z = -h (Zhao et al. 2023, eq. 9, with B = e^z - 1).

    b1 = 1/z - 1/(e^z - 1) and b2 = (2 b1 - 1)/z + b1; by series where the closed forms cancel.
    """
    small = jnp.clip(z, -1.0, 1.0)
    far = jnp.where(jnp.abs(z) < 1.0, 1.0, z)
    near_first = 1 / 2 - small / 12 + small**3 / 720 - small**5 / 30240 + small**7 / 1209600
    near_slope = -1 / 6 + small**2 / 360 - small**4 / 15120 + small**6 / 604800
    far_first = 1 / far - 1 / jnp.expm1(far)
    far_slope = (2 * far_first - 1) / far
    near = jnp.abs(z) < 1.0
    first = jnp.where(near, near_first, far_first)
    return first, first + jnp.where(near, near_slope, far_slope)


def before(values: PerStep) -> PerStep:
    """Each step's predecessor; zero for the first step."""
    return jnp.concatenate([jnp.zeros_like(values[:1]), values[:-1]])


def everywhere(x: Latent, time: Float[Array, ""]) -> Float[Array, "b t"]:
    """One time for every frame of every clip."""
    return jnp.broadcast_to(time, x.shape[:2])
