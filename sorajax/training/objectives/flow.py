"""Training the transformer, with its text encoder, by flow matching on latents of the world or of the user's videos.

    loss = mean over generated frames of (velocity(x_time, time, text) - (noise - data))^2

Times are logit-normal (Esser et al. 2024, section 3.1), one for all generated frames of a clip. Fixed frames are drawn
at random; they stand at time 0 and do not count. The autoencoder is frozen. Clips are rendered and encoded in the step,
or were encoded before the run, as captions of videos are by a frozen text encoder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch, WorldData, clips
from sorajax.devices.compilation import gradient_compiler_options
from sorajax.devices.sharding import gather
from sorajax.diffusion.fixed_frames import random_fixed_frames, random_window
from sorajax.diffusion.flow import interpolate, logit_normal, schedule, velocity_target
from sorajax.models.sora import SoraConfig, init_dit, init_text
from sorajax.models.velocity import ExtraInputs
from sorajax.training.autoencoder import encoder
from sorajax.training.step import Stage
from sorajax.training.transformer import TransformerFolder, check_transformer_divides
from sorajax.training.velocity import PROMPTS, by_time, embed, predict, sample, tokens_of_clip
from sorajax.training.views import frame_rows


@dataclass(frozen=True)
class FlowObjective:
    """Which times and frames are trained on, and how sample grids are drawn."""

    time_mean: float = 0.0
    time_std: float = 1.0
    shift: float = 1.0
    """Timestep shift of training times: above 1, closer to noise."""
    known: float = 0.5
    """Share of clips in which random frames are fixed, for image-to-video, extension and in-betweening."""
    max_anchor_gap: int = 4
    """Most latent frames between a film's first frame and a window of it, in buckets with `window_frames`."""
    sample_shift: float = 3.0
    guidance_scale: float = 4.0
    temperature: float = 1.0
    drop_conditioning_in_cfg: bool = False
    redo_latents: int = 0
    """How previews are sampled; also the exported model's defaults, see `SoraConfig`."""
    sample_steps: int = 20
    prompts: tuple[str, ...] = PROMPTS
    """Prompts of the sample grid."""


@flax.struct.dataclass
class FlowStage(Stage):
    """A transformer and text encoder learning velocities; params are {"text", "dit"}, `vae` holds frozen ones.

    With a frozen text encoder params are {"dit"}, and batches and prompts hold its embeddings. "dit" may be one of two
    experts: `folder` says which, and `within` is its range of times.
    """

    vae: Any
    prompts: Any  # the preview's, the last one empty, as {"ids", "mask"} or {"context"}
    config: SoraConfig = flax.struct.field(pytree_node=False)
    objective: FlowObjective = flax.struct.field(pytree_node=False)
    data: WorldData | VideoData = flax.struct.field(pytree_node=False)
    folder: TransformerFolder = flax.struct.field(pytree_node=False)
    within: tuple[float, float] = flax.struct.field(pytree_node=False, default=(0.0, 1.0))

    def init(self, key: jax.Array) -> Any:
        text_key, dit_key = jax.random.split(key)
        dit = {"dit": init_dit(self.config.dit, dit_key)}
        return dit if self.folder.frozen_text else {"text": init_text(self.config.text, text_key), **dit}

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        objective = self.objective
        time_key, noise_key, known_key, window_key = jax.random.split(key, 4)
        data, positions = self.shown(batch, window_key)
        b, t = data.shape[:2]
        known = random_fixed_frames(known_key, b, t, objective.known, has_anchor=positions is not None)
        level = logit_normal(time_key, (b, 1), objective.time_mean, objective.time_std, objective.shift, self.within)
        time = jnp.where(known, 0.0, level)
        noise = jax.random.normal(noise_key, data.shape)
        error = self.error(params, batch, data, noise, time, positions)
        counts = (~known).astype(jnp.float32)
        loss = jnp.sum(error * counts) / jnp.sum(counts)
        return loss, {"loss_by_time": by_time(error * counts, counts, jnp.broadcast_to(level, (b, t)))}

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        """The loss without fixed frames, at times spread evenly over the batch, with the same noise for each key."""
        data, positions = self.shown(batch, key)
        b, t = data.shape[:2]
        low, high = self.within
        time = jnp.broadcast_to(low + (high - low) * (jnp.arange(b)[:, None] + 0.5) / b, (b, t))
        error = self.error(params, batch, data, jax.random.normal(key, data.shape), time, positions)
        return {"loss": jnp.mean(error), "loss_by_time": by_time(error, jnp.ones_like(error), time)}

    def error(
        self, params: Any, batch: WorldBatch, data: Array, noise: Array, time: Float[Array, "b t"], positions: Any
    ) -> Any:
        """The mean squared error of the velocity of each latent frame, [b t]."""
        context = embed(self.config, params, batch.ids, batch.mask, batch.context)
        x = interpolate(data, noise, time)
        extra = ExtraInputs(batch.image, batch.channels)
        velocity = predict(self.config, params, context, x, time, extra, positions)
        return jnp.mean(jnp.square(velocity - velocity_target(data, noise)), axis=(2, 3, 4))

    def shown(self, batch: WorldBatch, key: jax.Array) -> tuple[Float[Array, "b t h w c"], Any]:
        """Normalised latents of a batch as the transformer sees them, and their temporal positions; None: the usual
        ones."""
        data = self.latents(batch)
        if not batch.bucket.window_frames:
            return data, None
        count = self.config.vae.latent_shape(*batch.bucket.window)[0]
        return random_window(key, data, count, self.objective.max_anchor_gap)

    def latents(self, batch: WorldBatch) -> Float[Array, "b t h w c"]:
        """Normalised latents of a batch, float32."""
        if batch.latent is not None:
            return batch.latent.astype(jnp.float32)
        return jax.lax.stop_gradient(encoder(self.config.vae, self.vae)(clips(batch)))

    def compiler_options(self) -> dict[str, Any] | None:
        return gradient_compiler_options()

    def tokens(self, batch: WorldBatch) -> float:
        """Patches of all clips."""
        return float(batch.size * tokens_of_clip(self.config.vae, self.config.dit, batch.bucket))

    def check(self, mesh: Mesh) -> None:
        check_transformer_divides(self.config, self.data.buckets, mesh)

    def preview(self, params: Any, key: jax.Array) -> np.ndarray:
        """One row of six frames for each of the objective's prompts."""
        shape = self.config.vae.latent_shape(*self.data.buckets[0].window)
        times = schedule(self.objective.sample_steps, self.objective.sample_shift)
        video = sample(self.config, shape, params, self.vae, self.prompts, key, times, self.objective.guidance_scale)
        return frame_rows(np.asarray(gather(video)))

    def export(self, directory: Path, params: Any) -> None:
        """The model with its autoencoder and tokenizer."""
        self.folder.save(directory, self.config, {**params, "vae": self.vae})

    def load(self, directory: Path) -> Any:
        return self.folder.load(directory, self.config)
