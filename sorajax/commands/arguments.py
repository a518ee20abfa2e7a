"""The options of `python -m sorajax.sample`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sorajax.devices.distributed import DistributedConfig
from sorajax.sampling.request import CacheName, Direction, SamplerName
from sorajax.tasks.table import TASKS

MODEL_DEFAULT = "the model's own"
STRENGTHS = ", ".join(
    f"{task.options['strength']} for --{name}" for name, task in TASKS.items() if "strength" in task.options
)


def option(metavar: str, default: str):
    """An option's value and default as --help shows them."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class Arguments:
    prompts: tyro.conf.Positional[Annotated[tuple[str, ...], option("PROMPT ...", "those of --prompts-file")]] = ()
    """Descriptions of the clips; put each prompt in quotes."""
    prompts_file: Annotated[Path | None, option("FILE", "none")] = None
    """A text file with one prompt per line; empty lines and lines that begin with # are skipped; - is stdin."""
    model: Annotated[str, option("NAME", "world, which comes with sorajax")] = "world"
    """world; the folder of a training run, of an exported model, or of open Wan weights (either layout, or converted by
    sorajax.convert); or a name on the Hugging Face hub, e.g. Wan-AI/Wan2.1-T2V-1.3B-Diffusers."""
    lora: tyro.conf.UseAppendAction[Annotated[tuple[str, ...], option("FILE[:SCALE]", "none")]] = ()
    """A LoRA or LoKr adapter, in the layout of PEFT and diffusers or of other trainers; the default scale is 1. FILE is
    a path, or OWNER/MODEL/FILE on the hub. May be given several times. For a model of two experts, high=FILE is for the
    expert of the high noise levels, low=FILE for the other."""
    preset: Annotated[str | None, option("NAME", "found from the adapters' files")] = None
    """Steps, sampler, shift and no guidance for few-step adapters and models: lightning (lightx2v), causvid,
    self-forcing or anyflow. Other options take precedence; none keeps the model's own."""
    dtype: Annotated[Literal["float32", "bfloat16"] | None, option("TYPE", "bfloat16, and float32 on CPU")] = None
    """Type of open weights and of their matrix products."""
    quantize: Annotated[Literal["int8", "fp8"] | None, option("TYPE", "none")] = None
    """Stores the weights of transformer and text encoder in 8 bits, in a half or a quarter of their memory; int8 is
    closer to the original weights, and on TPU and GPU it multiplies in 8 bits, too. Needs the extra `quantized`."""
    mesh: Annotated[str | None, option("AXES", "chosen for one clip, over all devices")] = None
    """How several devices split the work, e.g. data=2,seq=4: clips and the two branches of guidance over data, the
    tokens of a clip over seq, heads over tensor. The sizes multiply to the number of devices."""
    expand: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "off")]] = False
    """Expands short prompts to detailed ones; details that they leave open depend on --seed. The clip's metadata has
    both prompts. Without --endpoint, only prompts of the world are expanded."""
    endpoint: Annotated[str | None, option("URL", "the expander of the world")] = None
    """A chat server that expands the prompts for any model, e.g. http://localhost:8000/v1; a picture or clip of the
    request is shown to it. Needs the extra `endpoint`."""
    expand_model: Annotated[str | None, option("NAME", "none")] = None
    """The model of --endpoint, as the server lists it."""
    best_of: Annotated[int, option("N", "1")] = 1
    """Samples N clips for each requested one, and writes the one that agrees best with its prompt."""
    score: Annotated[str, option("NAME", "world, which comes with sorajax")] = "world"
    """The score that --best-of compares by: world, for the world's clips; or the folder or name of a CLIP model in the
    hub's layout."""
    out: Annotated[str, option("PATH", "samples/")] = "samples/"
    """A file, whose suffix sets the format (mp4, gif, webp or png); several clips are numbered, e.g. clip-1.mp4,
    clip-2.mp4. Or a folder, which exists or ends with /; files in it are named after their prompts."""
    overwrite: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "an existing file is an error")]] = False
    """Replace files that exist."""
    num: Annotated[int, option("N", "1")] = 1
    """Clips per prompt; clip i has the seed --seed + i."""
    grid: Annotated[int | None, option("COLUMNS", "a file per clip")] = None
    """All clips in one file, as a grid with this number of columns."""
    seed: Annotated[int, option("N", "0")] = 0
    """Seed of the noise, 0 to 4294967295; the same seed and settings make the same clip."""
    size: Annotated[str | None, option("WIDTHxHEIGHT", MODEL_DEFAULT)] = None
    """Size in pixels, e.g. 96x64."""
    seconds: Annotated[float | None, option("S", MODEL_DEFAULT)] = None
    """Length in seconds, up to 3600; it is rounded to a length that the model makes."""
    frames: Annotated[int | None, option("N", MODEL_DEFAULT)] = None
    """Length in frames, instead of --seconds: 4n+1 for most models; 1 is a still image."""
    fps: Annotated[float | None, option("RATE", MODEL_DEFAULT)] = None
    """Frames per second, 1 to 120. Motion has the same speed at any rate."""
    negative: Annotated[str | None, option("PROMPT", "the model's own, none for world")] = None
    """Negative prompt: what classifier-free guidance avoids."""
    steps: Annotated[int | None, option("N", MODEL_DEFAULT)] = None
    """Denoising steps, 1 to 1000: more take longer and look better."""
    guidance_scale: Annotated[float | None, option("SCALE", MODEL_DEFAULT)] = None
    """Scale of classifier-free guidance, 0 or more: 1 is no guidance, above 7 looks overdone."""
    guidance_scale_low: Annotated[float | None, option("SCALE", "the same, or the model's own")] = None
    """Guidance scale of the expert for low noise levels, in a model of two experts (Wan 2.2 A14B)."""
    guidance_interval: Annotated[tuple[float, float] | None, option("LOW HIGH", "0 1, all times")] = None
    """Times at which guidance applies, 1 is noise and 0 the finished clip. Outside it the unconditional branch is not
    computed, which halves the cost of a step."""
    cache: Annotated[CacheName | None, option("NAME", "none")] = None
    """Step caching, which skips evaluations of the transformer where its output hardly changes. mag: by a schedule
    calibrated on one clip; easy: decided for each clip, which is sampled alone."""
    cache_threshold: Annotated[float | None, option("ERROR", "0.06 for mag, 0.05 for easy")] = None
    """Error that --cache may make, above 0: more is faster and less exact."""
    temperature: Annotated[float | None, option("FACTOR", MODEL_DEFAULT)] = None
    """Factor of the initial noise, above 0: below 1 clips vary less and are more typical."""
    sampler: Annotated[SamplerName | None, option("NAME", "unipc, flow_map for distilled models")] = None
    """unipc needs the fewest steps, dpmpp_2m about as few; heun evaluates the model twice per step; euler is the
    simplest; flow_map is for distilled models, which take large steps."""
    shift: Annotated[float | None, option("S", MODEL_DEFAULT)] = None
    """Timestep shift, above 0: above 1 spends more steps at high noise levels, which larger clips need."""
    image: Annotated[Path | None, option("FILE", "none")] = None
    """Image to video: a picture that the clip begins with."""
    extend: Annotated[Path | None, option("FILE", "none")] = None
    """A clip to extend; --seconds or --frames set how much is added."""
    direction: Annotated[Direction, option("WHERE", "forward")] = "forward"
    """Where --extend adds frames: forward is after the clip, backward before it, both on both sides."""
    trim: Annotated[str | None, option("FROM:TO", "all of it")] = None
    """The part of the clip of --extend or --edit, or of the first clip of --connect, that is used: seconds, e.g.
    1.0:2.5."""
    between: Annotated[tuple[Path, Path] | None, option("FILE FILE", "none")] = None
    """A first and a last picture; the frames between them are generated."""
    connect: Annotated[tuple[Path, Path] | None, option("FILE FILE", "none")] = None
    """Two clips to join by a bridge; --seconds or --frames set the bridge's length."""
    fill: Annotated[Path | None, option("FILE", "none")] = None
    """A clip with a gap to fill; --gap sets where, and the frames that are there now are ignored."""
    gap: Annotated[str | None, option("FROM:TO", "none")] = None
    """The gap that --fill generates, in seconds of the clip, e.g. 1.0:1.5."""
    loop: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "off")]] = False
    """A loop, whose last frame leads to its first without a seam, of 4n frames for most models; without --seconds and
    --frames one frame shorter than the model's longest clip."""
    edit: Annotated[Path | None, option("FILE", "none")] = None
    """A clip to change as the prompt describes."""
    strength: Annotated[float | None, option("0 TO 1", STRENGTHS)] = None
    """How much --edit or --blend changes: 0 keeps the clip (or the crossfade), 1 ignores it."""
    mask: Annotated[Path | None, option("FILE", "everywhere")] = None
    """A picture, white where --edit may change the clip; other pixels stay as they are."""
    blend: Annotated[tuple[Path, Path] | None, option("FILE FILE", "none")] = None
    """Two clips: the first turns into the second. The result is as long as the shorter one, or as --seconds or --frames
    say; --strength sets how far the result may differ from a crossfade."""
    storyboard: Annotated[Path | None, option("FILE", "none")] = None
    """A film of several scenes: a JSON list of {"prompt", "seconds", "join": "continue" or "cut", "image"}."""
    style: Annotated[str | None, option("NAME", "none")] = None
    """A style added to every prompt, e.g. film; the embedded model knows flat, sketch, neon and film."""
    resume: tyro.conf.FlagCreatePairsOff[Annotated[bool, option("", "off")]] = False
    """Continues interrupted films from their last finished window; finished files are left as they are."""
    profile: Annotated[Path | None, option("DIR", "none")] = None
    """Writes a trace of the sampling into a folder, for XProf, TensorBoard or Perfetto."""
    together: Annotated[DistributedConfig, tyro.conf.arg(name="")] = DistributedConfig()
