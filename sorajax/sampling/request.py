"""A request for clips, checked as far as possible before a model is loaded.

This file imports no jax, so a command line can report a mistake at once.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sorajax.errors import BadRequest
from sorajax.files import Address, as_path
from sorajax.media import MAX_FPS, MIN_FPS

if TYPE_CHECKING:
    from sorajax.media.video import Video

Direction = Literal["forward", "backward", "both"]
SamplerName = Literal["unipc", "dpmpp_2m", "heun", "euler", "flow_map"]
CacheName = Literal["mag", "easy"]
EXAMPLE = '"a red ball bounces on a grey floor"'
SCENE = '{"prompt": "a red ball bounces", "seconds": 2, "join": "continue"}'
CUT = re.compile(r"[.,;]?\s*\bcut to:\s*", re.IGNORECASE)
LARGEST_SEED = 2**32 - 1
MOST_STEPS = 1000
MOST_SECONDS = 3600
MOST_FRAMES = MOST_SECONDS * MAX_FPS


@dataclass(frozen=True)
class Request:
    """One or several prompts, and the settings of their clips. None takes the model's default. Raises BadRequest for a
    value that no model allows.

    negative: the negative prompt, which the unconditional branch of classifier-free guidance reads; "" is none.
    num: clips per prompt; clip i of a prompt has the seed `seed` + i, so it can be reproduced alone.
    frames or seconds: the length, at most one of them, up to an hour. width, height: pixels. fps: frames per second.
    steps: denoising steps, 1 to 1000. guidance_scale: 0 or more; 0 ignores the prompt, 1 is no guidance.
    guidance_scale_low: for the second of two experts, which has the low noise levels; None is the same scale, or the
    model's default. guidance_interval: (low, high), the times in [0, 1] at which guidance applies; None is all.
    shift: timestep shift, above 0. temperature: factor of the initial noise, above 0; clips vary less below 1.
    seeds: a seed for each prompt instead of `seed`, with one clip per prompt. cache: step caching, with a threshold
    above 0 below which an evaluation is left out.
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
    sampler: SamplerName | None = None
    shift: float | None = None
    guidance_scale_low: float | None = None
    temperature: float | None = None
    guidance_interval: tuple[float, float] | None = None
    cache: CacheName | None = None
    cache_threshold: float | None = None
    seeds: tuple[int, ...] = ()

    @property
    def clips(self) -> list[tuple[str, int]]:
        """Prompt and seed of each clip, in order."""
        if self.seeds:
            return list(zip(self.prompts, self.seeds, strict=True))
        return [(prompt, self.seed + index) for prompt in self.prompts for index in range(self.num)]

    def part(self, numbers: Sequence[int]) -> "Request":
        """The request of some of its clips, by their numbers from 0."""
        clips = self.clips
        if list(numbers) == list(range(len(clips))):
            return self
        prompts, seeds = zip(*(clips[number] for number in numbers), strict=True)
        return replace(self, prompts=prompts, num=1, seed=seeds[0], seeds=seeds)

    def __post_init__(self) -> None:
        prompts = (self.prompts,) if isinstance(self.prompts, str) else tuple(self.prompts or ())
        object.__setattr__(self, "prompts", prompts)
        if wrong := [text for text in (*prompts, self.negative or "") if not isinstance(text, str)]:
            raise BadRequest(f"{wrong[0]!r} is not a string: give prompts as text, e.g. {EXAMPLE}")
        if not self.prompts:
            raise BadRequest(f"there is no prompt: give one in quotes, e.g. {EXAMPLE}")
        for index, prompt in enumerate(self.prompts):
            if not prompt.strip():
                name = "the prompt" if len(self.prompts) == 1 else f"prompt {index + 1}"
                raise BadRequest(f"{name} is empty: describe the clip, e.g. {EXAMPLE}")
            if not CUT.sub("", prompt).strip():
                raise BadRequest(f'"{prompt.strip()}" describes no shot: describe one before or after "Cut to:"')
        for text in (*self.prompts, self.negative or ""):
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise BadRequest(f"{text!a} is not UTF-8: type it again in a terminal that is set to UTF-8")
        if self.frames is not None and self.seconds is not None:
            raise BadRequest(f"both {self.frames} frames and {self.seconds} seconds are set: give one of them")
        for name in ("num", "seed"):
            if getattr(self, name) is None:
                raise BadRequest(f"{name} is None: give a whole number, or leave it out")
        self._check_whole("num", self.num, 1, None, "e.g. 1")
        self._check_whole("seed", self.seed, 0, LARGEST_SEED - self.num + 1, "e.g. 0")
        if self.seeds and (self.num > 1 or len(self.seeds) != len(self.prompts)):
            clips = f"{len(self.prompts)} prompts with num {self.num}"
            raise BadRequest(f"{len(self.seeds)} seeds for {clips} are not allowed: give one per prompt, and num 1")
        for seed in self.seeds:
            if not (isinstance(seed, Integral) and 0 <= seed <= LARGEST_SEED):
                raise BadRequest(f"the seed {seed!r} is not allowed: use 0 to {LARGEST_SEED}, e.g. 0")
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        self._check_whole("frames", self.frames, 1, None, "e.g. 17")
        self._check_positive("seconds", self.seconds, "e.g. 2")
        if (self.frames or 0) > MOST_FRAMES or (self.seconds or 0) > MOST_SECONDS:
            length = f"{self.frames} frames" if self.seconds is None else f"{self.seconds:g} seconds"
            raise BadRequest(f"{length} are not allowed: use at most {MOST_SECONDS} seconds, an hour")
        self._check_whole("width", self.width, 1, None, "e.g. 96")
        self._check_whole("height", self.height, 1, None, "e.g. 64")
        self._check_whole("steps", self.steps, 1, MOST_STEPS, "e.g. 12")
        self._check_positive("fps", self.fps, "e.g. 8")
        if self.fps is not None and not MIN_FPS <= self.fps <= MAX_FPS:
            raise BadRequest(f"fps {self.fps:g} is not allowed: use {MIN_FPS} to {MAX_FPS}, e.g. 8")
        if self.sampler not in (None, *(samplers := get_args(SamplerName))):
            raise BadRequest(f"sampler {self.sampler!r} is unknown: use {', '.join(samplers)}")
        if self.cache not in (None, *get_args(CacheName)):
            raise BadRequest(f"cache {self.cache!r} is unknown: use {' or '.join(get_args(CacheName))}")
        self._check_positive("cache_threshold", self.cache_threshold, "e.g. 0.06")
        if self.cache_threshold is not None and self.cache is None:
            raise BadRequest(
                f"cache_threshold {self.cache_threshold:g} needs a cache: choose mag or easy, or leave it out"
            )
        self._check_positive("shift", self.shift, "1 is an even schedule, 3 to 8 suits larger clips")
        self._check_positive("temperature", self.temperature, "1 is the noise of training, at 0.8 clips vary less")
        for name in ("guidance_scale", "guidance_scale_low"):
            if (scale := getattr(self, name)) is None:
                continue
            if isinstance(scale, Real) and 0 <= float(scale) < math.inf:
                object.__setattr__(self, name, float(scale))
                continue
            raise BadRequest(f"guidance scale {scale} is not allowed: use 0 or more, e.g. 4; 1 is no guidance")
        if self.guidance_interval is not None:
            object.__setattr__(self, "guidance_interval", checked_interval(self.guidance_interval))

    def _check_whole(self, name: str, value: int | None, least: int, most: int | None, remedy: str) -> None:
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise BadRequest(f"{name} {value!r} is not a whole number: use one, {remedy}")
        if value is not None:
            object.__setattr__(self, name, value := int(value))  # JSON cannot write numpy's numbers
        if value is not None and (value < least or (most is not None and value > most)):
            limit = f"at least {least}" if most is None else f"{least} to {most}"
            raise BadRequest(f"{name} {value} is not allowed: use {limit}, {remedy}")

    def _check_positive(self, name: str, value: float | None, remedy: str) -> None:
        if value is not None and not (isinstance(value, Real) and 0 < value < math.inf):
            raise BadRequest(f"{name} {value} is not allowed: it must be above 0, {remedy}")
        if value is not None:
            object.__setattr__(self, name, float(value))


def checked_interval(interval: Any) -> tuple[float, float]:
    """An interval of times as two floats. Raises BadRequest where it is none."""
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 1:
        raise BadRequest(f"guidance interval {interval} is not allowed: use 0 <= LOW < HIGH <= 1, e.g. 0.3 1")
    return low, high


def with_style(prompt: str, style: str) -> str:
    """The prompt with a sentence on its style, as captions word it. Raises BadRequest for an empty style."""
    if not style.strip():
        raise BadRequest("the style is empty: name one, e.g. film")
    return f"{prompt.strip().rstrip('.')}. The style is {style.strip()}."


def check_strength(strength: float) -> None:
    """Raises BadRequest for a strength outside 0 to 1."""
    if not (isinstance(strength, Real) and 0 <= float(strength) <= 1):
        raise BadRequest(f"strength {strength} is not allowed: 0 keeps the clip, 1 ignores it; use e.g. 0.6")


def parse_span(text: str) -> tuple[float, float]:
    """Start and end in seconds, from "1.0:2.5"; without a start 0, without an end infinity. Raises BadRequest for any
    other form."""
    first, colon, last = text.partition(":")
    try:
        start, end = float(first or 0), float(last or math.inf)
    except ValueError:
        start, end = 1.0, 0.0
    if not colon or not 0 <= start < end:
        raise BadRequest(f"'{text}' is not a span of seconds: write FROM:TO, e.g. 1.0:2.5")
    return start, end


@dataclass(frozen=True)
class StoryboardScene:
    """A scene of a storyboard: prompt, length, and how it follows the scene before.

    seconds: above 0, at most an hour. join: "continue" goes on without a seam, "cut" begins a new shot. image: the
    first frame of the scene, which is then always a cut: a file, or a video that was read from one. Raises BadRequest.
    """

    prompt: str
    seconds: float
    join: Literal["continue", "cut"] = "continue"
    image: "Path | Video | None" = None

    def picture(self) -> "Video | None":
        """The image. Raises what `Video.load` raises."""
        from sorajax.media.video import Video

        return self.image if self.image is None or isinstance(self.image, Video) else Video.load(self.image)

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise BadRequest(f"a scene's prompt is {self.prompt!r}: describe the scene, e.g. {EXAMPLE}")
        if self.join not in ("continue", "cut"):
            raise BadRequest(f'a scene\'s join is {self.join!r}: use "continue" or "cut"')
        if not isinstance(self.seconds, Real) or not 0 < self.seconds <= MOST_SECONDS:
            raise BadRequest(f"a scene's seconds are {self.seconds!r}: use a number above 0, at most {MOST_SECONDS}")
        if self.image is not None:
            object.__setattr__(self, "join", "cut")


def read_storyboard(path: Path) -> tuple[StoryboardScene, ...]:
    """Reads the scenes of a JSON file: a list of {"prompt", "seconds"} with optional "join" and "image".

    An image's path is relative to the file's folder. Raises OSError if the file cannot be read, and BadRequest, which
    names entry and field, for wrong content.
    """
    try:
        entries = json.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is not JSON ({error}): write a list of {SCENE}") from error
    if isinstance(entries, dict):
        raise BadRequest(f"{path} is one entry, not a list: write [{SCENE}]")
    if not isinstance(entries, list) or not entries:
        raise BadRequest(f"{path} has no scene: write a list of {SCENE}")
    folder = path.expanduser().parent
    return tuple(read_scene(entry, f"{path}, entry {number}", folder) for number, entry in enumerate(entries, 1))


def read_scene(entry: Any, where: str, folder: Path) -> StoryboardScene:
    """One entry of a storyboard; `where` names it in errors. Raises BadRequest."""
    if not isinstance(entry, dict):
        raise BadRequest(f"{where} is {json.dumps(entry)[:40]}: write {SCENE}")
    if unknown := sorted(set(entry) - {"prompt", "seconds", "join", "image"}):
        raise BadRequest(f'{where}: "{unknown[0]}" is not a field: use prompt, seconds, join and image')
    prompt, seconds, join, image = (entry.get(name) for name in ("prompt", "seconds", "join", "image"))
    if not isinstance(prompt, str) or not prompt.strip():
        problem = "is missing" if prompt is None else f"is {json.dumps(prompt)[:40]}"
        raise BadRequest(f'{where}: "prompt" {problem}: describe the scene, e.g. {EXAMPLE}')
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        problem = "is missing" if seconds is None else f"is {json.dumps(seconds)[:40]}"
        raise BadRequest(f'{where}: "seconds" {problem}: write a number above 0, e.g. 2')
    if seconds > MOST_SECONDS:
        raise BadRequest(f'{where}: "seconds" is {json.dumps(seconds)[:20]}: write at most {MOST_SECONDS}, an hour')
    if join not in (None, "continue", "cut"):
        raise BadRequest(f'{where}: "join" is {json.dumps(join)[:40]}: write "continue" or "cut"')
    if image is not None:
        if not isinstance(image, str) or (picture := find_file(folder, image)) is None:
            raise BadRequest(f'{where}: "image" is {json.dumps(image)[:80]}, which does not exist: name a picture')
        if join == "continue" and not where.endswith("entry 1"):
            raise BadRequest(f'{where}: "image" begins a new shot: write "join": "cut", or leave the image out')
        image = picture
    return StoryboardScene(prompt, float(seconds), "cut" if join == "cut" else "continue", image)


def find_file(folder: Path, name: str) -> Path | None:
    """The file of this name, relative to a folder; None if there is none or the name is no path."""
    try:
        path = as_path(name)
        path = path if isinstance(path, Address) else folder / path
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # a name too long, an unknown home, a zero byte
        return None


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels, from "WIDTHxHEIGHT". Raises BadRequest for any other form."""
    width, cross, height = text.lower().replace("×", "x").partition("x")
    numbers = cross and width.strip().isdecimal() and height.strip().isdecimal()
    if not (numbers and int(width) and int(height)):
        raise BadRequest(f"size '{text}' is not WIDTHxHEIGHT in pixels, both above 0: write e.g. 96x64")
    return int(width), int(height)
