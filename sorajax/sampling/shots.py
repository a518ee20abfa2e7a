"""Shots of a film: each has one prompt, and begins with a cut or continues the shot before."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from sorajax.errors import BadRequest
from sorajax.media.video import Frames, Video
from sorajax.sampling.request import CUT

LOOK = re.compile(r"\bThe style is [^.]*\.?\s*$")


@dataclass(frozen=True, eq=False)
class Shot:
    """A prompt for so many frames. cut: whether the shot begins anew, from `image` if there is one, or continues the
    shot before."""

    prompt: str
    frames: int
    cut: bool = False
    image: Video | None = None


def shots_of(prompt: str, frames: int, image: Video | None = None) -> list[Shot]:
    """Splits a prompt at "Cut to:" into shots of equal length; without it, one shot. `image` begins the first one."""
    prompts = [part.strip() for part in CUT.split(prompt) if part.strip()]
    if look := LOOK.search(prompts[-1]):  # stated once, for every shot
        prompts = [part if LOOK.search(part) else f"{part.rstrip('.')}. {look[0].strip()}" for part in prompts]
    prompts = [prompts[0], *(as_new_shot(part) for part in prompts[1:])][:frames]
    ends = [round(frames * (i + 1) / len(prompts)) for i in range(len(prompts))]
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return [
        Shot(part, length, cut=i > 0, image=None if i else image)
        for i, (part, length) in enumerate(zip(prompts, lengths, strict=True))
    ]


def as_new_shot(prompt: str) -> str:
    """The prompt of a shot after a cut: "the same" becomes "a", because the model does not see the shot before."""
    return re.sub(r"\bthe same\b", "a", prompt, flags=re.IGNORECASE)


def runs(shots: Sequence[Shot]) -> list[list[Shot]]:
    """Groups shots into runs: each run is the shots from one cut to the next."""
    numbers = np.cumsum([shot.cut for shot in shots])
    return [[shot for shot, _ in group] for _, group in groupby(zip(shots, numbers, strict=True), lambda pair: pair[1])]


def check_first_frames(shots: Sequence[Shot], head: Frames | None, name: str) -> None:
    """Raises BadRequest if a run begins without a picture, for a model that needs a first frame."""
    first = 0
    for number, run in enumerate(runs(shots)):
        if run[0].image is None and (number or head is None):
            remedy = "give --image, or in a storyboard the scene's image"
            if first:
                remedy = "leave out 'Cut to:', or give a storyboard where its scene has an image or continues"
            raise BadRequest(f"{name} needs a first frame, and shot {first + 1} has none: {remedy}")
        first += len(run)


def shots_metadata(shots: Sequence[Shot]) -> dict[str, Any]:
    """Entry of a film's metadata for several shots, as JSON values; empty for one shot."""
    if len(shots) == 1:
        return {}
    return {"shots": [{"prompt": shot.prompt, "frames": shot.frames, "cut": shot.cut} for shot in shots]}
