"""Previews of latents: a linear map of their channels to colours, rough but fast.

    colour[t, h, w] = latent[t, h, w] . matrix + offset,    each a pixel of a small picture

The map is fitted once per model, by least squares: clips of the world (`sorajax.world`) are encoded, and each latent is
compared with the mean colour of its pixels. It is stored in a file, by the name of the model's autoencoder.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.devices.residency import Parts
from sorajax.files import whole_file
from sorajax.sampling.codec import Codec
from sorajax.world.draw import render
from sorajax.world.scenes import CORE, sample_scenes

CLIPS, GROUPS = 24, 2  # of so many latent frames after the first
CELLS = 8  # latents along each side of a frame
SMALL = 4096  # numbers of an array that counts in the autoencoder's name


class ColourMap(NamedTuple):
    """Colours are in [0, 1]."""

    matrix: Float[np.ndarray, "c 3"]
    offset: Float[np.ndarray, " 3"]

    def colours(self, latents: Float[np.ndarray, "t h w c"]) -> UInt8[np.ndarray, "t h w 3"]:
        """A small picture of each latent frame."""
        found = np.asarray(latents, np.float32) @ self.matrix + self.offset
        return np.round(255 * np.clip(found, 0, 1)).astype(np.uint8)


def data_estimate(
    x: Float[Array, "b t h w c"], time: Float[Array, "b t"], velocity: Float[Array, "b t h w c"]
) -> Float[Array, "b t h w c"]:
    """The data estimate of a velocity: x - time * velocity, as velocity = noise - data."""
    return x - time[:, :, None, None, None] * velocity


def fit(codec: Codec) -> ColourMap:
    """Fits the map of a model."""
    stride, rows, columns = codec.config.vae.stride
    _, ph, pw = codec.config.dit.patch
    height, width, frames = CELLS // ph * ph * rows, CELLS // pw * pw * columns, GROUPS * stride + 1
    scenes = sample_scenes(np.random.default_rng(0), CLIPS, mix=CORE)
    rendered = np.asarray(render(scenes, frames, height, width)[0])
    latents = np.concatenate([codec.encode(clip)[1:] for clip in rendered])  # the first one is of a single frame
    shape = CLIPS * GROUPS, stride, height // rows, rows, width // columns, columns, 3
    colours = (rendered[:, 1:].reshape(shape).mean((1, 3, 5)) + 1) / 2
    inputs = latents.reshape(-1, latents.shape[-1]).astype(np.float64)
    solved = np.linalg.lstsq(np.hstack([inputs, np.ones((len(inputs), 1))]), colours.reshape(-1, 3), rcond=None)[0]
    return ColourMap(solved[:-1].astype(np.float32), solved[-1].astype(np.float32))


def name_of(params: Parts) -> str:
    """A name of an autoencoder, a hash of its small arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params["vae"]):
        digest.update(f"{jax.tree_util.keystr(path)} {jnp.shape(leaf)}".encode())
        if np.size(leaf) <= SMALL:
            digest.update(np.asarray(leaf, np.float32).tobytes())
    return digest.hexdigest()[:16]


def colour_map(codec: Codec, folder: Path) -> ColourMap:
    """The map of a model, from a file of the folder if it was fitted before."""
    path = folder / f"colours_{name_of(codec.params)}.npz"
    if path.exists():
        with np.load(path) as stored:
            return ColourMap(stored["matrix"], stored["offset"])
    found = fit(codec)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, temporary.open("wb") as out:
        np.savez(out, **found._asdict())
    return found
