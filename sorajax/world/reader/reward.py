"""The reader as a reward: how well clips do what their canonical prompts say, from 0 to 1."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from threading import current_thread, main_thread
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from sorajax.world.prompts import attributes_of
from sorajax.world.reader.instrument import Reading, read
from sorajax.world.reader.scores import OBJECT_WORDS, STEADY, Score, match, score
from sorajax.world.scenes import PACE_SCALE, PACES

FPS = 8.0
WEIGHTS = {
    "attributes": 0.3,
    "prompt": 0.3,
    "special": 0.2,
    "pace": 0.15,
    "gravity": 0.2,
    "bounce height": 0.1,
    "steady": 0.1,
}
"""Weight of each part; parts that do not apply to a prompt leave theirs to the others."""
WORDS = (*OBJECT_WORDS, "background", "objects", "camera", "style", "event", "relation", "shots")
USUAL = {"camera": "static", "style": "flat", "event": "none", "relation": "none"}
WIDTH = {"pace": 0.5, "gravity": 0.4, "bounce height": 0.4}
"""Error, of the pace as a difference of logarithms and of the others relative, at which a part is 0."""
MANY = 32
"""Clips from which on other processes read them."""


def accuracy(videos: UInt8[np.ndarray, "n t y x 3"], prompts: Sequence[str]) -> Float[np.ndarray, " n"]:
    """The reward of each clip, in [0, 1].

    Beside what counts as right or wrong (the attributes, whether all of them are right, and what most prompts lack: a
    second object or shot, an event, a moving camera, a style) there are parts that grow as an error falls: of the pace,
    of gravity and of the height of bounces, and how still the background is. The clips have 8 frames a second. Raises
    ValueError for prompts that are not canonical (`world.captions.describe`).
    """
    wishes = [attributes_of(prompt) for prompt in prompts]
    in_callback = current_thread() is not main_thread()  # of a program, for whose threads the reader's would wait
    if len(videos) < MANY and not in_callback:
        return np.array([_rewarded(*pair) for pair in zip(videos, wishes, strict=True)], np.float32)
    return np.array([*_readers().map(_rewarded, videos, wishes, chunksize=4)], np.float32)


def _rewarded(video: UInt8[np.ndarray, "t y x 3"], wish: dict[str, Any]) -> float:
    return reward_of(wish, read(video, FPS))


@cache
def _readers() -> ProcessPoolExecutor:
    """A process for each core, of one thread, without accelerator."""
    cores, before = len(os.sched_getaffinity(0)), dict(os.environ)
    pool = ProcessPoolExecutor(cores, get_context("spawn"))  # a fork would copy JAX's locks
    os.environ |= {"JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        for started in [pool.submit(os.getpid) for _ in range(cores)]:  # each starts one, with this environment
            started.result()
    finally:
        os.environ.clear()
        os.environ |= before
    return pool


def reward_of(wish: dict[str, Any], reading: Reading) -> float:
    """The reward of one reading."""
    parts = parts_of(wish, reading, score(wish, reading))
    return sum(WEIGHTS[name] * value for name, value in parts.items()) / sum(WEIGHTS[name] for name in parts)


def parts_of(wish: dict[str, Any], reading: Reading, scores: dict[str, Score]) -> dict[str, float]:
    """The parts that apply to a prompt, each in [0, 1]."""
    words = [scores[name].right for name in WORDS if name in scores]
    parts = {"attributes": float(np.mean(words)), "prompt": float(scores["prompt"].right)}
    special = [name for name, value in USUAL.items() if wish[name] != value and name in scores]
    special += ["shots"] * (len(wish["shots"]) > 1) + ["objects"] * (len(wish["shots"][0]["objects"]) > 1)
    if special:
        parts["special"] = float(np.mean([scores[name].right for name in special]))
    if (error := pace_error(wish, reading)) is not None:
        parts["pace"] = max(0.0, 1 - error / WIDTH["pace"])
    motion = wish["shots"][0]["objects"][0]["motion"]
    for name in ("gravity", "bounce height"):
        if name in scores:
            parts[name] = max(0.0, 1 - (scores[name].error or 0.0) / WIDTH[name])
        elif motion == "bounces" or (motion == "falls" and name == "gravity"):
            parts[name] = 0.0  # such a motion was not found: leaving it out must not pay
    if "steady" in scores:
        parts["steady"] = min(1.0, max(0.0, 2 - reading.flicker / STEADY))
    return parts


def pace_error(wish: dict[str, Any], reading: Reading) -> float | None:
    """How far the pace of the first object is from the prompt's, as a difference of logarithms; None where it stands
    still, infinite where it moves otherwise than it should."""
    expected = wish["shots"][0]["objects"]
    if expected[0]["motion"] == "stands still":
        return None
    thing = match(expected, reading.things[0] if reading.things else [])[0]
    if thing is None or thing.motion is None or thing.words["motion"] != expected[0]["motion"]:
        return math.inf
    return abs(math.log(max(thing.motion.rate, 1e-3) / PACE_SCALE[PACES.index(expected[0]["pace"])]))
