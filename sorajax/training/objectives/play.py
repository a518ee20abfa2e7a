"""Training a transformer to predict an interactive world's next frames, by flow matching with a clock per frame.

    loss = mean over generated frames of (velocity(x_time, time, actions, text) - (noise - data))^2

The first frames of a window are known: they are noised to a small time, uniform up to `context_noise` and one for all,
and do not count (Valevski et al. 2024, section 3.2.1: without such noise errors add up over a long play). In half of
the windows one frame is generated, as in play; in the others several, or all, each with a time of its own (Chen et al.
2024, Diffusion Forcing).

Known frames may be ones that the model generated before (`PlayBatch.context`), the data are always true. The world
follows from the actions, so the true next frame stays the right answer, and the model learns to undo its own errors
(Ross et al. 2011, DAgger).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sorajax.data.plays import PlayBatch
from sorajax.diffusion.flow import interpolate, logit_normal, velocity_target
from sorajax.models.folder import SmallStorage, export_model, load_model
from sorajax.models.play import PlayConfig
from sorajax.models.sora import init_dit
from sorajax.models.text import TextConfig, TextEncoder
from sorajax.models.velocity import ExtraInputs, velocity_of
from sorajax.training.step import Stage
from sorajax.training.velocity import by_time


@dataclass(frozen=True)
class PlayObjective:
    """Which times and frames are trained on."""

    time_mean: float = 0.6
    time_std: float = 1.4
    single: float = 0.5
    """Share of the windows in which only the last frame is generated."""
    whole: float = 0.1
    """Share of the windows in which all frames are generated, as at the start of a play."""
    context_noise: float = 0.3
    """Largest time of known frames."""


def random_generated(key: jax.Array, b: int, t: int, objective: PlayObjective) -> Bool[Array, "b t"]:
    """Which frames of each window are generated: the last one, the last few, or all."""
    kind_key, count_key = jax.random.split(key)
    kind = jax.random.uniform(kind_key, (b, 1))
    several = jax.random.randint(count_key, (b, 1), 2, t)
    count = jnp.where(kind < objective.single, 1, jnp.where(kind > 1 - objective.whole, t, several))
    return jnp.arange(t)[None] >= t - count


@flax.struct.dataclass
class PlayStage(Stage):
    """A transformer learning velocities of frames with actions; params are {"dit"}, `text` holds frozen ones."""

    text: Any
    config: PlayConfig = flax.struct.field(pytree_node=False)
    reader: TextConfig = flax.struct.field(pytree_node=False)
    objective: PlayObjective = flax.struct.field(pytree_node=False, default=PlayObjective())
    storage: SmallStorage = flax.struct.field(pytree_node=False, default="int8")

    def init(self, key: jax.Array) -> Any:
        return {"dit": init_dit(self.config.dit, key)}

    def loss(self, params: Any, batch: PlayBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        objective = self.objective
        frames_key, time_key, context_key, noise_key = jax.random.split(key, 4)
        b, t = batch.latent.shape[:2]
        generated = random_generated(frames_key, b, t, objective)
        level = logit_normal(time_key, (b, t), objective.time_mean, objective.time_std)
        context = objective.context_noise * jax.random.uniform(context_key, (b, 1))
        time = jnp.where(generated, level, context)
        error = self.error(params, batch, generated, time, noise_key)
        counts = generated.astype(jnp.float32)
        loss = jnp.sum(error * counts) / jnp.sum(counts)
        return loss, {"loss_by_time": by_time(error * counts, counts, time)}

    def validate(self, params: Any, batch: PlayBatch, key: jax.Array) -> dict[str, Any]:
        """The loss of the last frame at times spread evenly over the batch, with the context as it is in play."""
        b, t = batch.latent.shape[:2]
        level = (jnp.arange(b)[:, None] + 0.5) / b
        last = jnp.broadcast_to(jnp.arange(t) == t - 1, (b, t))
        time = jnp.where(last, level, self.config.context_time)
        return {"loss": jnp.mean(self.error(params, batch, last, time, key)[:, -1])}

    def error(
        self, params: Any, batch: PlayBatch, generated: Bool[Array, "b t"], time: Float[Array, "b t"], key: jax.Array
    ) -> Any:
        """The mean squared error of the velocity of each frame, [b t]; that of known frames is meaningless."""
        context: Any = TextEncoder(self.reader).apply({"params": self.text}, batch.ids, batch.mask)
        data = batch.latent.astype(jnp.float32)
        noise = jax.random.normal(key, data.shape)
        extra = ExtraInputs(actions=batch.actions)
        velocity = velocity_of(self.config.dit, {"params": params["dit"]}, context, extra)
        seen = jnp.where(generated[:, :, None, None, None], data, batch.context.astype(jnp.float32))
        found = velocity(interpolate(seen, noise, time), time)
        return jnp.mean(jnp.square(found - velocity_target(data, noise)), axis=(2, 3, 4))

    def tokens(self, batch: PlayBatch) -> float:
        """Patches of all windows."""
        _, py, px = self.config.dit.patch
        return float(batch.size * batch.latent.shape[1] * (batch.latent.shape[2] // py) * (batch.latent.shape[3] // px))

    def export(self, directory: Path, params: Any) -> None:
        """The transformer as a model folder."""
        export_model(directory, params, self.config, None, self.storage)

    def load(self, directory: Path) -> Any:
        """The parameters in such a folder."""
        return load_model(directory, PlayConfig)[1]
