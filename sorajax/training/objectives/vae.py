"""Training the autoencoder on the world or on the user's videos.

    z = mean(video) + std(video) * noise
    made = decode(z)
    loss = l1 * |video - made| + mse * (video - made)^2 + kl * KL(N(mean, std) || N(0, 1))
         + structure * structure(video, made) + flicker * flicker(video, made) + adversarial loss

The KL term (Kingma & Welling 2014, eq. 10) is averaged over latent values; a small weight only keeps latents bounded.
The second line is for real video, whose texture l1 alone would blur: `perceptual.py` and `adversarial.py`. Parameters
are {"encoder", "decoder", "critic"}; exported models have no critic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch, WorldData, clips
from sorajax.devices.sharding import gather
from sorajax.models.critic import init_critic
from sorajax.models.folder import Storage
from sorajax.models.sora import init_vae
from sorajax.models.vae import VAE, VAEConfig
from sorajax.training.adversarial import AdversarialConfig, game
from sorajax.training.autoencoder import decode_raw, export_vae, load_resized, reconstructed
from sorajax.training.perceptual import quality, texture_loss
from sorajax.training.step import Stage
from sorajax.training.views import example_clips, frame_rows, views


@dataclass(frozen=True)
class VAEObjective:
    """The weights of the loss."""

    l1: float = 1.0
    mse: float = 1.0
    kl: float = 1e-5
    objects: float = 0.0
    """Extra weight of pixels near an object, which are a tenth of a frame and all that its caption describes."""
    noise: float = 0.0
    """Gaussian noise on latents before decoding, in units of their standard deviation, as sampled latents have it."""
    structure: float = 0.0
    """Weight of 1 - multi-scale structural similarity: blur and lost texture."""
    flicker: float = 0.0
    """Weight of the difference between the reconstruction's changes from frame to frame and the video's."""
    features: float = 0.0
    """Weight of the distance in the stage's `features`, if a fork defines some."""
    adversarial: AdversarialConfig = AdversarialConfig()
    """A critic; none by default."""
    moments: int = 64
    """Clips over which the latents' mean and standard deviation are measured at each export."""


@flax.struct.dataclass
class VAEStage(Stage):
    """An autoencoder learning to reconstruct."""

    config: VAEConfig = flax.struct.field(pytree_node=False)
    objective: VAEObjective = flax.struct.field(pytree_node=False, default=VAEObjective())
    data: WorldData | VideoData = flax.struct.field(pytree_node=False, default=WorldData())
    storage: Storage = flax.struct.field(pytree_node=False, default="float32")
    seen: Any = None
    """For videos: some clips for previews and the latents' moments, uint8 [b t h w 3]. The world renders its own."""
    features: Any = None
    """An optional network, clips in [-1, 1] -> feature maps, as `jax.tree_util.Partial` with its parameters."""
    step: Any = None
    """The run's step, int32 [], once the critic trains."""
    playing: bool = flax.struct.field(pytree_node=False, default=False)
    """Whether the critic trains. Static, so two programs are compiled, because a branch is ten times slower on CPU."""
    encoder: Any = None
    """Parameters of a frozen encoder; only the decoder trains then, and the config has the latents' moments."""

    def init(self, key: jax.Array) -> Any:
        return self._trained(init_vae(self.config, key), key)

    def at(self, step: int) -> "VAEStage":
        adversarial = self.objective.adversarial
        begun = adversarial.weight and step >= adversarial.after
        return self.replace(step=np.int32(step), playing=True) if begun else self  # type: ignore[attr-defined]

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        objective = self.objective
        crop_key, sample_key, noise_key = jax.random.split(key, 3)
        video, near = views(batch, crop_key)
        apply: Callable[..., Any] = partial(VAE(self.config).apply, {"params": self.autoencoder(params)})
        mean, log_variance = apply(video, method="moments")
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(sample_key, mean.shape)
        if objective.noise:
            spread = jax.lax.stop_gradient(jnp.std(mean, axis=(0, 1, 2, 3)))
            z = z + objective.noise * spread * jax.random.normal(noise_key, z.shape)
        made = apply(z, method=decode_raw)
        error, weight = jnp.abs(made - video), 1 + objective.objects * near
        l1, mse = (jnp.mean(weight * size) / jnp.mean(weight) for size in (error, jnp.square(error)))
        kl = 0.5 * jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)
        texture, distances = texture_loss(objective, video, made, self.features)
        loss = objective.l1 * l1 + objective.mse * mse + objective.kl * kl + texture
        metrics = {"l1": l1, "kl": kl} | quality(video, made) | distances
        if self.playing:
            own = jax.random.fold_in(key, 3)  # beside the three above
            both, judged = game(objective.adversarial, params["critic"], video, made, self.step, own)
            loss, metrics = loss + both, metrics | judged
        return loss, metrics

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        """Quality of whole clips, reconstructed from their mean latents."""
        video = clips(batch)
        again = reconstructed(self.config, self.autoencoder(params), video)
        return {"l1": jnp.mean(jnp.abs(again - video))} | quality(video, again)

    def tokens(self, batch: WorldBatch) -> float:
        """Latent positions."""
        bucket = batch.bucket
        shape = self.config.latent_shape(bucket.frames, bucket.crop or bucket.height, bucket.crop or bucket.width)
        return float(batch.size * np.prod(shape[:3]))

    def preview(self, params: Any, key: jax.Array) -> np.ndarray:
        """Pairs of rows: six frames of a clip, and their reconstruction."""
        video = example_clips(self.data, self.seen, 4, 1)
        again = gather(reconstructed(self.config, self.autoencoder(params), video))
        return frame_rows(rearrange(np.stack([video, again]), "two b t h w c -> (b two) t h w c"))

    def export(self, directory: Path, params: Any) -> None:
        """The autoencoder as a model folder; where its encoder trained, its latents' moments are measured."""
        groups = 0 if self.encoder is not None else max(1, self.objective.moments // 8)
        measured = (example_clips(self.data, self.seen, 8, seed) for seed in range(groups))
        export_vae(directory, self.config, self.autoencoder(params), self.storage, measured)

    def load(self, directory: Path) -> Any:
        """The parameters in a folder that `load_vae` reads, made as wide as here, and a fresh critic."""
        return self._trained(load_resized(directory, self.config), jax.random.key(0))

    def autoencoder(self, params: Any) -> Any:
        """The whole autoencoder's parameters: without the critic's, with those of a frozen encoder."""
        whole = {name: part for name, part in params.items() if name != "critic"}
        return whole if self.encoder is None else {**whole, "encoder": self.encoder}

    def _trained(self, params: Any, key: jax.Array) -> Any:
        """The trained ones of an autoencoder's parameters, and the critic's if there is one."""
        trained = params if self.encoder is None else {"decoder": params["decoder"]}
        if not self.objective.adversarial.weight:
            return trained
        return {**trained, "critic": init_critic(self.objective.adversarial.critic, jax.random.fold_in(key, 1))}
