"""The score of a CLIP model: the mean cosine of a prompt and a video's frames (CLIPSIM, Wu et al. 2021)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sorajax.language.score import open_score
from sorajax.media.video import Video
from sorajax.models.clip import Clip, ClipConfig
from sorajax.models.text import Tokenizer
from sorajax.models.vision import preprocess
from sorajax.pretrained.clip import open_clip
from sorajax.pretrained.hub import resolve_model

FRAMES = 8
"""Frames of a video that are scored, evenly spaced."""


class ClipScore:
    """A CLIP model as a function of a video and a prompt."""

    def __init__(self, config: ClipConfig, params: Any, tokenizer: Tokenizer):
        self.config, self.tokenizer = config, tokenizer
        self.cosines = jax.jit(partial(Clip(config).apply, {"params": params}))

    def __call__(self, video: Video, prompt: str) -> float:
        """The mean cosine, from -1 to 1. A prompt of too many tokens is cut."""
        chosen = np.linspace(0, len(video.frames) - 1, min(FRAMES, len(video.frames))).round().astype(int)
        images = np.stack([preprocess(video.frames[number], self.config.vision.size) for number in chosen])
        ids, _ = self.tokenizer.encode([prompt], cut=True)
        return float(np.mean(self.cosines(images, ids)))


def open_clip_score(model: str) -> ClipScore:
    """The score of a CLIP model in the hub's layout: its folder, or its name. Raises FileNotFoundError and
    ValueError."""
    return ClipScore(*open_clip(Path(resolve_model(model))))


def open_any_score(model: str) -> Callable[[Video, str], float]:
    """The score of the package by the name `world`, else that of a CLIP model. Raises as both do."""
    return open_score() if model == "world" else open_clip_score(model)
