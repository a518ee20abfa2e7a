"""Flow matching with straight paths (rectified flow).

With data x0 and noise x1 ~ N(0, I), and a clock `time` that is 1 at noise and 0 at data:

    x_time = (1 - time) * x0 + time * x1            (Liu et al. 2023, eq. 1; Lipman et al. 2023, eq. 22)
    velocity = d x_time / d time = x1 - x0

so that `x0 = x_time - time * velocity`. A high-resolution clip keeps its low frequencies longer under noise; the shift
`s * time / (1 + (s - 1) * time)` moves the clock towards noise to make up for it (Esser et al. 2024, eq. 23).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def interpolate(
    data: Float[Array, "b t h w c"], noise: Float[Array, "b t h w c"], time: Float[Array, "b t"] | float
) -> Float[Array, "b t h w c"]:
    """Puts data under noise, each frame at its own time in [0, 1]; a scalar time serves all frames."""
    time = frame_time(time)
    return (1 - time) * data + time * noise


def velocity_target(data: Float[Array, "b t h w c"], noise: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
    """The velocity of the straight path from data to noise, which the model learns."""
    return noise - data


def frame_time(time: Float[Array, "*any"] | float) -> Float[Array, "*spread"]:
    """Spreads times [b, t] (or a scalar) over rows, columns and channels: [b, t, 1, 1, 1]."""
    time = jnp.asarray(time, jnp.float32)
    return time.reshape((*time.shape, 1, 1, 1)) if time.ndim else time


def shift_time(time: Float[Array, "*any"], shift: float) -> Float[Array, "*any"]:
    """Moves the clock towards noise for shift > 1 (Esser et al. 2024, eq. 23); shift 1 leaves it, 1/shift undoes it."""
    return shift * time / (1 + (shift - 1) * time)


def logit_normal(
    key: jax.Array,
    shape: tuple[int, ...],
    mean: float = 0.0,
    std: float = 1.0,
    shift: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Float[Array, "*shape"]:
    """Training times in (0, 1): sigmoid of a normal, then shifted (Esser et al. 2024, section 3.1).

    `within`: only times of this interval, as often relative to each other as without it.
    """
    if within == (0.0, 1.0):
        normal = jax.random.normal(key, shape)
    else:
        ends = jnp.clip(shift_time(jnp.array(within), 1 / shift), 0, 1)  # rounding may lead beyond
        low, high = (jax.scipy.special.logit(ends) - mean) / std
        normal = jax.random.truncated_normal(key, low, high, shape)
    return shift_time(jax.nn.sigmoid(mean + std * normal), shift)


def schedule(steps: int, shift: float = 1.0, start: float = 1.0, last: float = 0.0) -> Float[Array, " steps+1"]:
    """Sampling times: `steps + 1` of them, falling from `start` (1: pure noise) to 0, even before the shift.

    `last` > 0 is where the even times end before the shift; 0 follows as the end of the last step in any case. The open
    models' schedulers end at 0.001. Raises ValueError for fewer than one step, a shift that is not positive, or a start
    outside (0, 1].
    """
    if steps < 1:
        raise ValueError(f"{steps} steps cannot sample: use at least 1, e.g. 30")
    if not shift > 0:
        raise ValueError(f"shift {shift} is not positive: 1 leaves the schedule even, 3 to 8 suits larger clips")
    if not 0 < start <= 1:
        raise ValueError(f"start {start} is outside (0, 1]: 1 begins from pure noise, 0.6 keeps most of what is known")
    even = np.linspace(start / (shift + (1 - shift) * start), min(last, start), steps + 1)  # float64: see whole_times
    times = shift * even / (1 + (shift - 1) * even)
    times[0], times[-1] = start, 0.0
    return jnp.asarray(times, jnp.float32)


def whole_times(time: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Times in whole thousandths, rounded down, at most 0.999: what the open models' schedulers tell the transformer.

    What float32 rounds is forgiven.
    """
    return jnp.clip(jnp.floor(time * 1000 + 2e-4), 0, 999) / 1000
