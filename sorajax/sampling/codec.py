"""The autoencoder in use: small clips are encoded and decoded in one call, longer ones as a stream, and frames that do
not fit into memory tile by tile."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.devices.residency import Parts, memory_of_devices
from sorajax.devices.sharding import to_host
from sorajax.diffusion.looped import Cycle
from sorajax.media.video import Frames
from sorajax.models.sora import SoraConfig
from sorajax.models.stream import decode_chunks, decode_singly, decode_to_bytes, next_frames
from sorajax.models.tiles import UNTILED_PIXELS, decode_tiles, next_features, next_tile
from sorajax.sampling.memory import tile_side
from sorajax.sampling.program import MAX_WHOLE_PIXELS, Programs, decode_whole, encode_frames, interruptible


class Codec:
    """A model's autoencoder, with frames in uint8 on one side and normalised latents on the other."""

    def __init__(self, config: SoraConfig, params: Parts, programs: Programs):
        self.config, self.params, self.programs = config, params, programs

    def encode(
        self, frames: UInt8[np.ndarray, "t y x 3"] | Float[np.ndarray, "t y x 3"]
    ) -> Float[np.ndarray, "t2 h w c"]:
        """Encodes stride * n + 1 frames, uint8 or floats in [-1, 1], to n + 1 normalised latent frames.

        The last rows and columns are repeated until height and width are whole patches of the transformer.
        """
        (_, rows, columns), (_, ph, pw) = self.config.vae.stride, self.config.dit.patch
        _, height, width, _ = frames.shape
        padding = (0, 0), (0, -height % (rows * ph)), (0, -width % (columns * pw)), (0, 0)
        frames = np.pad(frames, padding, "edge")
        video = (frames.astype(np.float32) / 127.5 - 1.0 if frames.dtype == np.uint8 else frames)[None]
        encode = partial(encode_frames, self.config.vae)
        return to_host(self.programs(("encoder", video.shape), encode, self.params["vae"], video))[0]

    def decode(
        self, latents: Float[Array, "b t h w c"], height: int, width: int, cycle: Cycle | None = None
    ) -> UInt8[np.ndarray, "b t y x 3"]:
        """Decodes whole clips and cuts off the padding beyond `height` and `width`. With a cycle the latents are those
        of a loop, and the frames are one turn of it: stride * cycle.size."""
        if cycle is not None:
            turn = cycle.size * self.config.vae.stride[0]
            return self.decode(cycle.unrolled(latents), height, width)[:, -turn:]
        params, config, crop = self.params["vae"], self.config.vae, np.s_[:, :, :height, :width]
        if self.decoder(latents.shape) is not decode_to_bytes:
            return self._decode_part(latents, {}, ends=True)[0][crop]
        if latents.shape[0] * latents.shape[1] * config.stride[0] * height * width > MAX_WHOLE_PIXELS:
            latents, part = self.programs.placement.replicate(latents), self.programs.part("decoder", next_frames)
            parts = decode_chunks(params, config, latents, part=part)
            return interruptible(lambda: np.concatenate([frames[crop] for frames in parts], 1))
        frames = self.programs(("decoder", latents.shape), partial(decode_whole, config), params, latents)
        return to_host(frames)[crop]

    def decode_next(
        self, latents: Float[np.ndarray, "t h w c"], cache: Any, height: int, width: int
    ) -> tuple[Frames, Any]:
        """Decodes the next latents of a stream. Returns their frames and the decoder's cache; the cache `{}` begins a
        stream."""
        frames, cache = self._decode_part(latents[None], cache)
        return frames[0, :, :height, :width], cache

    def _decode_part(self, latents: Float[Any, "b t h w c"], cache: Any, ends: bool = False) -> tuple[Any, Any]:
        """Decodes a part of a stream on the mesh. Returns its frames and the decoder's cache. ends: nothing follows."""
        params, config, decode = self.params["vae"], self.config.vae, self.decoder(latents.shape)
        latents = self.programs.placement.replicate(latents)
        if decode is decode_tiles:
            side = self.tile_side(latents.shape)
            parts = (
                self.programs.part("decoder, features", next_features),
                self.programs.part("decoder, a tile", next_tile),
            )
            return interruptible(lambda: decode_tiles(params, config, latents, cache, side, parts, ends))
        part = self.programs.part("decoder", next_frames)
        if decode is decode_singly:
            return interruptible(lambda: decode_singly(params, config, latents, cache, part))
        frames, cache = interruptible(lambda: part(params, config, latents, cache))
        return to_host(frames), cache

    def decoder(self, shape: tuple[int, ...]) -> Callable:
        """The function that decodes a part of a stream, latents of shape [b t h w c], within this machine's memory."""
        _, rows, columns = self.config.vae.stride
        if shape[2] * rows * shape[3] * columns <= UNTILED_PIXELS:
            return decode_to_bytes
        return decode_tiles if self.tile_side(shape) else decode_singly

    def tile_side(self, shape: tuple[int, ...]) -> int:
        """The side of the tiles in which latents of shape [b t h w c] are decoded; 0: whole frames."""
        memory, mesh = memory_of_devices() / jax.local_device_count(), self.programs.placement.mesh
        devices = 1 if mesh is None else mesh.size
        return tile_side(self.config.vae, self.params["vae"], shape[1:], memory, shape[0], devices)
