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

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sorajax.diffusion.fixed_frames import Known
from sorajax.errors import BadRequest
from sorajax.files import write_atomically
from sorajax.media.formats import changed_settings, parse_metadata
from sorajax.media.video import Frames, Video
from sorajax.sampling.request import CUT

Latents = Float[np.ndarray, "t h w c"]
AT_ONCE = 4  # latent frames that are decoded together
REQUEST = "request.json"
LOOK = re.compile(r"\bThe style is [^.]*\.?\s*$")


@dataclass(frozen=True, eq=False)
class Shot:
    """What is seen for so many frames. `cut` begins anew, with the image where there is one; else it goes on."""

    prompt: str
    frames: int
    cut: bool = False
    image: Video | None = None


def shots_of(prompt: str, frames: int, image: Video | None = None) -> list[Shot]:
    """The shots that a prompt of a film tells apart by "Cut to:", as long as each other; one where it does not."""
    told = [part.strip() for part in CUT.split(prompt) if part.strip()]
    if look := LOOK.search(told[-1]):  # said once, and of every shot
        told = [part if LOOK.search(part) else f"{part.rstrip('.')}. {look[0].strip()}" for part in told]
    told = [told[0], *(as_new_shot(part) for part in told[1:])][:frames]
    ends = [round(frames * (i + 1) / len(told)) for i in range(len(told))]
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return [
        Shot(part, length, cut=i > 0, image=None if i else image)
        for i, (part, length) in enumerate(zip(told, lengths, strict=True))
    ]


def as_new_shot(prompt: str) -> str:
    """The prompt of a shot that begins anew, and knows of no earlier one what "the same" is."""
    return re.sub(r"\bthe same\b", "a", prompt, flags=re.IGNORECASE)


class Past(NamedTuple):
    """What a window knows of its run: latents, how many latents its second one lies after its first, and the frames
    of what is known, stride * n + 1; none where nothing is."""

    known: Known
    second: int
    frames: Frames


class Model(Protocol):
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


def overlap(window: int) -> int:
    """Kept latents at the beginning of a window of so many: two at least where one is left to make, to show a pace."""
    return max(0, min(max(2, (window - 1) // 3), window - 2))


def runs(shots: Sequence[Shot]) -> list[list[Shot]]:
    """The shots between cuts."""
    numbers = np.cumsum([shot.cut for shot in shots])
    return [[shot for shot, _ in group] for _, group in groupby(zip(shots, numbers, strict=True), lambda pair: pair[1])]


def check_begun(shots: Sequence[Shot], head: Frames | None, name: str) -> None:
    """Raises BadRequest where a shot begins without a picture; the model can begin with nothing else."""
    first = 0
    for number, run in enumerate(runs(shots)):
        if run[0].image is None and (number or head is None):
            remedy = "give --image, or in a storyboard the scene's image"
            if first:
                remedy = "leave out 'Cut to:', or give a storyboard where its scene has an image or continues"
            raise BadRequest(f"{name} begins from pictures, and shot {first + 1} has none: {remedy}")
        first += len(run)


def prompts_of(run: Sequence[Shot], stride: int) -> list[str]:
    """The prompt of each latent frame of a run; shots change at the latent frame that is nearest."""
    ends = [1 + round((end - 1) / stride) for end in np.cumsum([shot.frames for shot in run])]
    ends[-1] = latents_for(sum(shot.frames for shot in run), stride)
    starts = [0, *ends[:-1]]
    return [shot.prompt for shot, start, end in zip(run, starts, ends, strict=True) for _ in range(end - start)]


def latents_for(frames: int, stride: int) -> int:
    """Latent frames that hold so many frames."""
    return 1 + -(-(frames - 1) // stride)


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


def film(
    model: Model,
    shots: Sequence[Shot],
    shape: tuple[int, ...],
    seed: int,
    head: Frames | None = None,
    kept: "WindowStore | None" = None,
) -> Iterator[Frames]:
    """The frames of a film, [t y x 3] of each window in turn; `shape` is that of a window's latents, [t h w c].

    head: its first stride * n + 1 frames, which come first, as the autoencoder shows them. kept: windows that were made
    before; they are not sampled again.
    """
    kept, number = kept or WindowStore(), 0
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
            new = kept.get(number)
            if new is None:
                sampled = model.sample(prompts[done], window_seed(seed, number), stream.past(shape))
                new = sampled[known_before(done, shape[0]) :][
                    : new_latents(prompts, done, shape[0], model.redo_latents)
                ]
                kept.put(number, new)
            number += 1
            frames = stream.add(new)[:left]
            left -= len(frames)
            yield frames


class Stream:
    """The latents of one run, their frames, and what their decoding remembers: as much as the next window needs."""

    def __init__(self, model: Model, window: int):
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


class WindowStore:
    """The windows of one film on disk, so that it can go on after an interruption; in no folder nothing is kept."""

    def __init__(self, folder: Path | None = None, request: dict[str, Any] | None = None, resume: bool = False):
        """`request` are JSON values that make the film. Raises ValueError where the folder holds another one."""
        self.folder, self.request = folder, request or {}
        if folder is None:
            return
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        elif (note := folder / REQUEST).exists() and (
            changed := changed_settings(parse_metadata(note.read_bytes()), self.request)
        ):
            raise ValueError(
                f"{folder} holds the windows of another request ({', '.join(changed[:4])}): repeat that "
                "one, or begin anew with --overwrite and without --resume"
            )

    def get(self, number: int) -> Latents | None:
        """A window; None where there is none, or it is damaged, and is to be made again."""
        path = self._path(number)
        try:
            return np.load(path) if path is not None and path.exists() else None
        except (ValueError, EOFError):
            return None

    def put(self, number: int, latents: Latents) -> None:
        path = self._path(number)
        if path is None:
            return
        if not (note := path.with_name(REQUEST)).exists():  # with the first one: nothing is there before
            note.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(note, lambda temporary: temporary.write_text(json.dumps(self.request, indent=2)))
        write_atomically(path, lambda temporary: np.save(temporary, latents))

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{number:04}.npy"
