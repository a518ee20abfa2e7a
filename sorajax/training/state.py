"""What a training run is at one moment: everything that the next step depends on, and nothing else."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
    """A pytree; randomness is no part of it, since a step's key is `fold_in(seed, step)`.

    `step` counts batches seen (int32); `params` are float32; `ema` is their exponential moving average, of the same
    structure; `opt_state` is optax's.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
