"""How a film is cut into overlapping windows, and how a model makes one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sorajax.diffusion.fixed_frames import Known
from sorajax.media.video import Frames
from sorajax.sampling.codec import Codec
from sorajax.sampling.denoiser import Denoiser
from sorajax.sampling.settings import Settings, latents_for
from sorajax.sampling.shots import Shot, runs


class Past(NamedTuple):
    """What a window knows of its run: latents, how many latents its second one lies after its first, and the frames
    of what is known, stride * n + 1; none where nothing is."""

    known: Known
    second: int
    frames: Frames


def overlap(window: int) -> int:
    """Kept latents at the beginning of a window of so many: two at least where one is left to make, to show a pace."""
    return max(0, min(max(2, (window - 1) // 3), window - 2))


def prompts_of(run: Sequence[Shot], stride: int) -> list[str]:
    """The prompt of each latent frame of a run; shots change at the latent frame that is nearest."""
    ends = [1 + round((end - 1) / stride) for end in np.cumsum([shot.frames for shot in run])]
    ends[-1] = latents_for(sum(shot.frames for shot in run), stride)
    starts = [0, *ends[:-1]]
    return [shot.prompt for shot, start, end in zip(run, starts, ends, strict=True) for _ in range(end - start)]


def windows_for(shots: Sequence[Shot], window: int, stride: int, head: int = 0, redo_latents: int = 0) -> int:
    """How many windows of so many latents are sampled; `head` latents of the first run are given. See `new_latents`."""
    count = 0
    for index, run in enumerate(runs(shots)):
        prompts = prompts_of(run, stride)
        done = 1 if run[0].image else head if index == 0 else 0
        while done < len(prompts):
            done += new_latents(prompts, done, window, redo_latents)
            count += 1
    return count


def new_latents(prompts: Sequence[str], done: int, window: int, redo_latents: int = 0) -> int:
    """How many latents the window after `done` latents adds, at least one: as many as fit and have one prompt, without
    the last `redo_latents`, which the next window makes again."""
    coming = prompts[done : done + max(1, window - known_before(done, window) - redo_latents)]
    return next((i for i, prompt in enumerate(coming) if prompt != coming[0]), len(coming))


def known_before(done: int, window: int) -> int:
    """Latents at the beginning of a window that are known when `done` are there."""
    return min(done, 1 + overlap(window))


def window_seed(seed: int, number: int) -> int:
    """Every window has noise of its own; the first one's is that of a clip alone."""
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


@dataclass(frozen=True)
class Windows:
    """The `film.WindowModel` of one request: its settings are those of a window."""

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
        known, extra = self.denoiser.window_inputs(past.known, past.frames)
        clips, times = [(prompt, seed)], self.settings.times()
        return np.asarray(self.denoiser.sample(clips, self.settings, times, known, extra, past.second))[0]

    def encode(self, frames: Frames) -> Float[np.ndarray, "t h w c"]:
        return self.codec.encode(frames)

    def decode(self, latents: Float[np.ndarray, "t h w c"], cache: Any) -> tuple[Frames, Any]:
        return self.codec.decode_next(latents, cache, self.settings.height, self.settings.width)
