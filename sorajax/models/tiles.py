"""Tiled decoding of large frames: overlapping tiles, each streamed through time by itself, blended in pixel space.

    weight of a pixel in a tile = product over both axes of clip(3 * distance to the tile's edge / overlap - 1, 0, 1),
    where the edge is inside the frame; a pixel is the weighted mean of the tiles that cover it

so that there are no seams, and pixels on which tiles agree do not change. The outer third of an overlap has weight 0:
there convolutions see zero padding beyond the tile's edge, where the frame goes on. Two differences from untiled
decoding remain: receptive fields larger than that, and the attention in the decoder's middle, which is limited to its
tile; tests/models/test_tiles.py prints their size. Device memory is that of one tile, for any frame size and length.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.devices.sharding import to_host
from sorajax.models.vae import Cache, Part, Stream, VAEConfig, next_pixels

TILE, OVERLAP = 320, 96  # pixels
UNTILED_PIXELS = 2**18
"""Largest frame, in pixels, that is decoded without tiles on any machine."""

Place = tuple[int, int]
"""First row and column of a tile, in latent positions."""


def tile_starts(length: int, tile: int, step: int) -> list[int]:
    """Starts of the tiles that cover `length`; the last one is moved inwards, so that all have the same size."""
    return sorted({min(start, max(0, length - tile)) for start in range(0, max(1, length - tile + step), step)})


def ramp(start: int, tile: int, length: int, overlap: int) -> Float[np.ndarray, " tile"]:
    """Weights of a tile along one axis, in pixels: 1, falling to 0 towards edges inside the frame."""
    offset = np.arange(tile) + 0.5  # pixel centres
    rising = 3 * offset / overlap - 1 if start > 0 else np.ones(tile)
    falling = 3 * (tile - offset) / overlap - 1 if start + tile < length else np.ones(tile)
    return np.clip(np.minimum(rising, falling), 0.0, 1.0).astype(np.float32)


@partial(jax.jit, static_argnums=1)
def decode_part(params: Any, config: VAEConfig, latent: Any, cache: Cache) -> Any:
    """Pixels and the next cache of one part of a tile's latents."""
    return next_pixels(config, params, latent, cache)


def decode_tiles(
    params: Any,
    config: VAEConfig,
    latent: Float[Any, "b t h w c"],
    caches: dict[Place, Cache],
    tile: int = TILE,
    overlap: int = OVERLAP,
    part: Part = decode_part,
) -> tuple[UInt8[np.ndarray, "b t2 y x 3"], dict[Place, Cache]]:
    """The next latent frames of a stream -> (frames, caches of all tiles, in host memory).

    `caches` are those of the previous call; `{}` starts a stream. `tile` and `overlap` are in pixels, multiples of the
    autoencoder's stride. part: decodes one latent frame of a tile.
    """
    time, rows, columns = config.stride
    b, t, h, w, _ = latent.shape
    high, wide = min(tile // rows, h), min(tile // columns, w)
    is_first = not caches
    frames = t * time - (time - 1 if is_first else 0)
    total = np.zeros((b, frames, h * rows, w * columns, 3), np.float32)
    weights = np.zeros((h * rows, w * columns, 1), np.float32)
    new_caches: dict[Place, Cache] = {}
    for top in tile_starts(h, high, (tile - overlap) // rows):
        for first in tile_starts(w, wide, (tile - overlap) // columns):
            offset = (top, first)
            horizontal = ramp(first * columns, wide * columns, w * columns, overlap)
            weight = ramp(top * rows, high * rows, h * rows, overlap)[:, None, None] * horizontal[None, :, None]
            region = np.s_[top * rows : (top + high) * rows, first * columns : (first + wide) * columns]
            weights[region] += weight
            inside, done = latent[:, :, top : top + high, first : first + wide], 0
            stream = Stream(params, config, inside, caches.get(offset, {}), part)
            for pixels in stream.frames([*range(t)]):
                total[:, done : done + pixels.shape[1]][(slice(None), slice(None), *region)] += pixels * weight
                done += pixels.shape[1]
            new_caches[offset] = jax.tree.map(to_host, stream.cache)
    return np.round((total / weights + 1.0) * 127.5).astype(np.uint8), new_caches
