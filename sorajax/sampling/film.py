"""Films: clips longer than a model's window, made shot by shot in overlapping windows.

    window:  the film's first latent, its anchor | latents of the last window, kept | new latents
             known, at time 0                      known, at time 0                   from noise

Kept latents are never decoded and encoded again, so that nothing is lost from window to window, and the film is decoded
as one stream, so that windows leave no seam. The anchor, far away in time (`fixed_frames.anchored`), holds against
drift; after a cut it is the first latent from there. A model that was not trained to see one (`max_anchor_gap` 0) is
shown instead, as the window's first latent, which stands for a single frame, the film's own frame before the kept ones,
encoded. One that is told in pixels what it knows has the frames of the kept latents too. Memory does not grow with the
length: frames leave as they are made, latents are small.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sorajax.diffusion.fixed_frames import Known
from sorajax.media.video import Frames
from sorajax.sampling.shots import Shot, runs
from sorajax.sampling.store import WindowStore
from sorajax.sampling.windows import Past, known_before, new_latents, overlap, prompts_of, window_seed

Latents = Float[np.ndarray, "t h w c"]
AT_ONCE = 4  # latent frames that are decoded together


class WindowModel(Protocol):
    """What a film asks of a pipeline."""

    @property
    def stride(self) -> int:
        """Frames of a latent frame."""
        ...

    @property
    def max_anchor_gap(self) -> int:
        """Of the model, see `SoraConfig`."""
        ...

    @property
    def redo_latents(self) -> int:
        """Of the model, see `SoraConfig`."""
        ...

    def sample(self, prompt: str, seed: int, past: Past) -> Latents:
        """One window."""
        ...

    def encode(self, frames: Frames) -> Latents: ...

    def decode(self, latents: Latents, cache: Any) -> tuple[Frames, Any]:
        """The next frames of a stream, and what the stream remembers; `{}` begins one."""
        ...


def film_frames(
    model: WindowModel,
    shots: Sequence[Shot],
    shape: tuple[int, ...],
    seed: int,
    head: Frames | None = None,
    store: WindowStore | None = None,
) -> Iterator[Frames]:
    """The frames of a film, [t y x 3] of each window in turn; `shape` is that of a window's latents, [t h w c].

    head: its first stride * n + 1 frames, which come first, as the autoencoder reconstructs them. store: windows made
    before, which are not sampled again.
    """
    store, number = store or WindowStore(), 0
    for index, run in enumerate(runs(shots)):
        stream, prompts = Stream(model, shape[0]), prompts_of(run, model.stride)
        left = sum(shot.frames for shot in run)
        given = run[0].image.frames if run[0].image else head if index == 0 else None
        if given is not None:
            frames = stream.add(model.encode(given), given)[:left]
            left -= len(frames)
            yield frames
        while left:
            done = stream.done
            new = store.get(number)
            if new is None:
                sampled = model.sample(prompts[done], window_seed(seed, number), stream.past(shape))
                new = sampled[known_before(done, shape[0]) :][
                    : new_latents(prompts, done, shape[0], model.redo_latents)
                ]
                store.put(number, new)
            number += 1
            frames = stream.add(new)[:left]
            left -= len(frames)
            yield frames


class Stream:
    """The latents of one run, their frames, and what their decoding remembers: as much as the next window needs."""

    def __init__(self, model: WindowModel, window: int):
        """`window`: latents of one window."""
        self.model, self.most = model, 1 + overlap(window)
        self.cache: Any = {}
        self.done = 0  # latents of the run so far
        self.latents: list[Latents] = []  # [h w c] each
        self.anchor: Latents = np.zeros(0)  # the run's first one
        self.frames: Frames = np.zeros((0, 0, 0, 3), np.uint8)  # from the last one of the first of these latents

    def add(self, new: Latents, given: Frames | None = None) -> Frames:
        """Decodes more latents; `given` are the frames that the first ones were encoded from."""
        frames = []
        first = not self.done  # a film's first latent stands for one frame, and is decoded alone
        starts = [0, *range(1 if first else AT_ONCE, len(new), AT_ONCE)]
        for start, stop in zip(starts, [*starts[1:], len(new)], strict=True):
            part, self.cache = self.model.decode(new[start:stop], self.cache)
            frames.append(part)
        whole = np.concatenate(frames)
        shown = [whole if given is None else given] if first else [self.frames, whole]
        self.anchor = new[0] if first else self.anchor
        self.done += len(new)
        self.latents = [*self.latents, *new][-self.most :]
        self.frames = np.concatenate(shown)[-((len(self.latents) - 1) * self.model.stride + 1) :].copy()
        return whole

    def past(self, shape: tuple[int, ...]) -> Past:
        """What the next window of that shape knows."""
        latent, mask, second = np.zeros(shape, np.float32), np.zeros(shape[0], bool), 1
        if count := len(self.latents):
            first = self.latents[0]
            if count < self.done:  # a window's first latent stands for one frame
                first = self.anchor if self.model.max_anchor_gap else self.model.encode(self.frames[:1])[0]
                second = self.done - count + 1 if self.model.max_anchor_gap else 1
            latent[:count], mask[:count] = np.stack([first, *self.latents[1:]]), True
        known = Known(jnp.asarray(latent[None]), jnp.asarray(mask[None]), jnp.float32(1.0))
        return Past(known, second, self.frames)
