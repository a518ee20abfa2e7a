"""A film's windows, made by a denoiser and a codec: what `film` asks of a model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sorajax.media.video import Frames
from sorajax.models.velocity import ExtraInputs
from sorajax.sampling.codec import Codec
from sorajax.sampling.conditions import ConditioningFrames
from sorajax.sampling.denoiser import Denoiser
from sorajax.sampling.film import Past
from sorajax.sampling.settings import Settings


@dataclass(frozen=True)
class Windows:
    """The `film.Model` of one request."""

    denoiser: Denoiser
    codec: Codec
    settings: Settings

    @property
    def stride(self) -> int:
        return self.settings.model.vae.stride[0]

    @property
    def max_anchor_gap(self) -> int:
        return self.settings.model.max_anchor_gap

    @property
    def redo_latents(self) -> int:
        return self.settings.model.redo_latents

    def sample(self, prompt: str, seed: int, past: Past) -> Float[np.ndarray, "t h w c"]:
        (known, second, frames), extra = past, ExtraInputs()
        if self.settings.model.known == "channels":
            known, extra = self.denoiser.known(ConditioningFrames(head=frames), known.latent.shape, known)
        clips, times = [(prompt, seed)], self.settings.times()
        return np.asarray(self.denoiser.sample(clips, self.settings, times, known, extra, second))[0]

    def encode(self, frames: Frames) -> Float[np.ndarray, "t h w c"]:
        return self.codec.encode(frames)

    def decode(self, latents: Float[np.ndarray, "t h w c"], cache: Any) -> tuple[Frames, Any]:
        return self.codec.decode_next(latents, cache, self.settings.height, self.settings.width)
