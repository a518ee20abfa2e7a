"""Clips of random pixels and requests to give to tasks."""

import numpy as np

from sorajax.media.video import Video
from sorajax.sampling.request import Request

PROMPT = Request(("a red ball",))


RNG = np.random.default_rng(0)


def clip(frames: int, width: int = 16, height: int = 16, fps: float = 8.0) -> Video:
    return Video(RNG.integers(0, 255, (frames, height, width, 3), np.uint8), fps)


def one(videos) -> np.ndarray:
    (video,) = videos
    return video.frames


def request(**settings) -> Request:
    return Request(("a red ball",), **settings)
