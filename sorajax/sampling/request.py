"""What a person asks for, checked as far as that is possible before any model is loaded.

Importing this file is light, so that a command line can answer a mistake at once.
"""

import json
import math
import re
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from sorajax.errors import BadRequest
from sorajax.media import MAX_FPS, MIN_FPS

Direction = Literal["forward", "backward", "both"]
SamplerName = Literal["unipc", "dpmpp_2m", "heun", "euler"]
EXAMPLE = '"a red ball bounces on a grey floor"'
SCENE = '{"prompt": "a red ball bounces", "seconds": 2, "join": "continue"}'
CUT = re.compile(r"[.,;]?\s*\bcut to:\s*", re.IGNORECASE)
LARGEST_SEED = 2**32 - 1
MOST_STEPS = 1000
MOST_SECONDS = 3600
MOST_FRAMES = MOST_SECONDS * MAX_FPS


@dataclass(frozen=True)
class Request:
    """One prompt or several, and settings; None leaves one to the model. Raises BadRequest for what makes no sense.

    num: clips per prompt; clip i of a prompt is made from seed + i, so any of them can be made again alone.
    frames or seconds: the length, at most one of them. width, height: pixels. fps: frames per second.
    steps: denoising steps. guidance_scale: 0 ignores the prompt, 1 is no guidance. shift: timestep shift.
    guidance_scale_low: that of the second of two experts, where it shall be another one.
    temperature: factor of the noise that a clip begins from; below 1 clips vary less.
    negative: what the clip is led away from; "" is nothing, None what the model itself says.
    """

    prompts: tuple[str, ...]
    negative: str | None = None
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
    guidance_scale_low: float | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        prompts = (self.prompts,) if isinstance(self.prompts, str) else tuple(self.prompts or ())
        object.__setattr__(self, "prompts", prompts)
        if strange := [text for text in (*prompts, self.negative or "") if not isinstance(text, str)]:
            raise BadRequest(f"{strange[0]!r} is no text: give prompts as such, e.g. {EXAMPLE}")
        if not self.prompts:
            raise BadRequest(f"there is no prompt: give one in quotes, e.g. {EXAMPLE}")
        for index, prompt in enumerate(self.prompts):
            if not prompt.strip():
                name = "the prompt" if len(self.prompts) == 1 else f"prompt {index + 1}"
                raise BadRequest(f"{name} is empty: say what should be seen, e.g. {EXAMPLE}")
            if not CUT.sub("", prompt).strip():
                raise BadRequest(f'"{prompt.strip()}" names no shot: say what is seen before and after "Cut to:"')
        for text in (*self.prompts, self.negative or ""):
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise BadRequest(f"{text!a} is no text in UTF-8: write it again, in a terminal that is")
        if self.frames is not None and self.seconds is not None:
            raise BadRequest(f"{self.frames} frames and {self.seconds} seconds were both asked for: give one of them")
        for name in ("num", "seed"):
            if getattr(self, name) is None:
                raise BadRequest(f"{name} is None: give a whole number, or leave it out")
        self._check_whole("num", self.num, 1, None, "e.g. 1")
        self._check_whole("seed", self.seed, 0, LARGEST_SEED - self.num + 1, "e.g. 0")
        self._check_whole("frames", self.frames, 1, None, "e.g. 17")
        self._check_positive("seconds", self.seconds, "e.g. 2")
        if (self.frames or 0) > MOST_FRAMES or (self.seconds or 0) > MOST_SECONDS:
            asked = f"{self.frames} frames" if self.seconds is None else f"{self.seconds:g} seconds"
            raise BadRequest(f"{asked} are not allowed: use at most {MOST_SECONDS} seconds, an hour")
        self._check_whole("width", self.width, 1, None, "e.g. 96")
        self._check_whole("height", self.height, 1, None, "e.g. 64")
        self._check_whole("steps", self.steps, 1, MOST_STEPS, "e.g. 30")
        self._check_positive("fps", self.fps, "e.g. 8")
        if self.fps is not None and not MIN_FPS <= self.fps <= MAX_FPS:
            raise BadRequest(f"fps {self.fps:g} is not allowed: use {MIN_FPS} to {MAX_FPS}, e.g. 8")
        if self.sampler not in (known := get_args(SamplerName)):
            raise BadRequest(f"sampler {self.sampler!r} is not known: use {', '.join(known)}")
        self._check_positive("shift", self.shift, "1 leaves the schedule even, 3 to 8 suits larger clips")
        self._check_positive("temperature", self.temperature, "1 is all of the noise, 0.8 varies less")
        for name in ("guidance_scale", "guidance_scale_low"):
            if (scale := getattr(self, name)) is None:
                continue
            if isinstance(scale, Real) and 0 <= float(scale) < math.inf:
                object.__setattr__(self, name, float(scale))
                continue
            raise BadRequest(f"guidance scale {scale} is not allowed: use 0 or more, e.g. 4; 1 is no guidance")

    def _check_whole(self, name: str, value: int | None, least: int, most: int | None, remedy: str) -> None:
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise BadRequest(f"{name} {value!r} is no whole number: use one, {remedy}")
        if value is not None:
            object.__setattr__(self, name, value := int(value))  # of numpy's numbers JSON knows nothing
        if value is not None and (value < least or (most is not None and value > most)):
            limit = f"at least {least}" if most is None else f"{least} to {most}"
            raise BadRequest(f"{name} {value} is not allowed: use {limit}, {remedy}")

    def _check_positive(self, name: str, value: float | None, remedy: str) -> None:
        if value is not None and not (isinstance(value, Real) and 0 < value < math.inf):
            raise BadRequest(f"{name} {value} is not allowed: it must be above 0, {remedy}")
        if value is not None:
            object.__setattr__(self, name, float(value))


def check_strength(strength: float) -> None:
    """Raises BadRequest for a strength of an edit or a blend that is none."""
    if not (isinstance(strength, Real) and 0 <= float(strength) <= 1):
        raise BadRequest(f"strength {strength} is not allowed: 0 keeps the clip, 1 ignores it; use e.g. 0.6")


def parse_span(text: str) -> tuple[float, float]:
    """Seconds from and to, from "1.0:2.5"; either may be missing. Raises BadRequest for anything else."""
    first, colon, last = text.partition(":")
    try:
        start, end = float(first or 0), float(last or math.inf)
    except ValueError:
        start, end = 1.0, 0.0
    if not colon or not 0 <= start < end:
        raise BadRequest(f"'{text}' is no span of seconds: write FROM:TO, e.g. 1.0:2.5")
    return start, end


@dataclass(frozen=True)
class StoryboardScene:
    """An entry of a storyboard: what is seen, for how many seconds, and how it joins the scene before; with an image it
    begins anew. Raises BadRequest."""

    prompt: str
    seconds: float
    join: Literal["continue", "cut"] = "continue"
    image: Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise BadRequest(f"a scene's prompt is {self.prompt!r}: say what should be seen, e.g. {EXAMPLE}")
        if self.join not in ("continue", "cut"):
            raise BadRequest(f'a scene\'s join is {self.join!r}: use "continue" or "cut"')
        if not isinstance(self.seconds, Real) or not 0 < self.seconds <= MOST_SECONDS:
            raise BadRequest(f"a scene's seconds are {self.seconds!r}: use a number above 0, at most {MOST_SECONDS}")
        if self.image is not None:
            object.__setattr__(self, "join", "cut")


def read_storyboard(path: Path) -> tuple[StoryboardScene, ...]:
    """The scenes in a JSON file: a list of {"prompt", "seconds"} and, if wanted, "join" and "image".

    An image's path is relative to the file's folder. Raises OSError where the file cannot be read, and BadRequest
    naming the entry and the field for what is wrong in it.
    """
    try:
        entries = json.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is no JSON ({error}): write a list of {SCENE}") from error
    if isinstance(entries, dict):
        raise BadRequest(f"{path} holds one entry, and no list of them: write [{SCENE}]")
    if not isinstance(entries, list) or not entries:
        raise BadRequest(f"{path} holds no scene: write a list of {SCENE}")
    folder = path.expanduser().parent
    return tuple(read_scene(entry, f"{path}, entry {number}", folder) for number, entry in enumerate(entries, 1))


def read_scene(entry: Any, where: str, folder: Path) -> StoryboardScene:
    """One entry. Raises BadRequest."""
    if not isinstance(entry, dict):
        raise BadRequest(f"{where} is {json.dumps(entry)[:40]}: write {SCENE}")
    if unknown := sorted(set(entry) - {"prompt", "seconds", "join", "image"}):
        raise BadRequest(f'{where}: "{unknown[0]}" is no field: there are prompt, seconds, join and image')
    prompt, seconds, join, image = (entry.get(name) for name in ("prompt", "seconds", "join", "image"))
    if not isinstance(prompt, str) or not prompt.strip():
        said = "is missing" if prompt is None else f"is {json.dumps(prompt)[:40]}"
        raise BadRequest(f'{where}: "prompt" {said}: say what should be seen, e.g. {EXAMPLE}')
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        said = "is missing" if seconds is None else f"is {json.dumps(seconds)[:40]}"
        raise BadRequest(f'{where}: "seconds" {said}: write a number above 0, e.g. 2')
    if seconds > MOST_SECONDS:
        raise BadRequest(f'{where}: "seconds" is {json.dumps(seconds)[:20]}: write at most {MOST_SECONDS}, an hour')
    if join not in (None, "continue", "cut"):
        raise BadRequest(f'{where}: "join" is {json.dumps(join)[:40]}: write "continue" or "cut"')
    if image is not None:
        if not isinstance(image, str) or (picture := existing(folder, image)) is None:
            raise BadRequest(f'{where}: "image" is {json.dumps(image)[:80]}, and no such file is there: name a picture')
        if join == "continue" and not where.endswith("entry 1"):
            raise BadRequest(f'{where}: "image" begins a shot anew: write "join": "cut", or leave the image out')
        image = picture
    return StoryboardScene(prompt, float(seconds), "cut" if join == "cut" else "continue", image)


def existing(folder: Path, name: str) -> Path | None:
    """The file of this name, relative to a folder; None where there is none, or cannot be."""
    try:
        path = folder / Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a name too long, nobody's home, a zero byte
        return None


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from "WIDTHxHEIGHT". Raises BadRequest for anything else."""
    width, cross, height = text.lower().replace("×", "x").partition("x")
    if not (cross and width.strip().isdecimal() and height.strip().isdecimal()):
        raise BadRequest(f"size '{text}' is not WIDTHxHEIGHT in pixels: write e.g. 96x64")
    return int(width), int(height)
