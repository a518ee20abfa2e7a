"""Frames to latents and back: in one piece where that is small, else as a stream, or tile by tile."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.devices.residency import Parts, memory_of_devices
from sorajax.diffusion.looped import Cycle
from sorajax.media.video import Frames
from sorajax.models.sora import SoraConfig
from sorajax.models.tiles import UNTILED_PIXELS, decode_tiles
from sorajax.models.vae import VAE, decode_chunks, decode_singly, decode_to_bytes, stream_encode
from sorajax.sampling.memory import in_tiles
from sorajax.sampling.program import Programs, decode_whole, interruptible

WHOLE = 2**20
"""Pixels in all frames of a batch up to which one piece takes little memory."""


class Codec:
    """The autoencoder of a model."""

    def __init__(self, config: SoraConfig, params: Parts, programs: Programs):
        self.config, self.params, self.programs = config, params, programs

    def encode(
        self, frames: UInt8[np.ndarray, "t y x 3"] | Float[np.ndarray, "t y x 3"]
    ) -> Float[np.ndarray, "t2 h w c"]:
        """Latents of frames, bytes or floats in [-1, 1]. Edges are repeated to whole patches."""
        (_, rows, columns), (_, ph, pw) = self.config.vae.stride, self.config.dit.patch
        _, height, width, _ = frames.shape
        more = (0, 0), (0, -height % (rows * ph)), (0, -width % (columns * pw)), (0, 0)
        frames = np.pad(frames, more, "edge")
        video = (frames.astype(np.float32) / 127.5 - 1.0 if frames.dtype == np.uint8 else frames)[None]
        config, large = self.config.vae, np.prod(frames.shape[:3]) > WHOLE

        def encode(params: Any, video: Float[Array, "1 t y x 3"]) -> Any:
            if large:
                return stream_encode(params, config, video)
            return VAE(config).apply({"params": params}, video, method="encode")

        return np.asarray(self.programs(("encoder", video.shape), encode, self.params["vae"], video))[0]

    def decode(
        self, latents: Float[Array, "b t h w c"], height: int, width: int, cycle: Cycle | None = None
    ) -> UInt8[np.ndarray, "b t y x 3"]:
        """Frames of whole clips, cut to the size that is shown; of a loop, whose latents are a cycle, one turn."""
        if cycle is not None:
            turn = cycle.size * self.config.vae.stride[0]
            return self.decode(cycle.unrolled(latents), height, width)[:, -turn:]
        params, config, shown = self.params["vae"], self.config.vae, np.s_[:, :, :height, :width]
        decode = self.decoder(latents.shape)
        if decode is not decode_to_bytes:
            return interruptible(lambda: decode(params, config, latents, {}))[0][shown]
        if latents.shape[0] * latents.shape[1] * config.stride[0] * height * width > WHOLE:
            return np.concatenate([part[shown] for part in decode_chunks(params, config, latents)], 1)
        whole = self.programs(("decoder", latents.shape), partial(decode_whole, config), params, latents)
        return np.asarray(whole)[shown]

    def decode_next(
        self, latents: Float[np.ndarray, "t h w c"], cache: Any, height: int, width: int
    ) -> tuple[Frames, Any]:
        """The next frames of a stream, and what the stream remembers; `{}` begins one."""
        decode, params = self.decoder((1, *latents.shape)), self.params["vae"]
        frames, cache = interruptible(lambda: decode(params, self.config.vae, latents[None], cache))
        return np.asarray(frames)[0, :, :height, :width], cache

    def decoder(self, shape: tuple[int, ...]) -> Callable:
        """What decodes latents [b t h w c], a part of a stream, in the memory of this machine."""
        (_, rows, columns), (b, *latent) = self.config.vae.stride, shape
        if latent[1] * rows * latent[2] * columns <= UNTILED_PIXELS:
            return decode_to_bytes
        memory = memory_of_devices() / jax.local_device_count()
        return decode_tiles if in_tiles(self.config.vae, self.params["vae"], latent, memory, b) else decode_singly
