"""Decoding of frames that do not fit into memory, in tiles that equal the whole frame's decoding.

The decoder's first stages, input, middle and first level, are at the lowest resolution and take little memory. They run
on whole frames, because the middle's attention sees all positions of a frame. All stages after them are convolutions
and norms of single positions, so a pixel depends on features at most `reach` positions away. They run tile by tile:

    frames[core of a tile] = stages(features[core, and `reach` positions around it])[core]

where nothing is around a core beyond the frame's edge, which the convolutions pad with zeros, as those of whole frames
do. Tiles overlap by twice the reach, and each is streamed through time by itself. Device memory is that of the first
stages or of one tile, for a clip of any length.
"""

from collections.abc import Iterable
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.devices.sharding import shard_frames, to_host
from sorajax.models.stream import Part, Stream, to_bytes
from sorajax.models.vae import Cache, Decoder, VAEConfig, denormalise

TILE = 40
"""Side of the smallest tile, in latent positions."""
UNTILED_PIXELS = 2**18
"""Largest frame, in pixels, that is decoded without tiles on any machine."""
WHOLE_STAGES = 2
"""Stages of the decoder that run on whole frames."""

Caches = dict[tuple[int, int], Cache]
"""Of each tile, by its first row and column in latent positions, and of whole frames, by `WHOLE`."""
WHOLE = -1, -1


def next_features(config: VAEConfig, params: Any, latent: Float[Any, "b t h w c"], cache: Cache) -> Any:
    """The next latent frames of a stream -> (features of whole frames, cache), by the decoder's first stages."""
    stages = Decoder(config, 0, WHOLE_STAGES)
    features, cache = stages.apply({"params": params["decoder"]}, denormalise(latent, config), cache)
    return features, jax.tree.map(shard_frames, cache)


def next_tile_pixels(config: VAEConfig, params: Any, features: Float[Any, "b t h w c"], cache: Cache) -> Any:
    """The next features of a tile -> (its pixels in [-1, 1], cache), by all later stages."""
    video, cache = Decoder(config, WHOLE_STAGES).apply({"params": params["decoder"]}, features, cache)
    return jnp.clip(video.astype(jnp.float32), -1.0, 1.0), jax.tree.map(shard_frames, cache)


def next_tile(config: VAEConfig, params: Any, features: Float[Any, "b t h w c"], cache: Cache) -> Any:
    """As `next_tile_pixels`, in uint8."""
    video, cache = next_tile_pixels(config, params, features, cache)
    return to_bytes(video), cache


@partial(jax.jit, static_argnums=1)
def features_part(params: Any, config: VAEConfig, latent: Any, cache: Cache) -> Any:
    """`next_features`, compiled."""
    return next_features(config, params, latent, cache)


@partial(jax.jit, static_argnums=1)
def tile_part(params: Any, config: VAEConfig, features: Any, cache: Cache) -> Any:
    """`next_tile`, compiled."""
    return next_tile(config, params, features, cache)


def feature_stride(config: VAEConfig) -> tuple[int, int]:
    """(frames, positions along rows and columns) of features per latent frame and position."""
    done = config.strides[-1:]
    return (done[0][0], done[0][1]) if done else (1, 1)


def reach(config: VAEConfig) -> int:
    """The latent positions on each side of a pixel's own on which it depends, through the stages that tiles run.

    A 3x3 convolution adds 1 at its resolution; doubling a resolution halves, upwards rounded, what is beyond it.
    """
    positions = 1  # the output's convolution
    for level in range(len(config.multipliers) - 1):
        positions += 2 * (config.residual_blocks + 1)
        last = level == len(config.multipliers) - 2
        if config.strides[level][1] == 2 and not last:
            positions = -(-(positions + 1) // 2)
    return -(-positions // feature_stride(config)[1])


def tile_starts(length: int, side: int, overlap: int) -> list[int]:
    """Starts of the tiles that cover `length`; the last one is moved inwards, so that all have the same size."""
    step = side - overlap
    return sorted({min(start, max(0, length - side)) for start in range(0, max(1, length - overlap), step)})


def core(start: int, side: int, length: int, reach: int) -> slice:
    """The part of a tile that equals the whole, in positions of the frame: all of it but `reach` from its ends, unless
    these are the frame's."""
    stop = min(start + side, length)
    return slice(start + (reach if start else 0), stop - (reach if stop < length else 0))


def scaled(positions: slice, stride: int, start: int = 0) -> slice:
    """The pixels of these latent positions, counted from position `start`."""
    return slice((positions.start - start) * stride, (positions.stop - start) * stride)


def frames_of(latents: int, each: int, starts: bool) -> int:
    """Frames of so many latent frames, `each` for one; a video's first latent frame gives one frame."""
    return max(0, latents * each - (each - 1 if starts else 0))


def decode_tiles(
    params: Any,
    config: VAEConfig,
    latent: Float[Any, "b t h w c"],
    caches: Caches,
    side: int = TILE,
    parts: tuple[Part, Part] = (features_part, tile_part),
    ends: bool = False,
) -> tuple[UInt8[np.ndarray, "b t2 y x 3"], Caches]:
    """The next latent frames of a stream -> (frames, caches in host memory).

    caches: of the previous call; `{}` starts a stream. side: of a tile, in latent positions. parts: `next_features` and
    `next_tile`, compiled. ends: nothing follows, so no cache is copied to the host.
    """
    (time, rows, columns), (b, t, h, w, _) = config.stride, latent.shape
    each, scale = feature_stride(config)
    starts, around, new = not caches, reach(config), Caches()
    whole = Stream(params, config, caches.get(WHOLE, {}), parts[0])
    features = gathered(whole.frames(latent[:, at : at + 1] for at in range(t)), frames_of(t, each, starts))
    new[WHOLE] = {} if ends else jax.tree.map(to_host, whole.cache)
    ranges = [slice(frames_of(at, each, starts), frames_of(at + 1, each, starts)) for at in range(t)]
    frames = np.empty((b, frames_of(t, time, starts), h * rows, w * columns, 3), np.uint8)
    side = max(side, 3 * around)
    for top, left in product(*(tile_starts(length, side, 2 * around) for length in (h, w))):
        stream = Stream(params, config, caches.get((top, left), {}), parts[1])
        inside = features[:, :, top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        (high, wide), done = (core(top, side, h, around), core(left, side, w, around)), 0
        for pixels in stream.frames(inside[:, part] for part in ranges):
            kept = pixels[:, :, scaled(high, rows, top), scaled(wide, columns, left)]
            frames[:, done : done + kept.shape[1], scaled(high, rows), scaled(wide, columns)] = kept
            done += kept.shape[1]
        new[top, left] = {} if ends else jax.tree.map(to_host, stream.cache)
    return frames, new


def gathered(parts: Iterable[np.ndarray], frames: int) -> np.ndarray:
    """Parts of a stream as one array of so many frames, of which there is no second copy."""
    whole, done = np.empty(0), 0
    for part in parts:
        whole = whole if done else np.empty((len(part), frames, *part.shape[2:]), part.dtype)
        whole[:, done : done + part.shape[1]] = part
        done += part.shape[1]
    return whole
