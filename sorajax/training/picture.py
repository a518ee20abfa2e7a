"""The picture inputs of image-to-video models, encoded once with each clip's latents.

    channels   mask and latents of the first frame followed by grey, beside the noisy latents
    image      tokens of the first frame, where the transformer reads them

As `sorajax.models.conditioning.MaskChannels` makes them for sampling (Wan team 2025, section 5.1).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from sorajax.data.latents import signature
from sorajax.data.videos.encoding import EncodeClips
from sorajax.models.conditioning import mask_channels
from sorajax.models.sora import SoraConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import MEAN, STD, Vision, VisionConfig
from sorajax.pretrained.wan_folder import is_open_model, open_model
from sorajax.training.autoencoder import encoder, load_vae


def picture_encoder(config: SoraConfig, vae: Any, base: Path) -> tuple[Callable[[], EncodeClips], str]:
    """The function that opens the encoder of clips for a model that reads a picture, and its signature.

    `vae` are its autoencoder's parameters, `base` is the folder of open weights whose image encoder is read. Clips
    [b t y x 3] in [-1, 1] -> {"latent", "channels", "image"}, the last where there is an image encoder.
    """
    part = None if config.vision is None else open_model(base).parts["vision"]
    made_by = f"{signature(vae['encoder'])}-picture" + ("" if part is None else f"-{part.signature()}")

    def opened() -> EncodeClips:
        return Partial(partial(_read, config.vae, config.vision), vae, None if part is None else part.load())

    return opened, made_by


def open_encoder(folder: Path) -> tuple[Callable[[], EncodeClips], str]:
    """The function that opens the encoder of clips in a folder that `load_vae` reads, and its signature; for open
    image-to-video models it encodes their picture inputs, too."""
    config, params = load_vae(folder)
    if is_open_model(folder) and (whole := open_model(folder).config).conditioning.needs_first_frame:
        return picture_encoder(whole, params, folder)
    return lambda: encoder(config, params), signature(params["encoder"])


def _read(
    vae: VAEConfig, vision: VisionConfig | None, params: Any, vision_params: Any, video: Float[Array, "b t y x 3"]
) -> dict[str, Any]:
    encode = encoder(vae, params)
    made = {"latent": encode(video), "channels": channels(vae, encode, video)}
    if vision is None:
        return made
    return made | {"image": Vision(vision).apply({"params": vision_params}, preprocess(video[:, 0], vision.size))}


def channels(vae: VAEConfig, encode: Callable[[Any], Any], video: Float[Array, "b t y x 3"]) -> Any:
    """[b t h w k]: a mask for each pixel frame of a latent frame, then latents of the first frame and grey."""
    first = jnp.concatenate([video[:, :1], jnp.zeros_like(video[:, 1:])], 1)
    return mask_channels(encode(first), jnp.zeros(video.shape[1]).at[0].set(1.0), vae.stride[0])


def preprocess(image: Float[Array, "b y x 3"], size: int) -> Float[Array, "b size size 3"]:
    """As `models.vision.preprocess`, of pictures in [-1, 1]."""
    b, y, x, _ = image.shape
    width, height = (size, int(size * y / x)) if x <= y else (int(size * x / y), size)
    resized = jnp.clip(jax.image.resize((image + 1) / 2, (b, height, width, 3), "cubic"), 0, 1)
    top, left = (height - size) // 2, (width - size) // 2
    return (resized[:, top : top + size, left : left + size] - jnp.array(MEAN)) / jnp.array(STD)
