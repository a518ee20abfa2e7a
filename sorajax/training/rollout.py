"""Clips that a model samples inside a training step, several for each prompt, and their rewards."""

from dataclasses import replace
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.data.worlds import WorldBatch
from sorajax.diffusion.fixed_frames import FixedLatents, Latent
from sorajax.diffusion.flow import shift_time
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models.stream import to_bytes
from sorajax.models.vae import VAE
from sorajax.models.velocity import ExtraInputs
from sorajax.sampling.conditions import Conditions
from sorajax.training.flow_map import LEAST_TIME, Inputs
from sorajax.training.objectives.flow import FlowStage
from sorajax.training.rewards import Judge
from sorajax.training.sampled import SampledModel

CHUNK = 16  # clips that are decoded at a time


class Rollouts(NamedTuple):
    """The data of a step: noised clips at `time`, the targets of the loss, and the anchor's `clips`."""

    x: Float[Array, "n t h w c"]
    clean: Float[Array, "n t h w c"]
    time: Float[Array, "n t"]
    until: Float[Array, "n t"] | None
    optimality: Float[Array, " n"]
    old: Float[Array, "n t h w c"]
    start: Float[Array, "n t h w c"]
    inputs: Inputs
    rewards: Float[Array, " clips"]
    clips: WorldBatch | None


@flax.struct.dataclass
class Rollout:
    """How clips are sampled, without guidance: `steps` steps from noise whose standard deviation is in `temperature`.

    `flow` has the data and the autoencoder.
    """

    model: SampledModel
    flow: FlowStage
    judge: Judge = flax.struct.field(pytree_node=False)
    steps: int = flax.struct.field(pytree_node=False)
    temperature: tuple[float, float] = flax.struct.field(pytree_node=False)

    def conditions(self, batch: WorldBatch, group: int, key: jax.Array) -> tuple[Conditions, Latent]:
        """The conditions of `group` clips of each prompt of a batch, and their noise. Clips of a prompt have the same
        conditioning frames."""
        frames_key, noise_key, warmth_key = jax.random.split(key, 3)
        found, noise = self.model.conditions(self.flow, batch, frames_key, self.steps, 0.0, (1.0, 1.0))
        b, known, extra = len(noise), found.known, found.extra
        shape, (low, high) = (b * group, *noise.shape[1:]), self.temperature
        warmth = jax.random.uniform(warmth_key, (b * group, 1, 1, 1, 1), minval=low, maxval=high)
        conditions = found._replace(
            context=jnp.repeat(found.context[:b], group, 0),
            known=FixedLatents(jnp.repeat(known.latent, group, 0), jnp.repeat(known.mask, group, 0), known.start),
            extra=ExtraInputs(*(x if x is None else jnp.repeat(x, group, 0) for x in extra)),
        )
        return conditions, warmth * jax.random.normal(noise_key, shape)

    def clips(self, whole: Any, conditions: Conditions, noise: Latent) -> Latent:
        """The latents that a model, {"text", "dit"} and perhaps {"adapters"}, makes."""
        model = replace(self.model, params=whole)
        x = model.config.conditioning.initial(conditions.known, noise)
        return SAMPLERS[model.config.sampler](model.velocity(conditions, noise, guided=False), x, conditions.times)

    def rewards(self, batch: WorldBatch, group: int, latents: Latent) -> Float[Array, " n"]:
        """The rewards of clips, `group` for each prompt of a batch."""
        n, config = len(latents), self.flow.config.vae
        chunk = next(size for size in range(min(CHUNK, n), 0, -1) if n % size == 0)

        def decode(latents: Latent) -> Any:
            video: Any = VAE(config).apply({"params": self.flow.vae}, latents, method="decode")
            return to_bytes(video)

        frames = jax.lax.map(decode, latents.reshape(-1, chunk, *latents.shape[1:]))
        return self.judge.scores(
            frames.reshape(n, *frames.shape[2:]), *(jnp.repeat(x, group, 0) for x in (batch.ids, batch.mask))
        )


def random_times(
    key: jax.Array, n: int, schedule: Float[Array, " steps+1"], share: float, shift: float
) -> tuple[Float[Array, "n 1"], Float[Array, "n 1"]]:
    """Times and the earlier times until which velocities are averaged: a `share` of them are steps of the schedule, the
    others one and the same shifted time."""
    time_key, place_key, chosen_key = jax.random.split(key, 3)
    time = shift_time(jax.random.uniform(time_key, (n, 1), minval=LEAST_TIME), shift)
    place = jax.random.randint(place_key, (n, 1), 0, len(schedule) - 1)
    on_step = jax.random.uniform(chosen_key, (n, 1)) < share
    return jnp.where(on_step, schedule[place], time), jnp.where(on_step, schedule[place + 1], time)
