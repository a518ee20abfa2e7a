"""A text-to-video model: text encoder, transformer and autoencoder, and the conventions they were trained with."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from sorajax.models.conditioning import Conditioning, FrameClocks
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.text import TextConfig, TextEncoder
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.vision import Vision, VisionConfig

Expert = Literal["high", "low"]
"""The transformer for high noise, or the one for times below `SoraConfig.boundary`."""
EXPERTS: dict[str, str] = {"high": "dit", "low": "dit_low"}
"""Name of each expert's part of the parameters; a model without experts has its transformer in "dit"."""


@dataclasses.dataclass(frozen=True)
class SoraConfig:
    """Configuration of a model, whose parameters are one nested dict {"text", "dit", "vae"}.

    Raises ValueError where the parts do not fit together.
    """

    text: TextConfig = TextConfig()
    dit: DiTConfig = DiTConfig()
    vae: VAEConfig = VAEConfig()
    name: str = "sorajax"
    fps: float = 8.0
    """The base frame rate: one latent frame is one unit of temporal position at this rate."""
    sizes: tuple[tuple[int, int], ...] = ((64, 64),)
    """(height, width) in pixels that the model was trained on; the first is the default."""
    free_aspect: bool = False
    """The model was also trained on other shapes of at most as many pixels, so input images keep their aspect ratio."""
    frames: tuple[int, ...] = (17,)
    """Clip lengths in frames that the model was trained on; the first is the default."""
    max_anchor_gap: int = 0
    """Largest gap, in latent frames, between a film's first latent frame and a window conditioned on it, see
    `fixed_frames.anchored`; 0: the model was not trained to condition on the first frame of a film."""
    redo_latents: int = 0
    """Latent frames at the end of a film's window that the next window generates again, because frames far from the
    conditioning frames are less certain. More of them cost more windows."""
    shift: float = 3.0
    """Default timestep shift of sampling."""
    guidance_scale: float = 4.0
    negative_scale: float | None = None
    """For a distilled model, whose velocity is guided already (`guidance_scale` 1): the guidance scale of requests that
    have a negative prompt and name no scale; where the model reads the scale (`dit.guidance`), of all with one."""
    temperature: float = 1.0
    """Factor on the initial noise, see `sampling.program`."""
    steps: int = 30
    default_sampler: Literal["unipc", "euler", "flow_map"] | None = None
    """None: flow_map for flow maps, unipc for others."""
    preset: str = ""
    """Name of the preset that set these defaults, see `pretrained.presets`."""
    negative: str = ""
    """Default negative prompt."""
    clean_prompts: bool = False
    """Cleans prompts (Unicode, HTML entities, white space) and truncates long ones, as the open models' reference
    does."""
    conditioning: Conditioning = FrameClocks()
    """How the model reads the frames that a request fixes, see `models.conditioning`."""
    drop_conditioning_in_cfg: bool = False
    """The unconditional branch of classifier-free guidance drops both the prompt and the conditioning frames, see
    `fixed_frames.drop_conditioning`; needs a clock per frame."""
    vision: VisionConfig | None = None
    """The image encoder, where the transformer has the tokens of the first frame as input."""
    boundary: float | None = None
    """The time that separates two experts: "dit" denoises at times from here up, "dit_low" below; None: one model."""
    guidance_scale_low: float | None = None
    """The guidance scale at times below `boundary`; None: `guidance_scale`."""
    last_time: float = 0.0
    """End of the evenly spaced sampling times before the shift, see `diffusion.flow.schedule`."""
    whole_times: bool = False
    """Rounds the transformer's times down to multiples of 0.001, see `diffusion.flow.whole_times`."""

    def __post_init__(self):
        if self.dit.out_channels != self.vae.latent_channels:
            raise ValueError(
                f"the transformer makes {self.dit.out_channels} channels, the autoencoder's latents have "
                f"{self.vae.latent_channels}: set dit.out_channels to vae.latent_channels"
            )
        if self.dit.text_width != self.text.width:
            raise ValueError(
                f"the transformer reads text of width {self.dit.text_width}, the encoder makes "
                f"{self.text.width}: set dit.text_width to text.width"
            )
        if self.drop_conditioning_in_cfg and not self.conditioning.frame_clocks:
            raise ValueError(
                f"drop_conditioning_in_cfg needs a clock per frame, and conditioning is {self.conditioning.name}: set "
                "drop_conditioning_in_cfg to false"
            )
        if self.redo_latents < 0:
            raise ValueError(
                f"redo_latents {self.redo_latents} is not allowed: 0 keeps all latents of a window, 1 all but the last"
            )
        latent = self.vae.latent_channels
        needed = self.conditioning.in_channels(latent, self.vae.stride[0])
        if self.dit.in_channels != needed:
            raise ValueError(
                f"the transformer reads {self.dit.in_channels} channels, and latents of {latent} with conditioning "
                f"{self.conditioning.name} make {needed}: these parts are not of one model"
            )
        if (self.vision.width if self.vision else 0) != self.dit.image_width:
            raise ValueError(
                f"the transformer reads image tokens of width {self.dit.image_width}, the image encoder "
                f"makes {self.vision.width if self.vision else 'none'}: these parts are not of one model"
            )

    @property
    def is_flow_map(self) -> bool:
        """Whether the model predicts mean velocities between two times, and so takes steps of any size."""
        return self.dit.is_flow_map

    @property
    def sampler(self) -> Literal["unipc", "euler", "flow_map"]:
        """Name of the default sampler."""
        return self.default_sampler or ("flow_map" if self.is_flow_map else "unipc")

    @property
    def window(self) -> int:
        """Length in frames of the longest clip that is generated at once."""
        return max(self.frames)

    @property
    def film_window(self) -> int:
        """Frames of a film's windows: the length that the model knows best."""
        return self.frames[0]


@partial(jax.jit, static_argnums=0)
def init_text(config: TextConfig, key: jax.Array) -> dict:
    return TextEncoder(config).init(key, jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool))["params"]


@partial(jax.jit, static_argnums=0)
def init_dit(config: DiTConfig, key: jax.Array) -> dict:
    """Random parameters, float32 even where the config is quantized."""
    config = dataclasses.replace(config, quantized=False)
    latent, time = jnp.zeros((1, *config.patch, config.in_channels)), jnp.zeros((1, config.patch[0]))
    image = jnp.zeros((1, 2, config.image_width)) if config.image_width else None
    return DiT(config).init(key, latent, time, jnp.zeros((1, 2, config.text_width)), image=image)["params"]


@partial(jax.jit, static_argnums=0)
def init_vae(config: VAEConfig, key: jax.Array) -> dict:
    _, height, width = config.stride
    return VAE(config).init(key, jnp.zeros((1, 1 + config.stride[0], height, width, 3)))["params"]


@partial(jax.jit, static_argnums=0)
def init_vision(config: VisionConfig, key: jax.Array) -> dict:
    return Vision(config).init(key, jnp.zeros((1, config.size, config.size, 3)))["params"]
