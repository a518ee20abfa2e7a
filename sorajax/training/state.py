"""The training state: everything that the next step depends on."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class TrainState:
    """A pytree; randomness is no part of it, since a step's key is `fold_in(seed, step)`.

    `step` counts batches seen (int32); `params` are float32; `ema` is their exponential moving average, of the same
    structure; `opt_state` is optax's; `averages` are those that the objective declares, by name (`Stage.averages`).
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    averages: dict[str, Any] = flax.struct.field(default_factory=dict)

    def core(self) -> dict[str, Any]:
        """All but the named averages, which checkpoints keep apart: a resumed run may declare others."""
        return {"step": self.step, "params": self.params, "ema": self.ema, "opt_state": self.opt_state}
