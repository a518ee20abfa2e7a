"""Flow matching with straight paths (rectified flow).

With data x0 and noise x1 ~ N(0, I), and a clock `time` that is 1 at noise and 0 at data:

    x_time = (1 - time) * x0 + time * x1            (Liu et al. 2023, eq. 1; Lipman et al. 2023, eq. 22)
    velocity = d x_time / d time = x1 - x0

so that `x0 = x_time - time * velocity`. At equal noise a high-resolution clip still shows more of its low frequencies;
the timestep shift `s * time / (1 + (s - 1) * time)` compensates with more noise (Esser et al. 2024, eq. 23).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def interpolate(
    data: Float[Array, "b t h w c"], noise: Float[Array, "b t h w c"], time: Float[Array, "b t"] | float
) -> Float[Array, "b t h w c"]:
    """Adds noise to data (Liu et al. 2023, eq. 1), each frame at its own time in [0, 1]; a scalar is for all frames."""
    time = frame_time(time)
    return (1 - time) * data + time * noise


def velocity_target(data: Float[Array, "b t h w c"], noise: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    """The regression target: the velocity noise - data of the straight path from data to noise."""
    return noise - data


def frame_time(time: Float[Array, "*any"] | float) -> Float[Array, "*spread"]:
    """Times [b, t] as [b, t, 1, 1, 1], float32, to broadcast over rows, columns and channels; a scalar stays one."""
    time = jnp.asarray(time, jnp.float32)
    return time.reshape((*time.shape, 1, 1, 1)) if time.ndim else time


def shift_time(time: Float[Array, "*any"], shift: float) -> Float[Array, "*any"]:
    """Timestep shift: closer to noise for shift > 1, the identity for 1; 1/shift is the inverse (Esser et al. 2024,
    eq. 23)."""
    return shift * time / (1 + (shift - 1) * time)


def logit_normal(
    key: jax.Array,
    shape: tuple[int, ...],
    mean: float = 0.0,
    std: float = 1.0,
    shift: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Float[Array, "*shape"]:
    """Training times in (0, 1): the sigmoid of a normal, then shifted (Esser et al. 2024, section 3.1).

    `within` truncates the distribution to this interval of (shifted) times.
    """
    if within == (0.0, 1.0):
        normal = jax.random.normal(key, shape)
    else:
        ends = jnp.clip(shift_time(jnp.array(within), 1 / shift), 0, 1)  # rounding may exceed 1
        low, high = (jax.scipy.special.logit(ends) - mean) / std
        normal = jax.random.truncated_normal(key, low, high, shape)
    return shift_time(jax.nn.sigmoid(mean + std * normal), shift)


def schedule(steps: int, shift: float = 1.0, start: float = 1.0, last: float = 0.0) -> Float[Any, " steps+1"]:
    """Sampling times: `steps + 1` of them, from `start` (1 is pure noise) down to 0, evenly spaced before the shift.

    `last` is the end of the even spacing before the shift: 0.001 in the open models' schedulers. The last time is 0 in
    any case. Raises ValueError for fewer than one step, a shift that is not positive, or a start outside (0, 1].
    """
    if steps < 1:
        raise ValueError(f"{steps} steps cannot sample: use at least 1, e.g. 30")
    if not shift > 0:
        raise ValueError(f"shift {shift} is not positive: use 1 for evenly spaced times, 3 to 8 for larger clips")
    if not 0 < start <= 1:
        raise ValueError(f"start {start} is outside (0, 1]: 1 begins from pure noise, 0.6 keeps most of the clip")
    even = np.linspace(start / (shift + (1 - shift) * start), min(last, start), steps + 1)  # float64: see whole_times
    times = shift * even / (1 + (shift - 1) * even)
    times[0], times[-1] = start, 0.0
    return times.astype(np.float32)


def whole_times(time: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Times rounded down to multiples of 0.001, at most 0.999: the integer timesteps of the open models' schedulers.

    A time that float32 rounds to just below a multiple (by up to 2e-7) counts as that multiple.
    """
    return jnp.clip(jnp.floor(time * 1000 + 2e-4), 0, 999) / 1000
