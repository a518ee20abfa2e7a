"""What a trained model is: text encoder, transformer and autoencoder, and the conventions they were trained with."""
from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.text import TextConfig, TextEncoder
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.vision import Vision, VisionConfig


@dataclasses.dataclass(frozen=True)
class SoraConfig:
    """Parameters that belong to it are one nested dict {"text", "dit", "vae"}."""

    text: TextConfig = TextConfig()
    dit: DiTConfig = DiTConfig()
    vae: VAEConfig = VAEConfig()
    name: str = "sorajax"
    fps: float = 8.0
    """The base frame rate: one latent frame is one unit of temporal position at this rate."""
    sizes: tuple[tuple[int, int], ...] = ((64, 64),)
    """(height, width) in pixels that the model was trained on; the first is the default."""
    frames: tuple[int, ...] = (17,)
    """Clip lengths in frames that the model was trained on; the first is the default."""
    shift: float = 3.0
    """Timestep shift that sampling uses unless told otherwise."""
    guidance_scale: float = 4.0
    steps: int = 30

    def __post_init__(self):
        if self.dit.out_channels != self.vae.latent_channels:
            raise ValueError(f"the transformer makes {self.dit.out_channels} channels, the autoencoder's latents have "
                             f"{self.vae.latent_channels}: set dit.out_channels to vae.latent_channels")
        if self.dit.text_width != self.text.width:
            raise ValueError(f"the transformer reads text of width {self.dit.text_width}, the encoder makes "
                             f"{self.text.width}: set dit.text_width to text.width")


def init(config: SoraConfig, key: jax.Array) -> dict:
    """Random parameters of all three models: {"text", "dit", "vae"}, nested dicts of float32 arrays."""
    keys = jax.random.split(key, 3)
    text, dit = init_text(config.text, keys[0]), init_dit(config.dit, keys[1])
    return {"text": text, "dit": dit, "vae": init_vae(config.vae, keys[2])}


def init_text(config: TextConfig, key: jax.Array) -> dict:
    return TextEncoder(config).init(key, jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool))["params"]


def init_dit(config: DiTConfig, key: jax.Array) -> dict:
    latent, time = jnp.zeros((1, *config.patch, config.in_channels)), jnp.zeros((1, config.patch[0]))
    image = jnp.zeros((1, 2, config.image_width)) if config.image_width else None
    return DiT(config).init(key, latent, time, jnp.zeros((1, 2, config.text_width)), image=image)["params"]


def init_vae(config: VAEConfig, key: jax.Array) -> dict:
    _, height, width = config.stride
    return VAE(config).init(key, jnp.zeros((1, 1 + config.stride[0], height, width, 3)))["params"]


def init_vision(config: VisionConfig, key: jax.Array) -> dict:
    return Vision(config).init(key, jnp.zeros((1, config.size, config.size, 3)))["params"]
