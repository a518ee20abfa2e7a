"""Decoding frames larger than memory: overlapping tiles, each a stream through time of its own, blended in pixels.

    weight of a pixel in a tile = product over both axes of clip(3 * distance to the tile's edge / overlap - 1, 0, 1),
    where the edge is inside the frame; a pixel is the weighted mean of the tiles that show it

so that no tile's edge is seen, and where tiles agree nothing changes. The outer third of an overlap is not shown at
all: there convolutions see zeros beyond the tile's edge, where the whole frame has more picture. What is left is what
reaches further, and the attention in the decoder's middle, which sees its tile alone; tests/models/test_tiles.py prints
how far tiles are from the whole. Device memory is that of one tile, whatever the frame's size and the clip's length.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.models.vae import VAE, Cache, VAEConfig

TILE, OVERLAP = 320, 96  # pixels
LARGEST = 2**18
"""Pixels of a frame up to which it is decoded whole on any machine."""

Place = tuple[int, int]
"""The first row and column of a tile, in latents."""


def starts(length: int, tile: int, step: int) -> list[int]:
    """Where tiles begin that cover so much; the last one is moved in, so that all are of one size."""
    return sorted({min(start, max(0, length - tile)) for start in range(0, max(1, length - tile + step), step)})


def ramp(start: int, tile: int, length: int, overlap: int) -> Float[np.ndarray, " tile"]:
    """A tile's weights along one axis, in pixels: 1, and falling to 0 before edges that lie inside the frame."""
    place = np.arange(tile) + 0.5
    rising = 3 * place / overlap - 1 if start > 0 else np.ones(tile)
    falling = 3 * (tile - place) / overlap - 1 if start + tile < length else np.ones(tile)
    return np.clip(np.minimum(rising, falling), 0.0, 1.0).astype(np.float32)


@partial(jax.jit, static_argnums=1)
def _decode_part(params: Any, config: VAEConfig, latent: Any, cache: Cache) -> Any:
    return VAE(config).apply({"params": params}, latent, cache, method="decode_part")


def decode_tiles(
    params: Any,
    config: VAEConfig,
    latent: Float[Any, "b t h w c"],
    caches: dict[Place, Cache],
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> tuple[UInt8[np.ndarray, "b t2 y x 3"], dict[Place, Cache]]:
    """The next latent frames of a stream -> (frames, what each tile remembers, on the host); `{}` begins a stream.

    `tile` and `overlap` in pixels, multiples of the autoencoder's stride.
    """
    time, rows, columns = config.stride
    b, t, h, w, _ = latent.shape
    high, wide = min(tile // rows, h), min(tile // columns, w)
    begins = not caches
    frames = t * time - (time - 1 if begins else 0)
    total = np.zeros((b, frames, h * rows, w * columns, 3), np.float32)
    weights = np.zeros((h * rows, w * columns, 1), np.float32)
    left: dict[Place, Cache] = {}
    for top in starts(h, high, (tile - overlap) // rows):
        for first in starts(w, wide, (tile - overlap) // columns):
            place = (top, first)
            across = ramp(first * columns, wide * columns, w * columns, overlap)
            weight = ramp(top * rows, high * rows, h * rows, overlap)[:, None, None] * across[None, :, None]
            shown = np.s_[top * rows : (top + high) * rows, first * columns : (first + wide) * columns]
            weights[shown] += weight
            part, cache, done = latent[:, :, top : top + high, first : first + wide], caches.get(place, {}), 0
            for number in range(t):
                pixels, cache = _decode_part(params, config, part[:, number : number + 1], cache)
                made = np.asarray(pixels)
                total[:, done : done + made.shape[1]][(slice(None), slice(None), *shown)] += made * weight
                done += made.shape[1]
            left[place] = jax.device_get(cache)
    return np.round((total / weights + 1.0) * 127.5).astype(np.uint8), left
