"""Step caching: where the velocity hardly changes from one evaluation to the next, the last one is reused.

    MagCache    a fixed schedule from the ratios of magnitudes of one clip (Ma et al. 2025)
    EasyCache   decides during sampling, from how fast inputs and outputs change (Zhou et al. 2025)

Both papers store the change that the network makes to its input; here the velocity itself is stored, so frames whose
velocity is zero stay fixed to the bit. A cache begins anew with each range of evaluations that one velocity makes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity
from sorajax.diffusion.samplers import Row, Sampler, State, per_frame

RETENTION = 0.2
"""Share of the evaluations, from the first on, that are always computed (both papers)."""
MAG_THRESHOLD, EASY_THRESHOLD = 0.06, 0.05
MOST_REUSES = 3
"""MagCache's largest number of reuses in a row."""


@dataclass(frozen=True)
class MagCache:
    """MagCache's calibration and threshold.

    times, ratios: of the evaluations of one clip, the ratio of the velocity's magnitude to that at the time before,
    averaged over positions; the first ratio is 1. threshold: of the accumulated error, 0.06 to 0.24 in the paper.
    """

    times: tuple[float, ...]
    ratios: tuple[float, ...]
    threshold: float

    name = "mag"

    def schedule(self, times: Float[np.ndarray, " evaluations"]) -> "Reuses":
        """Which evaluations at these times reuse the last velocity (algorithm 1). Between calibrated times, the
        logarithm of the magnitude is interpolated."""
        order = np.argsort(self.times)
        logs = np.cumsum(np.log(self.ratios))
        at = np.interp(times, np.asarray(self.times)[order], logs[order])
        reused, error, product, row = [False], 0.0, 1.0, 0
        for number, ratio in enumerate(np.exp(np.diff(at)), 1):
            if number < RETENTION * len(times):
                reused.append(False)
                continue
            product *= ratio
            error, row = error + abs(1 - product), row + 1
            reused.append(error < self.threshold and row <= MOST_REUSES)
            if not reused[-1]:
                error, product, row = 0.0, 1.0, 0
        return Reuses(tuple(bool(one) for one in reused))


@dataclass(frozen=True)
class Reuses:
    """A fixed schedule: for each evaluation, whether it reuses the last velocity."""

    reused: tuple[bool, ...]

    def begin(self, x: Latent) -> Latent:
        return jnp.zeros_like(x)

    def flags(self, first: int, stop: int) -> Bool[Array, " evaluations"]:
        """Flags of the evaluations from first to stop; the first one is computed."""
        return jnp.asarray((False, *self.reused[first + 1 : stop]))

    def evaluate(
        self, velocity: Velocity, last: Latent, x: Latent, time: Float[Array, "b t"], reuse: Bool[Array, ""]
    ) -> tuple[Latent, Latent]:
        now = jax.lax.cond(reuse, lambda: last, lambda: velocity(x, time))
        return now, now


class Change(NamedTuple):
    """EasyCache's state between evaluations."""

    velocity: Latent
    """The last one that was computed, at latents `computed_at`."""
    computed_at: Latent
    last_x: Latent
    """Latents of the evaluation before."""
    rate: Float[Array, ""]
    """Change of the velocity per change of the latents, between the last two computed evaluations."""
    error: Float[Array, ""]
    """Relative change of the velocity, as predicted, summed since it was computed."""


@dataclass(frozen=True)
class EasyCache:
    """Reuses the velocity while its predicted relative change, rate * |change of x| / |velocity|, adds up to less than
    the threshold; 0.025 to 0.1 in the paper. Norms are mean absolute values over the batch."""

    threshold: float

    name = "easy"

    def schedule(self, times: Float[np.ndarray, " evaluations"]) -> "EasyCache":
        """Returns itself: the schedule is not known beforehand."""
        return self

    def begin(self, x: Latent) -> Change:
        zero = jnp.zeros_like(x)
        return Change(zero, zero, zero, jnp.float32(0), jnp.float32(0))

    def flags(self, first: int, stop: int) -> Bool[Array, " evaluations"]:
        """Flags of the evaluations from first to stop that are always computed: two, for a rate, and the last one."""
        number, count = np.arange(stop - first), stop - first
        return jnp.asarray((number < max(2, RETENTION * count)) | (number == count - 1))

    def evaluate(
        self, velocity: Velocity, before: Change, x: Latent, time: Float[Array, "b t"], compute: Bool[Array, ""]
    ) -> tuple[Latent, Change]:
        predicted = before.rate * mean_abs(x - before.last_x) / (mean_abs(before.velocity) + 1e-12)
        error = before.error + predicted
        reuse = ~compute & (error < self.threshold)
        now = jax.lax.cond(reuse, lambda: before.velocity, lambda: velocity(x, time))
        rate = mean_abs(now - before.velocity) / (mean_abs(x - before.computed_at) + 1e-12)
        return now, Change(
            now,
            jnp.where(reuse, before.computed_at, x),
            x,
            jnp.where(reuse, before.rate, rate),
            jnp.where(reuse, error, 0.0),
        )


@dataclass(frozen=True)
class Recording:
    """Computes every evaluation and calls `record(time, magnitudes [b t h w])` on the host."""

    record: Callable[[Float[np.ndarray, ""], Float[np.ndarray, "b t h w"]], None]

    def schedule(self, times: Float[np.ndarray, " evaluations"]) -> "Recording":
        return self

    def begin(self, x: Latent) -> tuple[()]:
        return ()

    def flags(self, first: int, stop: int) -> Bool[Array, " evaluations"]:
        return jnp.zeros(stop - first, bool)

    def evaluate(
        self, velocity: Velocity, nothing: tuple[()], x: Latent, time: Float[Array, "b t"], _: Bool[Array, ""]
    ) -> tuple[Latent, tuple[()]]:
        now = velocity(x, time)
        jax.debug.callback(self.record, time.max(), jnp.linalg.norm(now, axis=-1))
        return now, nothing


Cache = MagCache | EasyCache | Recording
Schedule = Reuses | EasyCache | Recording


def advance(
    sampler: Sampler, velocity: Velocity, cache: Schedule, state: State, rows: Row, evaluations: tuple[int, int]
) -> State:
    """As `Sampler.advance`, with a cache; `rows` are those of the evaluations (first, stop).

    A step of each sampler evaluates once, at its state's first latent and its row's time.
    """

    def step(carry: tuple[State, Any], inputs: tuple[Row, Array]) -> tuple[tuple[State, Any], None]:
        (state, memory), (row, flag) = carry, inputs
        now, memory = cache.evaluate(velocity, memory, state[0], per_frame(state[0], row[0]), flag)
        return (sampler.step(lambda x, time: now, state, row), memory), None

    flags = cache.flags(*evaluations)
    return jax.lax.scan(step, (state, cache.begin(state[0])), (rows, flags))[0][0]


def calibrated(magnitudes: dict[float, Float[np.ndarray, "b t h w"]], threshold: float) -> MagCache:
    """MagCache from a clip's magnitudes by time; positions whose velocity is zero (fixed frames) do not count."""
    times = sorted(magnitudes, reverse=True)
    ratios = [1.0]
    for before, now in zip(times, times[1:], strict=False):
        moving = magnitudes[before] > 0
        ratios.append(float(np.mean(magnitudes[now][moving] / magnitudes[before][moving])))
    return MagCache(tuple(times), tuple(ratios), threshold)


def mean_abs(x: Latent) -> Float[Array, ""]:
    return jnp.mean(jnp.abs(x))
