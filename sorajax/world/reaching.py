"""A task in the interactive world, stated by a prompt: reach a marked side, then a height.

    a red ball on a grey floor: reach the left side, then a height

The object is at a side where its centre is within `EDGE` of that edge of the frame, and at the height where it is
`RISE` above the place at which it rested in the first frame. The height pays 1, once, and only after the side.
Places are read from frames (`reader/places.py`), so that the reward is the same function of the picture in every
world; in a frame without an object nothing is reached.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

SIDES = {"left": -1, "right": 1}
TASK = re.compile(r"^(?P<scene>.+): reach the (?P<side>left|right) side, then a height$")
EXAMPLE = "a red ball on a grey floor: reach the left side, then a height"
EDGE = 0.22  # units; a large object that touches the edge has its centre at 0.16
RISE = 0.3  # units; a jump rises by 0.4
NONE, AT_SIDE, DONE = range(3)
MARK = (255, 255, 255)


class Progress(NamedTuple):
    """The task of each play: its side, -1 or 1, or 0 where there is no task; the height at which the object rested, and
    what is reached."""

    side: Int[np.ndarray, " b"]
    rest: Float[np.ndarray, " b"]
    stage: Int[np.ndarray, " b"]


def task_prompt(scene: str, side: str) -> str:
    """The prompt of a task in the scene of a prompt."""
    return f"{scene}: reach the {side} side, then a height"


def parse_task(prompt: str) -> tuple[str, int] | None:
    """The scene's prompt and the side of a task's, None where a prompt states no task.

    Raises ValueError for a prompt with a colon that does not state this task."""
    if ":" not in prompt:
        return None
    found = TASK.match(prompt.strip())
    if found is None:
        raise ValueError(f"the task in {prompt!r} is unknown: write it as in {EXAMPLE!r}")
    return found["scene"], SIDES[found["side"]]


def begin(sides: Int[np.ndarray, " b"], place: Float[np.ndarray, "b xy"]) -> Progress:
    """Tasks that begin with the object resting at `place`; side 0 is none, with nothing to reach."""
    return Progress(sides, place[:, 1], np.where(sides == 0, DONE, NONE))


def follow(
    before: Progress, place: Float[np.ndarray, "b xy"], width: float = 1.0
) -> tuple[Progress, Float[np.ndarray, " b"]]:
    """The progress once the objects are at `place`, and the reward. width: of the frame in units."""
    with np.errstate(invalid="ignore"):
        at_side = (before.stage == NONE) & (before.side * place[:, 0] > width / 2 - EDGE)
        at_height = (before.stage == AT_SIDE) & (before.rest - place[:, 1] > RISE)
    return before._replace(stage=before.stage + (at_side | at_height)), at_height.astype(np.float32)


def marked(frames: UInt8[np.ndarray, "b h w 3"], progress: Progress) -> UInt8[np.ndarray, "b h w 3"]:
    """The frames with a white mark on what is to be reached: the side, then the height, then nothing."""
    frames = frames.copy()
    _, height, width, _ = frames.shape
    unit = min(height, width)
    thick = max(1, unit // 32)
    for frame, side, rest, stage in zip(frames, *progress, strict=True):
        edge = slice(0, thick) if side < 0 else slice(width - thick, width)
        if stage == NONE:
            frame[:, edge] = MARK
        elif stage == AT_SIDE and np.isfinite(rest):
            row = int(np.clip((rest - RISE) * unit + height / 2, 0, height - thick))
            frame[row : row + thick, : width // 8] = MARK
            frame[row : row + thick, -(width // 8) :] = MARK
    return frames
