"""Samplers: ODE solvers that integrate a velocity from noise to data.

Each is `sampler(velocity, x, times) -> x`, with decreasing `times` [steps + 1] that end at 0; `Sampler.advance` runs a
part of the evaluations, so that another velocity can do the others. All are written as an Euler step plus a correction
from differences of data estimates, `data = x - time * velocity`. So frames whose velocity is zero do not change by a
bit, and the times 1 and 0, where the log-SNR

    logsnr = log((1 - time) / time),    h = difference of logsnr over a step

is infinite, need no special case: the correction vanishes there. `flow_map` is for models that are distilled to take
steps of any size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity

Times = Float[Array, " steps+1"]
PerStep = Float[Array, " steps"]
State = tuple[Latent, ...]
"""Latents carried from evaluation to evaluation; after the last one, the first latent is the result."""
Row = tuple[Array, ...]


def step_times(times: Times) -> Times:
    """The time of each evaluation where every step has one."""
    return times[:-1]


@dataclass(frozen=True)
class Sampler:
    """A solver as a scan over evaluations of a velocity, split into two functions so that each of two experts can run
    its part of the evaluations.

    rows: times -> the arguments of every evaluation, as arrays with one entry per evaluation; the first is its time.
    step: (velocity, state, row) -> the next state.
    state_size: number of latents in a state.
    evaluated: times -> the first of the rows alone, also in numpy.
    """

    rows: Callable[[Times], Row]
    step: Callable[[Velocity, State, Row], State]
    state_size: int
    evaluated: Callable[[Any], Any] = step_times

    def __call__(self, velocity: Velocity, x: Latent, times: Times) -> Latent:
        return self.advance(velocity, self.begin(x), self.rows(times))[0]

    def begin(self, x: Latent) -> State:
        """The state before the first evaluation."""
        return (x,) * self.state_size

    def advance(self, velocity: Velocity, state: State, rows: Row) -> State:
        """The state after one evaluation for each entry of `rows`."""
        return jax.lax.scan(lambda state, row: (self.step(velocity, state, row), None), state, rows)[0]


def euler_rows(times: Times) -> Row:
    """(time, next time) of each step."""
    return step_times(times), times[1:]


def euler_step(velocity: Velocity, state: State, row: Row) -> State:
    """Euler's method, order 1: one evaluation per step."""
    (x,), (time, next_time) = state, row
    return (x + (next_time - time) * velocity(x, per_frame(x, time)),)


def flow_map_step(velocity: Velocity, state: State, row: Row) -> State:
    """A jump of a flow map: the mean velocity from one time to the next is exact for a step of any size."""
    (x,), (time, next_time) = state, row
    return (x + (next_time - time) * velocity(x, per_frame(x, time), per_frame(x, next_time)),)


def heun_rows(times: Times) -> Row:
    """(time, change of time over the step, whether it is the second evaluation) of each evaluation.

    Both evaluations of a step are iterations of one scan, so that the model is compiled once.
    """
    start, second = np.divmod(np.arange(2 * (times.size - 1) - 1), 2)
    return heun_times(times), jnp.diff(times)[start], second == 1


def heun_times(times: Times) -> Times:
    """The time of each evaluation: of a step's begin and end."""
    start, second = np.divmod(np.arange(2 * (times.size - 1) - 1), 2)
    return times[start + second]


def heun_step(velocity: Velocity, state: State, row: Row) -> State:
    """Heun's method, order 2: two evaluations per step, one in the last (Karras et al. 2022, algorithm 1, in flow
    form)."""
    (trial, x, first), (time, change, second) = state, row
    slope = velocity(trial, per_frame(x, time))
    stepped = x + change * jnp.where(second, (first + slope) / 2, slope)
    return stepped, jnp.where(second, stepped, x), slope


def dpmpp_2m_rows(times: Times) -> Row:
    """(time, blend, second) of each step, see `Coefficients`."""
    weights = coefficients(times)
    return times[:-1], weights.blend, weights.second


def dpmpp_2m_step(velocity: Velocity, state: State, row: Row) -> State:
    """DPM-Solver++ (2M): order 2 from the last two data estimates (Lu et al. 2022, algorithm 2); last step Euler."""
    (x, older), (time, blend, second) = state, row
    data = x - time * velocity(x, per_frame(x, time))
    return x + blend * (data - x) + second * (data - older), data


def unipc_rows(times: Times) -> Row:
    """(time, blend, second, the previous blend, correct_old, correct_new) of each step, see `Coefficients`."""
    blend, second, correct_old, correct_new = coefficients(times)
    return times[:-1], blend, second, previous(blend), correct_old, correct_new


def unipc_step(velocity: Velocity, state: State, row: Row) -> State:
    """UniPC of order 2 with B(h) = e^h - 1 (Zhao et al. 2023, algorithms 5 and 8: data prediction, multistep).

    Each evaluation first corrects the step that led to it, then predicts the next: the corrector needs no evaluation of
    its own.
    """
    (predicted, start, older, oldest), (time, blend, second, last_blend, correct_old, correct_new) = state, row
    data = predicted - time * velocity(predicted, per_frame(predicted, time))
    corrected = start + last_blend * (older - start) + correct_old * (older - oldest) + correct_new * (data - older)
    return corrected + blend * (data - corrected) + second * (data - older), corrected, data, older


euler = Sampler(euler_rows, euler_step, 1)
heun = Sampler(heun_rows, heun_step, 3, heun_times)
dpmpp_2m = Sampler(dpmpp_2m_rows, dpmpp_2m_step, 2)
unipc = Sampler(unipc_rows, unipc_step, 4)
flow_map = Sampler(euler_rows, flow_map_step, 1)
SOLVERS = {"euler": euler, "heun": heun, "unipc": unipc, "dpmpp_2m": dpmpp_2m}
SAMPLERS = {**SOLVERS, "flow_map": flow_map}


class Coefficients(NamedTuple):
    """Weights of the multistep solvers, one per step; the corrections are zero without history and at order 1.

    blend: weight of (data - x), the Euler step towards the data estimate.
    second: weight of (data - older), the extrapolation of order 2.
    correct_old, correct_new: UniPC's weights of (older - oldest) and (data - older), which correct the previous step.
    """

    blend: PerStep
    second: PerStep
    correct_old: PerStep
    correct_new: PerStep


def coefficients(times: Times) -> Coefficients:
    """Weights for order 1 in the first and the last step and after a step of infinite h, order 2 in all others."""
    step = jnp.arange(times.size - 1)
    blend = 1 - times[1:] / times[:-1]
    h = jnp.diff(jnp.log1p(-times) - jnp.log(times))
    ratio = h / previous(h)
    second = jnp.where((step == 0) | (step == step.size - 1), 0.0, 0.5 * blend * ratio)
    first, moment = moments(-h)
    old = jnp.where(step == 0, 0.0, (first - moment) * ratio / (1 + ratio))
    correct_old = jnp.where(step == 0, 0.0, blend * old * ratio)
    correct_new = blend * jnp.where(step == 0, 0.5, first - old)
    return Coefficients(blend, second, previous(correct_old), previous(correct_new))


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


def previous(values: PerStep) -> PerStep:
    """The value of each step's predecessor; zero for the first step."""
    return jnp.concatenate([jnp.zeros_like(values[:1]), values[:-1]])


def per_frame(x: Latent, time: Float[Array, ""]) -> Float[Array, "b t"]:
    """A scalar time as the times of all frames of all clips."""
    return jnp.broadcast_to(time, x.shape[:2])
