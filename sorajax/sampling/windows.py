"""The overlapping windows of a film, and how a model samples one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from sorajax.devices.sharding import to_host
from sorajax.diffusion.fixed_frames import FixedLatents
from sorajax.media.video import Frames
from sorajax.sampling.codec import Codec
from sorajax.sampling.denoiser import Denoiser
from sorajax.sampling.program import MAX_WHOLE_PIXELS
from sorajax.sampling.settings import Settings, latents_for
from sorajax.sampling.shots import Shot, runs


class Past(NamedTuple):
    """The fixed part of a window, from the run before it."""

    known: FixedLatents
    """Its latents [1 t h w c]: the anchor, then the overlap."""
    anchor_gap: int
    """Distance from the window's first latent to its second, in latents; above 1 the first is an anchor."""
    frames: Frames
    """Frames of the fixed latents, stride * n + 1; none if nothing is fixed, or where windows are sampled ahead."""


def overlap(window: int) -> int:
    """Latents that a window of `window` latents shares with the window before: a third of it, at least two, which show
    the speed of motion, as long as one new latent is left."""
    return max(0, min(max(2, (window - 1) // 3), window - 2))


def prompts_of(run: Sequence[Shot], stride: int) -> list[str]:
    """The prompt of each latent frame of a run; shots change at the nearest latent frame."""
    ends = [1 + round((end - 1) / stride) for end in np.cumsum([shot.frames for shot in run])]
    ends[-1] = latents_for(sum(shot.frames for shot in run), stride)
    starts = [0, *ends[:-1]]
    return [shot.prompt for shot, start, end in zip(run, starts, ends, strict=True) for _ in range(end - start)]


def windows_for(shots: Sequence[Shot], window: int, stride: int, head: int = 0, redo_latents: int = 0) -> int:
    """Number of windows, each of `window` latents, that a film samples; `head` latents of the first run are fixed. See
    `new_latents`."""
    count = 0
    for index, run in enumerate(runs(shots)):
        prompts = prompts_of(run, stride)
        done = 1 if run[0].image else head if index == 0 else 0
        while done < len(prompts):
            done += new_latents(prompts, done, window, redo_latents)
            count += 1
    return count


def new_latents(prompts: Sequence[str], done: int, window: int, redo_latents: int = 0) -> int:
    """Number of latents that a window adds after `done` latents, at least one: as many as fit and share one prompt,
    without the last `redo_latents`, which the next window samples again."""
    following = prompts[done : done + max(1, window - known_before(done, window) - redo_latents)]
    return next((i for i, prompt in enumerate(following) if prompt != following[0]), len(following))


def known_before(done: int, window: int) -> int:
    """Fixed latents at the beginning of the window after `done` latents: anchor and overlap."""
    return min(done, 1 + overlap(window))


def window_seed(seed: int, number: int) -> int:
    """The seed of a window's noise; the first window has that of a clip of one window."""
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


@dataclass(frozen=True)
class Windows:
    """The `film.WindowModel` of one request; `settings` are those of a window."""

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

    @property
    def samples_ahead(self) -> bool:
        """True where a window needs nothing but latents, and frames are small, on one device that is a CPU: its cores
        work better on two small programs than on one. Two large ones would need more memory, or wait for each other."""
        model, settings = self.settings.model, self.settings
        latents_suffice = model.max_anchor_gap > 0 and not model.conditioning.reads_frames
        small = settings.frames * settings.height * settings.width <= MAX_WHOLE_PIXELS
        one_cpu = jax.default_backend() == "cpu" and self.denoiser.programs.placement.mesh is None
        return latents_suffice and small and one_cpu and self.denoiser.params.fit_together

    def sample(self, prompt: str, seed: int, past: Past) -> Float[np.ndarray, "t h w c"]:
        known, extra = self.denoiser.window_inputs(past.known, past.frames)
        clips, times = [(prompt, seed)], self.settings.times()
        return to_host(self.denoiser.sample(clips, self.settings, times, known, extra, past.anchor_gap))[0]

    def encode(self, frames: Frames) -> Float[np.ndarray, "t h w c"]:
        return self.codec.encode(frames)

    def decode(self, latents: Float[np.ndarray, "t h w c"], cache: Any) -> tuple[Frames, Any]:
        return self.codec.decode_next(latents, cache, self.settings.height, self.settings.width)
