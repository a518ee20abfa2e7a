"""What the command line of sampling takes, and what it means: options, checked as far as possible before a model is
there."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from sorajax.errors import BadRequest
from sorajax.sampling.request import Request, SamplerName, existing, parse_size, parse_span, read_storyboard

Direction = Literal["forward", "backward", "both"]

DESCRIPTION = """Turns text into videos.

Examples:

A clip from the model that comes with sorajax; the path of the mp4 is printed:
    python -m sorajax.sample "a red ball bounces on a grey floor"

Longer, wider, four of them, each with its own seed (0 to 3):
    python -m sorajax.sample "a blue star moves left" --seconds 4 --size 96x64 --num 4

A looping picture for a web page, and a still image:
    python -m sorajax.sample "a green ring spins" --out ring.webp
    python -m sorajax.sample "a green ring on navy" --frames 1 --out ring.png

Twelve clips side by side in one picture, four in a row:
    python -m sorajax.sample "a red ball bounces" --num 12 --grid 4 --out balls.webp

Many prompts, one a line, into a folder, with your own model:
    python -m sorajax.sample --prompts-file prompts.txt --out clips/ --model runs/mine

Begin with a picture; go on where a clip ends, or before it begins; join what you have:
    python -m sorajax.sample "a red ball bounces" --image ball.png
    python -m sorajax.sample "a red ball bounces" --extend clip.mp4 --seconds 2 --direction backward
    python -m sorajax.sample "a red ball falls" --between first.png last.png
    python -m sorajax.sample "a red ball falls" --connect a.mp4 b.mp4 --seconds 1
    python -m sorajax.sample "a red ball falls" --fill clip.mp4 --gap 1.0:1.5
    python -m sorajax.sample "a green ring spins" --loop --out ring.gif

A whole minute, which --resume goes on with after an interruption; several prompts in time:
    python -m sorajax.sample "a red ball bounces on a grey floor" --seconds 60 --out minute.mp4 --resume
    python -m sorajax.sample --storyboard board.json --out story.mp4

Another model, and adapters for it (several add up):
    python -m sorajax.sample "a cat surfs at sunset" --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers
    python -m sorajax.sample "a red ball bounces" --lora runs/world_lora/model/lora.safetensors:0.8

Change a clip by words, everywhere or where a mask is white:
    python -m sorajax.sample "a blue ball bounces on a grey floor" --edit clip.mp4 --strength 0.75
    python -m sorajax.sample "a blue star" --edit clip.mp4 --strength 0.9 --mask mask.png

Quicker and rougher, or slower and closer to the prompt:
    python -m sorajax.sample "a white box falls" --steps 8
    python -m sorajax.sample "a white box falls" --steps 50 --guidance-scale 6

Every file carries its prompt, seed and settings, and a .json beside it says the same;
the same settings make the same video again. The first run compiles, which takes longer.
Exit codes: 0 done, 1 a file or model failed, 2 the request makes no sense, 130 interrupted.
"""

Result = TypeVar("Result")


class Failure(Exception):
    """Something outside the request failed; the message is one line."""


def option(metavar: str, default: str):
    """How --help shows an option: what to write, and what happens when it is left out."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


TASKS = ("image", "extend", "between", "connect", "fill", "edit", "loop", "blend", "storyboard")
MODEL_DECIDES = "the model's own"
STRENGTH = {"edit": 0.75, "blend": 0.6}
"""Where none is said. An edit of the embedded model at 0.6 often leaves the colour that it should change."""
USUAL = ", ".join(f"{strength} for --{task}" for task, strength in STRENGTH.items())


@dataclass(frozen=True)
class Arguments:
    prompts: tyro.conf.Positional[Annotated[tuple[str, ...], option("PROMPT ...", "those of --prompts-file")]] = ()
    """What should be seen; put each prompt in quotes."""
    prompts_file: Annotated[Path | None, option("FILE", "none")] = None
    """A text file of prompts, one a line; empty lines and lines that begin with # do not count. - is standard input."""
    model: Annotated[str, option("NAME", "world, which comes with sorajax")] = "world"
    """world; or the folder of a training run, of an exported model, or of open Wan weights (either layout, or converted
    by sorajax.convert); or their name on the Hugging Face hub, as in Wan-AI/Wan2.1-T2V-1.3B-Diffusers."""
    lora: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], option("FILE[:SCALE]", "none")]] = ()
    """An adapter for the model, in the layout of PEFT and diffusers or of other trainers; a scale of 1 is all of it.
    A file, or one of a model on the hub: OWNER/MODEL/FILE. May be given several times. Of two experts high=FILE is for
    the one for noise, low=FILE for the other."""
    dtype: Annotated[Literal["float32", "bfloat16"] | None, option("TYPE", "bfloat16, and float32 on CPU")] = None
    """What open weights are kept and multiplied in."""
    quantize: Annotated[Literal["int8", "fp8"] | None, option("TYPE", "none")] = None
    """Keeps the weights of transformer and text encoder in 8 bits, a half or a quarter of their memory; int8 is closer
    to the whole ones. Needs the extra `quantized`."""
    out: Annotated[str, option("PATH", "samples/")] = "samples/"
    """A file, whose suffix chooses the format: mp4, gif, webp or png; several clips are numbered, as in clip-1.mp4 and
    clip-2.mp4. Or a folder, which exists or ends with /: files in it are named after their prompts."""
    overwrite: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "an existing file is an error")]] = False
    """Replace files that exist."""
    num: Annotated[int, option("N", "1")] = 1
    """Clips per prompt. The seed goes up by one from clip to clip."""
    grid: Annotated[int | None, option("COLUMNS", "a file per clip")] = None
    """All clips side by side in one file, in rows of so many."""
    seed: Annotated[int, option("N", "0")] = 0
    """The same seed and settings make the same clip."""
    size: Annotated[str | None, option("WIDTHxHEIGHT", MODEL_DECIDES)] = None
    """Size in pixels, e.g. 96x64."""
    seconds: Annotated[float | None, option("S", MODEL_DECIDES)] = None
    """Length in seconds, rounded to a length that the model makes."""
    frames: Annotated[int | None, option("N", MODEL_DECIDES)] = None
    """Length in frames instead: 4n+1 for most models; 1 makes a still image."""
    fps: Annotated[float | None, option("RATE", MODEL_DECIDES)] = None
    """Frames per second. Things move as fast at any rate."""
    negative: Annotated[str | None, option("PROMPT", "the model's own, for world nothing")] = None
    """What the clip should be led away from."""
    steps: Annotated[int | None, option("N", MODEL_DECIDES)] = None
    """Denoising steps: more take longer and look better."""
    guidance_scale: Annotated[float | None, option("SCALE", MODEL_DECIDES)] = None
    """How closely to follow the prompt: 1 is no guidance, above 7 looks overdone."""
    guidance_scale_low: Annotated[float | None, option("SCALE", "the same, or the model's own")] = None
    """That of the second of two experts (Wan 2.2 A14B), which ends a clip."""
    temperature: Annotated[float | None, option("FACTOR", MODEL_DECIDES)] = None
    """Of the noise that a clip begins from: below 1 clips vary less, and keep more to what is usual."""
    sampler: Annotated[SamplerName, option("NAME", "unipc")] = "unipc"
    """unipc needs the fewest steps, dpmpp_2m about as few; heun evaluates twice a step; euler is the plainest."""
    shift: Annotated[float | None, option("S", MODEL_DECIDES)] = None
    """Timestep shift: above 1 spends more of the steps at high noise, as larger clips need."""
    image: Annotated[Path | None, option("FILE", "none")] = None
    """A picture that the clip begins with."""
    extend: Annotated[Path | None, option("FILE", "none")] = None
    """A clip to go on from; --seconds or --frames say how much is added."""
    direction: Annotated[Direction, option("WHERE", "forward")] = "forward"
    """Where --extend adds: forward after the clip, backward before it, or both."""
    trim: Annotated[str | None, option("FROM:TO", "all of it")] = None
    """The seconds of the clip that --extend, --edit or --connect's first one takes, e.g. 1.0:2.5."""
    between: Annotated[tuple[Path, Path] | None, option("FILE FILE", "none")] = None
    """A first and a last picture, of which the middle is made."""
    connect: Annotated[tuple[Path, Path] | None, option("FILE FILE", "none")] = None
    """Two clips to join; --seconds or --frames say how long the bridge is."""
    fill: Annotated[Path | None, option("FILE", "none")] = None
    """A clip with a gap to fill: --gap says where, and what is there now does not count."""
    gap: Annotated[str | None, option("FROM:TO", "none")] = None
    """The seconds of the clip that --fill makes, e.g. 1.0:1.5."""
    loop: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "the clip ends where it ends")]] = False
    """A clip that goes on from its end to its start without a seam, of 4n frames; as long as the model's longest clip
    where neither --seconds nor --frames says how long."""
    edit: Annotated[Path | None, option("FILE", "none")] = None
    """A clip to make again as the prompt says."""
    strength: Annotated[float | None, option("0 TO 1", USUAL)] = None
    """How much --edit or --blend changes: 0 keeps the clip (or the crossfade), 1 ignores it."""
    mask: Annotated[Path | None, option("FILE", "everywhere")] = None
    """A picture, white where --edit may change the clip; the other pixels stay as they are."""
    blend: Annotated[tuple[Path, Path] | None, option("FILE FILE", "none")] = None
    """A clip that becomes another, as long as the shorter one unless --seconds or --frames says how long; --strength
    says how freely."""
    storyboard: Annotated[Path | None, option("FILE", "none")] = None
    """Several prompts in time: a JSON list of {"prompt", "seconds", "join": "continue" or "cut", "image"}."""
    style: Annotated[str | None, option("NAME", "none")] = None
    """A look for every prompt, e.g. film; the embedded model knows flat, sketch, neon and film."""
    resume: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "from the beginning")]] = False
    """Goes on with a long clip that was interrupted, from its last window."""


def as_request(arguments: Arguments) -> Request:
    """The request in the arguments. Raises BadRequest."""
    width, height = (None, None) if arguments.size is None else parse_size(arguments.size)
    file, board = arguments.prompts_file, arguments.storyboard
    prompts = arguments.prompts + (attempt(lambda: read_prompts(file)) if file else ())
    if board and not board.expanduser().is_file():
        raise BadRequest(f"{board} does not exist: give the path of a storyboard")
    if board:
        prompts = prompts or (attempt(lambda: read_storyboard(board))[0].prompt,)  # names the file
    if arguments.style is not None:
        prompts = tuple(styled(prompt, arguments.style) for prompt in prompts)
    return Request(
        prompts=prompts,
        negative=arguments.negative,
        num=arguments.num,
        seed=arguments.seed,
        frames=arguments.frames,
        seconds=arguments.seconds,
        width=width,
        height=height,
        fps=arguments.fps,
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        guidance_scale_low=arguments.guidance_scale_low,
        temperature=arguments.temperature,
        sampler=arguments.sampler,
        shift=arguments.shift,
    )


def styled(prompt: str, style: str) -> str:
    """The prompt with a sentence on its look, as captions say it. Raises BadRequest for no style."""
    if not style.strip():
        raise BadRequest("the style is empty: name one, e.g. film")
    return f"{prompt.strip().rstrip('.')}. The style is {style.strip()}."


def read_prompts(path: Path) -> tuple[str, ...]:
    """One prompt a line. Raises BadRequest where the file cannot be read or holds no prompt."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is no text in UTF-8 ({error}): save it as such") from error
    except OSError as error:
        raise BadRequest(f"{path} cannot be read ({error.strerror}): name a text file of prompts") from error
    lines = (line.strip() for line in text.splitlines())
    prompts = tuple(line for line in lines if line and not line.startswith("#"))
    if not prompts:
        raise BadRequest(f"{path} holds no prompt: write one a line")
    return prompts


def check_task(arguments: Arguments) -> None:
    """Raises BadRequest where options contradict each other, or a file is not there."""
    chosen = [f"--{name}" for name in TASKS if getattr(arguments, name)]
    if len(chosen) > 1:
        raise BadRequest(f"{' and '.join(chosen)} were both asked for: give one of them")
    if arguments.resume and (short := [name for name in chosen if name not in ("--image", "--storyboard")]):
        raise BadRequest(
            f"--resume goes on with long clips of text, --image or --storyboard, and {short[0]} keeps "
            "nothing: leave --resume out"
        )
    if arguments.resume and arguments.grid is not None:
        raise BadRequest("--resume goes on with files of their own, and a grid is made at once: leave one of them out")
    if arguments.edit and (arguments.seconds or arguments.frames):
        raise BadRequest("an edit is as long as its clip: leave --seconds and --frames out, or --trim the clip")
    if (arguments.fill is None) != (arguments.gap is None):
        raise BadRequest("--fill FILE and --gap FROM:TO go together: say where the gap is, e.g. --gap 1.0:1.5")
    if arguments.fill and (arguments.seconds or arguments.frames):
        raise BadRequest("a gap is as long as --gap says: leave --seconds and --frames out")
    if arguments.gap is not None:
        parse_span(arguments.gap)
    if arguments.mask is not None and not arguments.edit:
        raise BadRequest("--mask needs a clip to edit: give one with --edit FILE")
    if arguments.strength is not None and not (arguments.edit or arguments.blend):
        raise BadRequest("--strength needs a clip to edit or two to blend: give --edit FILE or --blend FILE FILE")
    if arguments.trim is not None:
        parse_span(arguments.trim)
        if not (arguments.extend or arguments.edit or arguments.connect):
            raise BadRequest("--trim needs a clip: give one with --extend FILE, --edit FILE or --connect FILE FILE")
    if arguments.storyboard and (arguments.prompts or arguments.prompts_file or arguments.seconds or arguments.frames):
        raise BadRequest("a storyboard has its own prompts and seconds: leave yours out, or the storyboard")
    if arguments.strength is not None and not 0 <= arguments.strength <= 1:
        raise BadRequest(f"strength {arguments.strength} is not allowed: 0 keeps the clip, 1 ignores it; use e.g. 0.6")
    if arguments.direction != "forward" and not arguments.extend:
        raise BadRequest(f"--direction {arguments.direction} needs a clip to extend: give one with --extend FILE")
    files = [getattr(arguments, name) for name in ("image", "extend", "edit", "fill", "mask", "storyboard")]
    for file in (*files, *(arguments.between or ()), *(arguments.connect or ()), *(arguments.blend or ())):
        if file is not None and existing(Path(), str(file)) is None:
            what = "is a folder" if os.path.isdir(os.path.expanduser(file)) else "does not exist"
            raise BadRequest(f"{file} {what}: give the path of a picture or clip")


def strength_of(arguments: Arguments) -> float:
    """Of an edit or a blend: the one that is asked for, else the usual one."""
    usual = STRENGTH["edit" if arguments.edit else "blend"]
    return usual if arguments.strength is None else arguments.strength


def task_of(arguments: Arguments) -> dict[str, Any]:
    """What a clip's metadata say of its task, besides the settings: the options, and their files by name."""
    names = (*TASKS, "direction", "trim", "gap", "strength", "mask")
    given = {name: getattr(arguments, name) for name in names}
    said = {name: value for name, value in given.items() if value is not None and value is not False}
    if not arguments.extend:
        said.pop("direction")
    if arguments.edit or arguments.blend:
        said["strength"] = strength_of(arguments)
    return {
        name: [str(x) for x in one] if isinstance(one, tuple) else str(one) if isinstance(one, Path) else one
        for name, one in said.items()
    }


def attempt(work: Callable[[], Result]) -> Result:
    """Turns what files and folders do to us into one line."""
    try:
        return work()
    except BadRequest:
        raise
    except (OSError, ValueError) as error:
        raise Failure(" ".join(str(error).split())) from error
    except (MemoryError, RuntimeError) as error:  # XLA's kind of it is not imported here, see `sorajax.sample.load`
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise Failure(
            f"the memory is full ({' '.join(str(error).split())[:200]}): ask for fewer frames or "
            "clips or a smaller size, use more devices, or say --quantize int8"
        ) from error
