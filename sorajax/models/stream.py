"""Decoding part by part, a few latent frames at a time; frames are copied to the host while the next are decoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.devices.sharding import shard_frames, to_host
from sorajax.models.vae import VAE, Cache, VAEConfig

CHUNK = 4
"""Latent frames of a small clip that are decoded together."""


def next_pixels(config: VAEConfig, params: Any, latent: Float[Array, "b t h w c"], cache: Cache):
    """The next latent frames of a stream -> (pixels in [-1, 1], cache); `{}` starts the video. On several devices the
    cache is split as frames are."""
    video, cache = VAE(config).apply({"params": params}, latent, cache, method="decode_part")
    return video, jax.tree.map(shard_frames, cache)


def next_frames(config: VAEConfig, params: Any, latent: Float[Array, "b t h w c"], cache: Cache):
    """As `next_pixels`, in uint8."""
    video, cache = next_pixels(config, params, latent, cache)
    return to_bytes(video), cache


def to_bytes(video: Float[Array, "b t y x 3"]) -> UInt8[Array, "b t y x 3"]:
    """Pixels in [-1, 1] as uint8."""
    return jnp.round((video + 1.0) * 127.5).astype(jnp.uint8)


@partial(jax.jit, static_argnums=1)
def decode_to_bytes(params, config: VAEConfig, latent: Float[Array, "b t h w c"], cache: Cache):
    """The next latent frames of a stream -> (uint8 frames [b t y x 3], cache)."""
    return next_frames(config, params, latent, cache)


Part = Callable[[Any, VAEConfig, Any, Any], tuple[Any, Any]]
"""(parameters, config, the next latent frames, cache) -> (their frames, cache), a compiled program."""


def decode_singly(
    params: Any, config: VAEConfig, latent: Float[Array, "b t h w c"], cache: Cache, part: Part = decode_to_bytes
) -> tuple[UInt8[np.ndarray, "b t2 y x 3"], Cache]:
    """As `decode_to_bytes`, one latent frame at a time: less memory, for large frames."""
    stream = Stream(params, config, cache, part)
    return np.concatenate(list(stream.frames(latent[:, at : at + 1] for at in range(latent.shape[1]))), 1), stream.cache


def decode_chunks(
    params, config: VAEConfig, latent: Float[Array, "b t h w c"], chunk: int = CHUNK, part: Part = decode_to_bytes
) -> Iterator[np.ndarray]:
    """Yields uint8 frames [b t y x 3], chunk by chunk of latent frames; memory does not grow with the length."""
    later = (latent[:, at : at + chunk] for at in range(1, latent.shape[1], chunk))
    return Stream(params, config, {}, part).frames(chain([latent[:, :1]], later))


@dataclasses.dataclass
class Stream:
    """A decoder, or stages of one, that runs part by part; the cache of the last part."""

    params: Any
    config: VAEConfig
    cache: Cache
    part: Part = decode_to_bytes

    def frames(self, parts: Iterable[Float[Any, "b t h w c"]]) -> Iterator[np.ndarray]:
        """Yields the frames of each part. They are copied to the host while the device decodes the next part."""
        before = None
        for latent in parts:
            frames, self.cache = self.part(self.params, self.config, latent, self.cache)
            if frames.is_fully_addressable:
                frames.copy_to_host_async()
            if before is not None:
                yield to_host(before)
            before = frames
        if before is not None:
            yield to_host(before)
