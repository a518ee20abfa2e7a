"""The options of `python -m sorajax.sample`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sorajax.sampling.request import Direction, SamplerName
from sorajax.tasks.table import TASKS

MODEL_DECIDES = "the model's own"
STRENGTHS = ", ".join(
    f"{task.options['strength']} for --{name}" for name, task in TASKS.items() if "strength" in task.options
)


def option(metavar: str, default: str):
    """How --help shows an option: what to write, and its default."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


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
    loop: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "off")]] = False
    """A clip that goes on from its end to its start without a seam, of 4n frames; as long as the model's longest clip
    where neither --seconds nor --frames says how long."""
    edit: Annotated[Path | None, option("FILE", "none")] = None
    """A clip to make again as the prompt says."""
    strength: Annotated[float | None, option("0 TO 1", STRENGTHS)] = None
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
    resume: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "off")]] = False
    """Goes on with a long clip that was interrupted, from its last window."""
