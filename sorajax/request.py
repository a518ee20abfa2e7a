"""What a person asks for, checked as far as that is possible before any model is loaded.

Importing this file is light, so that a command line can answer a mistake at once.
"""

import math
from dataclasses import dataclass
from typing import Literal

SamplerName = Literal["unipc", "dpmpp_2m", "heun", "euler"]
EXAMPLE = '"a red ball bounces on a grey floor"'
LARGEST_SEED = 2**32 - 1
MOST_STEPS = 1000


class BadRequest(ValueError):
    """A request that cannot be met; the message names the value, the limit and the remedy on one line."""


@dataclass(frozen=True)
class Request:
    """Prompts and settings; None leaves a setting to the model. Raises BadRequest where a value makes no sense.

    num: clips per prompt; clip i of a prompt is made from seed + i, so any of them can be made again alone.
    frames or seconds: the length, at most one of them. width, height: pixels. fps: frames per second.
    steps: denoising steps. guidance_scale: 0 ignores the prompt, 1 is no guidance. shift: timestep shift.
    negative: what the clip is led away from.
    """

    prompts: tuple[str, ...]
    negative: str = ""
    num: int = 1
    seed: int = 0
    frames: int | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    sampler: SamplerName = "unipc"
    shift: float | None = None

    def __post_init__(self) -> None:
        if not self.prompts:
            raise BadRequest(f"there is no prompt: give one in quotes, e.g. {EXAMPLE}")
        for index, prompt in enumerate(self.prompts):
            if not prompt.strip():
                name = "the prompt" if len(self.prompts) == 1 else f"prompt {index + 1}"
                raise BadRequest(f"{name} is empty: say what should be seen, e.g. {EXAMPLE}")
        if self.frames is not None and self.seconds is not None:
            raise BadRequest(f"{self.frames} frames and {self.seconds} seconds were both asked for: give one of them")
        self._check_whole("num", self.num, 1, None, "e.g. 1")
        self._check_whole("seed", self.seed, 0, LARGEST_SEED - self.num + 1, "e.g. 0")
        self._check_whole("frames", self.frames, 1, None, "e.g. 17")
        self._check_whole("width", self.width, 1, None, "e.g. 96")
        self._check_whole("height", self.height, 1, None, "e.g. 64")
        self._check_whole("steps", self.steps, 1, MOST_STEPS, "e.g. 30")
        self._check_positive("seconds", self.seconds, "e.g. 2")
        self._check_positive("fps", self.fps, "e.g. 8")
        self._check_positive("shift", self.shift, "1 leaves the schedule even, 3 to 8 suits larger clips")
        if self.guidance_scale is not None and not 0 <= self.guidance_scale < math.inf:
            scale = self.guidance_scale
            raise BadRequest(f"guidance scale {scale} is not allowed: use 0 or more, e.g. 4; 1 is no guidance")

    def _check_whole(self, name: str, value: int | None, least: int, most: int | None, remedy: str) -> None:
        if value is not None and (value < least or (most is not None and value > most)):
            limit = f"at least {least}" if most is None else f"{least} to {most}"
            raise BadRequest(f"{name} {value} is not allowed: use {limit}, {remedy}")

    def _check_positive(self, name: str, value: float | None, remedy: str) -> None:
        if value is not None and not 0 < value < math.inf:
            raise BadRequest(f"{name} {value} is not allowed: it must be above 0, {remedy}")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from "WIDTHxHEIGHT". Raises BadRequest for anything else."""
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.strip().isdecimal() and height.strip().isdecimal()):
        raise BadRequest(f"size '{text}' is not WIDTHxHEIGHT in pixels: write e.g. 96x64")
    return int(width), int(height)
