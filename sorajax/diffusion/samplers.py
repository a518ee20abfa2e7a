"""Samplers: from noise to data along a velocity, in few evaluations.

Each is `sampler(velocity, x, times) -> x`, with falling `times` [steps + 1] that end at 0; a `Sampler` also goes a part
of the way, so that another velocity can take it from there. All are written as an Euler step plus a correction built
from differences of estimates of the data, `data = x - time * velocity`. So frames whose velocity is zero do not change
by a bit, and a time of exactly 1 or 0, where the log-SNR

    logsnr = log((1 - time) / time),    h = difference of logsnr over a step

is infinite, needs no special number: the correction vanishes there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity

Times = Float[Array, " steps+1"]
PerStep = Float[Array, " steps"]
State = tuple[Latent, ...]
"""What is carried from evaluation to evaluation; its first latent is, after the last one, the result."""
Row = tuple[Array, ...]


@dataclass(frozen=True)
class Sampler:
    """A rule, as a scan over evaluations of a velocity. It is two functions, and not one around its scan, so that each
    of two experts can go its part of the way.

    rows: of the times, what each evaluation needs, in arrays with one entry for each; first the time it stands at.
    step: (velocity, state, row) to the next state. carried: latents in a state.
    """

    rows: Callable[[Times], Row]
    step: Callable[[Velocity, State, Row], State]
    carried: int

    def __call__(self, velocity: Velocity, x: Latent, times: Times) -> Latent:
        return self.along(velocity, self.begin(x), self.rows(times))[0]

    def begin(self, x: Latent) -> State:
        """The state before the first evaluation."""
        return (x,) * self.carried

    def along(self, velocity: Velocity, state: State, rows: Row) -> State:
        """The state after some evaluations, one for each entry of `rows`."""
        return jax.lax.scan(lambda state, row: (self.step(velocity, state, row), None), state, rows)[0]


def euler_rows(times: Times) -> Row:
    """(time, following one) of each step."""
    return times[:-1], times[1:]


def euler_step(velocity: Velocity, state: State, row: Row) -> State:
    """First order: one evaluation a step."""
    (x,), (time, following) = state, row
    return (x + (following - time) * velocity(x, everywhere(x, time)),)


def heun_rows(times: Times) -> Row:
    """The first and second evaluation of each step in turn, so that the model is compiled once."""
    start, second = np.divmod(np.arange(2 * (times.size - 1) - 1), 2)
    return times[start + second], jnp.diff(times)[start], second == 1


def heun_step(velocity: Velocity, state: State, row: Row) -> State:
    """Second order, two evaluations a step but one in the last (Karras et al. 2022, algorithm 1, in flow form)."""
    (trial, x, first), (time, change, second) = state, row
    slope = velocity(trial, everywhere(x, time))
    whole = x + change * jnp.where(second, (first + slope) / 2, slope)
    return whole, jnp.where(second, whole, x), slope


def dpmpp_2m_rows(times: Times) -> Row:
    """(time, blend, second) of each step, see `Coefficients`."""
    weights = coefficients(times)
    return times[:-1], weights.blend, weights.second


def dpmpp_2m_step(velocity: Velocity, state: State, row: Row) -> State:
    """DPM-Solver++ (2M): order 2 from the last two data estimates (Lu et al. 2022, algorithm 2); last step Euler."""
    (x, older), (time, blend, second) = state, row
    data = x - time * velocity(x, everywhere(x, time))
    return x + blend * (data - x) + second * (data - older), data


def unipc_rows(times: Times) -> Row:
    """(time, blend, second, the blend before, correct_old, correct_new) of each step, see `Coefficients`."""
    blend, second, correct_old, correct_new = coefficients(times)
    return times[:-1], blend, second, before(blend), correct_old, correct_new


def unipc_step(velocity: Velocity, state: State, row: Row) -> State:
    """UniPC of order 2 with B(h) = e^h - 1 (Zhao et al. 2023, algorithms 5 and 8: data prediction, multistep).

    Each evaluation first corrects the step that led to it, then predicts the next; so the corrector costs nothing.
    """
    (predicted, start, older, oldest), (time, blend, second, last_blend, correct_old, correct_new) = state, row
    data = predicted - time * velocity(predicted, everywhere(predicted, time))
    corrected = start + last_blend * (older - start) + correct_old * (older - oldest) + correct_new * (data - older)
    return corrected + blend * (data - corrected) + second * (data - older), corrected, data, older


euler = Sampler(euler_rows, euler_step, 1)
heun = Sampler(heun_rows, heun_step, 3)
dpmpp_2m = Sampler(dpmpp_2m_rows, dpmpp_2m_step, 2)
unipc = Sampler(unipc_rows, unipc_step, 4)
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
