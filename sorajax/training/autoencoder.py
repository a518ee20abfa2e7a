"""Trained autoencoders: reading them, encoding and reconstructing with them, and writing them with their latents'
moments."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from sorajax.models.folder import Storage, export_model, load_model, model_kind
from sorajax.models.sora import SoraConfig
from sorajax.models.vae import VAE, VAEConfig, denormalise, stream_decode, stream_encode
from sorajax.pretrained.open import read_external_parts
from sorajax.pretrained.wan_folder import is_open_model, open_autoencoder
from sorajax.training.growth import narrower, wider

WHOLE = 2**23  # pixels of a batch up to which it is encoded in one piece


def load_vae(directory: Path) -> tuple[VAEConfig, Any]:
    """Config and parameters of an autoencoder: an exported one, that of a whole model or of the model that it has its
    autoencoder from, or an open one.

    An open one is a folder of a diffusers `AutoencoderKLWan`, or of a whole Wan model in either layout. Raises as
    `load_model` and `open_model` do.
    """
    directory = read_external_parts(directory).get("vae", directory)
    if (opened := open_autoencoder(directory)) is not None:
        return opened.config, opened.load()
    if model_kind(directory) == SoraConfig.__name__:
        whole, params, _ = load_model(directory, SoraConfig)
        return whole.vae, params["vae"]
    config, params, _ = load_model(directory, VAEConfig)
    return config, params["vae"]


def is_autoencoder(directory: Path) -> bool:
    """Whether a folder holds an autoencoder by itself, exported or open. Raises ValueError for a damaged config."""
    if is_open_model(directory):
        return False
    if open_autoencoder(directory) is not None:
        return True
    try:
        return model_kind(directory) == VAEConfig.__name__
    except FileNotFoundError:
        return False


def load_resized(directory: Path, config: VAEConfig) -> dict[str, Any]:
    """The parameters in a folder that `load_vae` reads, as wide as `config`: see `growth.wider` and `growth.narrower`.

    Raises ValueError where neither makes the widths in it of theirs.
    """
    found, params = load_vae(directory)
    for part, old, new in (
        ("encoder", found.base, config.base),
        ("decoder", found.decoder_base or found.base, config.decoder_base or config.base),
    ):
        if old == new:
            continue
        if found.shortcuts or (new % old and not old <= 2 * new < 2 * old):
            raise ValueError(
                f"the {part} is to have {new} channels and that in {directory} has {old}: one is "
                "widened by a whole factor or narrowed to no less than half, and only without shortcuts"
            )
        if new > old:
            params[part] = wider(part, params[part], new // old, jax.random.key(0))
        else:
            params[part] = narrower(part, params[part], old, new)
    return params


def export_vae(
    directory: Path,
    config: VAEConfig,
    params: Any,
    storage: Storage,
    measured: Iterable[Float[Array, "b t y x 3"]] = (),
) -> None:
    """Writes a model folder, its config completed by the moments of the latents of clips, where there are any."""
    if raw := [_mean(config, params, video) for video in measured]:
        values = np.concatenate([np.asarray(z, np.float64).reshape(-1, z.shape[-1]) for z in raw])
        mean, std = (tuple(round(float(x), 5) for x in f(values, 0)) for f in (np.mean, np.std))
        config = dataclasses.replace(config, mean=mean, std=std)
    export_model(directory, {"vae": params}, config, None, storage)


def frame_encoder(directory: Path) -> Callable[[jax.Array], jax.Array]:
    """The autoencoder in a folder, as a function: frames [n h w 3] in [-1, 1] -> latents [n h w c], of each alone."""
    encode = encoder(*load_vae(directory))

    def frames(video: jax.Array) -> jax.Array:
        return encode(video[:, None])[:, 0]

    return frames


def encoder(config: VAEConfig, params: Any) -> Callable[[Float[Array, "b t y x 3"]], Any]:
    """Clips in [-1, 1] -> normalised latents; large ones are encoded as a stream, in the memory of a few frames.

    A function with its parameters, which may be an argument of a compiled one.
    """
    return Partial(partial(_encoded, config), params)


def _encoded(config: VAEConfig, params: Any, video: Float[Array, "b t y x 3"]) -> Any:
    if np.prod(video.shape[:-1]) > WHOLE:
        return stream_encode(params, config, video)
    return VAE(config).apply({"params": params}, video, method="encode")


def decode_raw(vae: VAE, z: Float[Array, "b t h w c"]) -> Float[Array, "b t y x 3"]:
    """Raw latents -> pixels not clipped, whose gradient never vanishes."""
    return vae.decoder(z, {})[0].astype(jnp.float32)


@partial(jax.jit, static_argnums=0)
def reconstructed(config: VAEConfig, params: Any, video: Float[Array, "b t h w 3"]) -> Any:
    """Clips in [-1, 1] -> the same through the autoencoder's mean latents; large ones as a stream."""
    if np.prod(video.shape[:-1]) > WHOLE:
        return stream_decode(params, config, stream_encode(params, config, video))
    return VAE(config).apply({"params": params}, video)


@partial(jax.jit, static_argnums=0)
def _mean(config: VAEConfig, params: Any, video: Array) -> Any:
    return denormalise(encoder(config, params)(video), config)
