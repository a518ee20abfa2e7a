"""Regression targets of a flow map: the mean velocity of a teacher from one time to an earlier one.

With u(x, t, r) the mean velocity from t back to r, x_r = x_t - (t - r) u, and v the teacher's guided velocity:

    trajectory   u = (x_t - x_r) / (t - r)              x_t and x_r on one trajectory of the teacher's sampler
    jump         u = (d v + (t - d - r) u'(x - d v, t - d, r)) / (t - r)       a step d of the teacher, then u'
    derivative   u = v - (t - r) du'/dt                 along the trajectory (MeanFlow, Geng et al. 2025, eq. 6)

where u' is the student.

All times are of each frame, [b t].
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sorajax.diffusion.fixed_frames import FixedLatents, Latent, Velocity
from sorajax.diffusion.flow import frame_time, interpolate, shift_time
from sorajax.diffusion.samplers import Sampler
from sorajax.models.velocity import ExtraInputs

FrameTimes = Float[Array, "b t"]
Derivative = Callable[[Velocity, Latent, Latent, FrameTimes, FrameTimes], Latent]
LEAST_TIME = 0.02  # before the shift, of a random point
DIFFERENCE = 5e-3  # of times, on both sides of a central difference (AnyFlow, arXiv 2605.13724)


class Targets(NamedTuple):
    """n mean velocities to learn: latents at `time`, the earlier time `until`, and the mean velocity between them."""

    x: Float[Array, "n t h w c"]
    time: Float[Array, "n t"]
    until: Float[Array, "n t"]
    target: Float[Array, "n t h w c"]


class Inputs(NamedTuple):
    """Inputs of the student besides latents and times, and 1 for each frame that is generated, 0 for others."""

    generated: Float[Array, "n t"]
    context: Float[Array, "n m e"]
    extra: ExtraInputs
    positions: Float[Array, " t"]


class MeanVelocities(NamedTuple):
    """The mean velocities that a step learns."""

    targets: Targets
    inputs: Inputs


def random_pairs(
    key: jax.Array, shape: tuple[int, int], steps: int, grids: Sequence[int], share: float
) -> tuple[Int[Array, "p b"], Int[Array, "p b"]]:
    """Pairs of a trajectory of `steps` steps: indices of its times, the first of which is more noise. A `share` of them
    are steps of the schedules of `grids` steps, each of which divides `steps`; the others are any two times."""
    chosen_key, grid_key, place_key, first_key, last_key = jax.random.split(key, 5)
    counts = jnp.array(grids)[jax.random.randint(grid_key, shape, 0, len(grids))]
    place = jax.random.randint(place_key, shape, 0, counts)
    first = jax.random.randint(first_key, shape, 0, steps)
    last = jax.random.randint(last_key, shape, first + 1, steps + 1)
    on_grid = jax.random.uniform(chosen_key, shape) < share
    size = steps // counts
    return jnp.where(on_grid, place * size, first), jnp.where(on_grid, (place + 1) * size, last)


def random_scales(
    key: jax.Array, count: int, scales: tuple[float, float], usual: Float[Array, ""] | float
) -> Float[Array, " count"]:
    """Guidance scales of a range with density 1 / scale, half of them replaced by the `usual` one."""
    place_key, usual_key = jax.random.split(key)
    low, high = scales
    drawn = low * (high / low) ** jax.random.uniform(place_key, (count,))
    return jnp.where(jax.random.bernoulli(usual_key, shape=(count,)), usual, drawn)


def times_from(start: Float[Array, ""], steps: int, shift: float) -> Float[Array, " steps+1"]:
    """`diffusion.flow.schedule` from a time that is not known before the program runs."""
    even = jnp.linspace(start / (shift + (1 - shift) * start), 0.0, steps + 1)
    return shift_time(even, shift).at[0].set(start)


def trajectory(
    sampler: Sampler, velocity: Velocity, x: Latent, times: Float[Array, " steps+1"]
) -> Float[Array, "steps+1 b t h w c"]:
    """The latents at all times of a sampler."""

    def step(state, row):
        state = sampler.step(velocity, state, row)
        return state, state[0]

    return jnp.concatenate([x[None], jax.lax.scan(step, sampler.begin(x), sampler.rows(times))[1]])


def on_trajectories(
    latents: Float[Array, "steps+1 b t h w c"],
    times: Float[Array, " steps+1"],
    generated: FrameTimes,
    pairs: tuple[Int[Array, "p b"], Int[Array, "p b"]],
) -> Targets:
    """The mean velocities between `pairs` of the times of trajectories, p * b in all. `generated` is 0 for conditioning
    frames, whose times are 0, and 1 for the others."""
    b = latents.shape[1]
    x, end = (latents[index, jnp.arange(b)].reshape(-1, *latents.shape[2:]) for index in pairs)
    time, until = (times[index].reshape(-1, 1) for index in pairs)
    generated = jnp.tile(generated, (len(pairs[0]), 1))
    return Targets(x, time * generated, until * generated, (x - end) / frame_time(time - until))


def jump_target(
    student: Velocity, velocity: Latent, x: Latent, time: FrameTimes, until: FrameTimes, step: FrameTimes
) -> Latent:
    """A step of the teacher, in time and at most `time - until`, and the student's mean velocity from there on."""
    rest = student(x - frame_time(step) * velocity, time - step, until)
    share = frame_time(step / jnp.maximum(time - until, 1e-6))
    return share * velocity + (1 - share) * rest


def derivative_target(
    derivative: Derivative, student: Velocity, velocity: Latent, x: Latent, time: FrameTimes, until: FrameTimes
) -> Latent:
    """The MeanFlow identity; `derivative` is `forward_derivative` or `central_difference`."""
    return velocity - frame_time(time - until) * derivative(student, velocity, x, time, until)


def forward_derivative(student: Velocity, velocity: Latent, x: Latent, time: FrameTimes, until: FrameTimes) -> Latent:
    """du/dt along the trajectory by forward-mode differentiation; needs an attention that has it."""
    tangents = (velocity, jnp.where(time > until, 1.0, 0.0))
    return jax.jvp(lambda x, time: student(x, time, until), (x, time), tangents)[1]


def central_difference(student: Velocity, velocity: Latent, x: Latent, time: FrameTimes, until: FrameTimes) -> Latent:
    """The same from two evaluations, for attention kernels without forward mode."""
    move = jnp.where(time > until, DIFFERENCE, 0.0)
    late = student(x + frame_time(move) * velocity, time + move, until)
    return (late - student(x - frame_time(move) * velocity, time - move, until)) / (2 * DIFFERENCE)


DERIVATIVES: dict[str, Derivative] = {"derivative": forward_derivative, "difference": central_difference}


def random_points(
    key: jax.Array, known: FixedLatents, noise: Latent, generated: FrameTimes, shift: float
) -> tuple[Latent, FrameTimes, FrameTimes]:
    """Noised clips at random times, and earlier times, half of which are 0."""
    high, low, zero = jax.random.uniform(key, (3, len(noise), 1))
    time = known.start * shift_time(jnp.maximum(high, LEAST_TIME), shift) * generated
    return interpolate(known.latent, noise, time), time, jnp.where(zero < 0.5, 0.0, time * low)


def by_student(
    key: jax.Array,
    derivative: Derivative | None,
    teacher: Velocity,
    student: Velocity,
    points: tuple[Latent, FrameTimes, FrameTimes],
    least_jump: float,
    calm: float,
) -> Targets:
    """The mean velocities that the student's own values imply, at `points` (x, time, until). Jumps are at least
    `least_jump` long where the times allow it. Derivatives, if requested, count up to the time `calm`."""
    x, time, until = points
    velocity = teacher(x, time)
    step = jax.random.uniform(key, (len(x), 1), minval=least_jump, maxval=0.5)
    target = jump_target(student, velocity, x, time, until, jnp.minimum(step, time - until))
    if derivative is not None:
        exact = derivative_target(derivative, student, velocity, x, time, until)
        target = jnp.where(frame_time(time) <= calm, exact, target)
    return Targets(x, time, until, target)
