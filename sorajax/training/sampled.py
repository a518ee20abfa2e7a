"""A model that is sampled inside a training step, such as the teacher of a distillation: its conditions for a batch,
and its velocity."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.data.worlds import WorldBatch
from sorajax.diffusion.fixed_frames import FixedLatents, Velocity, random_fixed_frames
from sorajax.models.sora import SoraConfig
from sorajax.models.velocity import ExtraInputs, read_once
from sorajax.sampling.conditions import Conditions
from sorajax.sampling.program import conditioned
from sorajax.training.flow_map import random_scales, times_from
from sorajax.training.objectives.flow import FlowStage
from sorajax.training.velocity import embed

LEAST_START = 0.2  # time at which noised clips begin


@flax.struct.dataclass
class SampledModel:
    """A trained model.

    params: {"text", "dit"} and, of an adapted one, {"adapters"}; without "text", captions come as embeddings.
    negative: the prompt that guidance leads away from, as {"ids", "mask"} or {"context"} of one row.
    guidance: its scale.
    """

    params: Any
    negative: Any
    guidance: Any
    config: SoraConfig = flax.struct.field(pytree_node=False)

    def conditions(
        self,
        flow: FlowStage,
        batch: WorldBatch,
        key: jax.Array,
        steps: int,
        noised: float,
        temperature: tuple[float, float],
    ) -> tuple[Conditions, Float[Array, "b t h w c"]]:
        """The conditions and the initial noise of a batch's clips.

        The captions are the batch's, as are conditioning frames, drawn as `flow` does in training. A share `noised` of
        batches begins at a random time below 1, from the batch's clips. Half of the noise has the model's temperature,
        half a random one of the range.
        """
        window_key, known_key, noise_key, warmth_key, chosen_key, start_key = jax.random.split(key, 6)
        data, positions = flow.shown(batch, window_key)
        b, t = data.shape[:2]
        begins_noised = jax.random.uniform(start_key) < noised
        if positions is not None or self.config.conditioning.needs_first_frame:
            begins_noised = jnp.zeros_like(begins_noised)
        start = jnp.where(begins_noised, jax.random.uniform(chosen_key, minval=LEAST_START), 1.0)
        fixed = random_fixed_frames(known_key, b, t, flow.objective.known, has_anchor=positions is not None)
        usual = jnp.arange(b) % 2 == 0
        warmth = jax.random.uniform(warmth_key, (b,), minval=temperature[0], maxval=temperature[1])
        warmth = jnp.where(usual, self.config.temperature, warmth)[:, None, None, None, None]
        noise = warmth * jax.random.normal(noise_key, data.shape)
        context = embed(self.config, self.params, batch.ids, batch.mask, batch.context)
        negative = jnp.broadcast_to(embed(self.config, self.params, **self.negative), context.shape)
        return Conditions(
            context=jnp.concatenate([context, negative]),
            seeds=None,
            times=times_from(start, steps, self.config.shift),
            guidance_scale=self.guidance,
            temperature=None,
            positions=jnp.arange(t, dtype=jnp.float32) if positions is None else positions,
            known=FixedLatents(data, fixed & ~begins_noised, start),
            extra=ExtraInputs(batch.image, batch.channels),
        ), noise

    def at_random_scales(
        self, conditions: Conditions, key: jax.Array, scales: tuple[float, float] | None
    ) -> Conditions:
        """The conditions with a guidance scale of this range for each clip, also as an input; None: as they are. Half
        of the clips keep the model's scale; the others have the density 1 / scale, as in improved MeanFlow (Geng et al.
        2025, arXiv 2512.02012)."""
        if scales is None:
            return conditions
        scale = random_scales(key, len(conditions.known.latent), scales, self.guidance)
        extra = conditions.extra._replace(guidance=scale)
        return conditions._replace(guidance_scale=scale[:, None, None, None, None], extra=extra)

    def velocity(self, conditions: Conditions, noise: Float[Array, "b t h w c"], guided: bool = True) -> Velocity:
        """The velocity, 0 at conditioning frames; where it is not guided, the negative prompts are not read."""
        variables = {"params": self.params["dit"], "adapters": self.params.get("adapters", {})}
        context = conditions.context if guided else conditions.context[: len(noise)]
        text = read_once(self.config.dit, variables, context, conditions.extra.image)
        return conditioned(self.config, guided, variables, text, conditions, noise)
