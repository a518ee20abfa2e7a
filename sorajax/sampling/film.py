"""Films: clips longer than a model's window, sampled shot by shot in overlapping windows.

    window:  anchor, the film's first latent | overlap, last latents of the previous window | new latents
             fixed, at time 0                  fixed, at time 0                               from noise

Overlap latents are never decoded and encoded again, so no detail is lost from window to window. The whole film is
decoded as one stream, so windows leave no seam. The anchor, far away in time (`fixed_frames.anchored`), counters drift;
after a cut it is the first latent of the new run. A model that was trained without anchors (`max_anchor_gap` 0) gets
another first latent, which encodes a single frame: the film's frame before the overlap, encoded. A model that reads
fixed frames as pixels gets the frames of the overlap too. Memory does not grow with the length, because frames are
yielded as they are made; latents are small. Where the next window needs latents only, it may be sampled while the
frames of this one are decoded and used.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sorajax.diffusion.fixed_frames import FixedLatents
from sorajax.media.video import Frames
from sorajax.sampling.program import in_background
from sorajax.sampling.shots import Shot, runs
from sorajax.sampling.store import WindowStore
from sorajax.sampling.windows import Past, known_before, new_latents, overlap, prompts_of, window_seed

Latents = Float[np.ndarray, "t h w c"]
DECODED_TOGETHER = 4  # latent frames


class WindowModel(Protocol):
    """The model's interface for films; `windows.Windows` implements it."""

    @property
    def stride(self) -> int:
        """Frames per latent frame."""
        ...

    @property
    def max_anchor_gap(self) -> int:
        """See `SoraConfig`."""
        ...

    @property
    def redo_latents(self) -> int:
        """See `SoraConfig`."""
        ...

    @property
    def samples_ahead(self) -> bool:
        """Whether a window is sampled while the frames of the one before are decoded; it then gets no frames."""
        ...

    def sample(self, prompt: str, seed: int, past: Past) -> Latents:
        """Samples the latents of one window."""
        ...

    def encode(self, frames: Frames) -> Latents:
        """Encodes stride * n + 1 frames to n + 1 latents."""
        ...

    def decode(self, latents: Latents, cache: Any) -> tuple[Frames, Any]:
        """Decodes the next latents of a stream. Returns frames and the decoder's cache; the cache `{}` begins a
        stream."""
        ...


def film_frames(
    model: WindowModel,
    shots: Sequence[Shot],
    shape: tuple[int, ...],
    seed: int,
    head: Frames | None = None,
    store: WindowStore | None = None,
) -> Iterator[Frames]:
    """Yields a film's frames, [t y x 3] per window. `shape` is [t h w c], that of one window's latents.

    head: the film's first stride * n + 1 frames; they are yielded first, as the autoencoder reconstructs them.
    store: windows that an earlier run sampled; they are read, not sampled again.
    """
    store, number = store or WindowStore(), 0
    for index, run in enumerate(runs(shots)):
        stream, prompts = Stream(model, shape[0]), prompts_of(run, model.stride)
        left = sum(shot.frames for shot in run)
        start = run[0].image.frames if run[0].image else head if index == 0 else None
        if start is not None:
            fixed = model.encode(start)
            stream.follow(fixed)
            frames = stream.decode(fixed, start)[:left]
            left -= len(frames)
            yield frames
        window = partial(next_latents, model, prompts, stream, shape, seed, store)
        begun: Future[Latents] | None = None
        while left:
            new = begun.result() if begun else window(number)()
            number += 1
            stream.follow(new)
            ahead = model.samples_ahead and stream.done < len(prompts)
            begun = in_background(window(number)) if ahead else None
            frames = stream.decode(new)[:left]
            left -= len(frames)
            yield frames


def next_latents(
    model: WindowModel,
    prompts: Sequence[str],
    stream: "Stream",
    shape: tuple[int, ...],
    seed: int,
    store: WindowStore,
    number: int,
) -> Callable[[], Latents]:
    """A function that samples window `number` of a film, which follows the stream, or reads it from the store. It does
    not read the stream, which may go on."""
    stored = store.get(number)
    if stored is not None:
        return lambda: stored
    done, past = stream.done, stream.past(shape)

    def sample() -> Latents:
        sampled = model.sample(prompts[done], window_seed(seed, number), past)
        new = sampled[known_before(done, shape[0]) :][: new_latents(prompts, done, shape[0], model.redo_latents)]
        store.put(number, new)
        return new

    return sample


class Stream:
    """The last latents of one run, their frames and the decoder's cache: as much as the next window needs."""

    def __init__(self, model: WindowModel, window: int):
        """`window`: latents in one window."""
        self.model, self.context = model, 1 + overlap(window)  # latents that the next window can use
        self.cache: Any = {}
        self.done = 0  # latents of the run so far
        self.latents: list[Latents] = []  # [h w c] each
        self.anchor: Latents = np.zeros(0)  # the run's first latent
        self.frames: Frames = np.zeros((0, 0, 0, 3), np.uint8)  # of `latents`, of the first one only its last frame

    def follow(self, new: Latents) -> None:
        """Adds latents, whose frames `decode` makes next."""
        self.anchor = self.anchor if self.done else new[0]
        self.done += len(new)
        self.latents = [*self.latents, *new][-self.context :]

    def decode(self, new: Latents, originals: Frames | None = None) -> Frames:
        """Decodes latents and returns their frames; `originals` are the frames that the run's first latents were
        encoded from."""
        parts = []
        first = not self.cache  # a film's first latent stands for one frame, and is decoded alone
        starts = [0, *range(1 if first else DECODED_TOGETHER, len(new), DECODED_TOGETHER)]
        for start, stop in zip(starts, [*starts[1:], len(new)], strict=True):
            part, self.cache = self.model.decode(new[start:stop], self.cache)
            parts.append(part)
        frames = np.concatenate(parts)
        if not self.model.samples_ahead:
            recent = [frames if originals is None else originals] if first else [self.frames, frames]
            self.frames = np.concatenate(recent)[-((len(self.latents) - 1) * self.model.stride + 1) :].copy()
        return frames

    def past(self, shape: tuple[int, ...]) -> Past:
        """The fixed latents of the next window, whose latents have that shape."""
        latent, mask, anchor_gap = np.zeros(shape, np.float32), np.zeros(shape[0], bool), 1
        if count := len(self.latents):
            first = self.latents[0]
            if count < self.done:  # a window's first latent stands for one frame
                first = self.anchor if self.model.max_anchor_gap else self.model.encode(self.frames[:1])[0]
                anchor_gap = self.done - count + 1 if self.model.max_anchor_gap else 1
            latent[:count], mask[:count] = np.stack([first, *self.latents[1:]]), True
        known = FixedLatents(jnp.asarray(latent[None]), jnp.asarray(mask[None]), jnp.float32(1.0))
        return Past(known, anchor_gap, self.frames)
