"""Options of the measuring command lines. This file does not import jax, so errors in options are reported at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sorajax.devices.distributed import DistributedConfig
from sorajax.errors import BadRequest
from sorajax.evaluation.markdown import check_pages
from sorajax.files import Address, as_path

Together = Annotated[DistributedConfig, tyro.conf.arg(name="")]
SPLITS = ("seen", "held_out", "camera", "style", "relation", "event", "shots")
CAPTION_CLIPS = ("seen", "held_out", "decoded", "generated")
CAPTIONED = (*CAPTION_CLIPS, "expansion", "sampling", "score")
CORE = {"seen", "held_out"}
"""Splits of one object, one shot and a static camera."""


@dataclass(frozen=True)
class Common:
    """Options that all measurements share."""

    num: int = 256
    """Clips for each of the splits seen and held_out; the other splits get a quarter of it."""
    seed: int = 0
    """Seed of the prompts and of the noise, 0 or more."""
    splits: tuple[str, ...] = SPLITS
    """Splits to measure; `--splits seen held_out` is the single-object core."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Pages for the tables, which replace the text between the lines `<!-- measured: NAME -->` and
    `<!-- end: NAME -->`."""
    together: Together = DistributedConfig()

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the command can write into pages."""
        return ()


@dataclass(frozen=True)
class World(Common):
    """Samples clips of a model and reads them back."""

    model: str = "world"
    """`world` or `world-fast`, the bundled models, or the folder of a training run or an exported model."""
    frames: int = 17
    """Frames per clip; 17 are 2 seconds at 8 per second."""
    size: tuple[int, int] = (64, 64)
    """Width and height in pixels."""
    steps: int | None = None
    """Denoising steps; the model's own by default."""
    guidance_scale: float | None = None
    """Scale of classifier-free guidance; the model's own by default."""
    guidance_interval: tuple[float, float] | None = None
    """Times at which guidance applies; all by default."""
    temperature: float | None = None
    """Factor of the initial noise; the model's own by default."""
    batch: int | None = None
    """Clips per sampling call; by default 1 on CPU and 8 on accelerators."""
    mesh: str | None = None
    """How several devices split the work, as in `sorajax.sample`; by default chosen for one clip."""

    @property
    def tables(self) -> tuple[str, ...]:
        name = "world-fast" if self.model == "world-fast" else "world"
        core = (name, f"{name}-short") if set(self.splits) >= CORE else ()
        return core + ((f"{name}-parts",) if set(self.splits) >= set(SPLITS) - CORE else ())


@dataclass(frozen=True)
class Readers(World):
    """Samples a model's clips of one object each, and compares two readers on them."""

    num: int = 128
    """Clips for each split."""
    splits: tuple[str, ...] = ("seen", "held_out")
    """Splits to measure: seen, held_out or both, whose clips the second reader can read."""

    @property
    def tables(self) -> tuple[str, ...]:
        name = "world-fast" if self.model == "world-fast" else "world"
        is_default = (self.size, self.frames) == (World.size, World.frames)
        shape = "" if is_default else f"-{self.size[0]}x{self.size[1]}x{self.frames}"
        return (f"{name}-readers{shape}",)


@dataclass(frozen=True)
class Reconstruction(Common):
    """Measures PSNR, SSIM and flicker of the autoencoder on unseen clips, and the reader's accuracy on its output."""

    num: int = 64
    """Clips for each of the splits seen and held_out, a quarter of it for other splits; or videos of --folder."""
    model: str = "world"
    """`world`, the embedded model, or the folder of a training run, an exported model or open weights; a whole model or
    an autoencoder alone."""
    folder: Path | None = None
    """Your own videos instead of the world's: a folder, manifest or tar. The first clip of each video is measured."""
    frames: int = 17
    """Frames per clip."""
    size: tuple[int, int] = (64, 64)
    """Width and height in pixels to which clips of --folder are resized and cropped."""
    fps: float = 8.0
    """Frames per second at which clips of --folder are read."""

    @property
    def tables(self) -> tuple[str, ...]:
        measured = self.folder is None and set(self.splits) >= CORE
        return ("reconstruction", "reconstruction-short") if measured else ()


@dataclass(frozen=True)
class Instrument(Common):
    """Measures the reader's accuracy on rendered clips."""

    @property
    def tables(self) -> tuple[str, ...]:
        return ("instrument",)


@dataclass(frozen=True)
class Tasks:
    """Measures every task of a model in the world."""

    model: str = "world"
    """`world` or `world-fast`, the bundled models, or the folder of a training run or an exported model."""
    num: int = 8
    """Clips per row."""
    rows: tuple[str, ...] = ()
    """Measure only rows whose names contain one of these words."""
    seconds: float = 60
    """Length of the film in the row `minute`, in seconds."""
    seed: int = 0
    """Seed of the input clips and of the noise, 0 or more."""
    temperature: float | None = None
    """Factor of the initial noise; the model's own by default."""
    mesh: str | None = None
    """How several devices split the work, as in `sorajax.sample`; by default chosen for one clip."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: tasks -->` and
    `<!-- end: tasks -->`, or tasks-fast of `world-fast`; with --rows the name has the rows too, e.g. `tasks-extend`."""
    together: Together = DistributedConfig()

    @property
    def tables(self) -> tuple[str, ...]:
        name = "tasks-fast" if self.model == "world-fast" else "tasks"
        return ("-".join((name, *self.rows)).replace(" ", "-"),)


@dataclass(frozen=True)
class Compare:
    """Compares models from the files that `sorajax.evaluate world --json` wrote of them, several runs of each."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files of one --num and --seed; names that differ in a last number are runs of one model: true-0.json and
    true-1.json."""
    split: str = "seen"
    """The split to compare."""
    table: str = "compare"
    """Name of the table in pages, NAME in `<!-- measured: NAME -->`."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: NAME -->` and
    `<!-- end: NAME -->`."""
    together: Together = DistributedConfig()

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.table,)


@dataclass(frozen=True)
class Spread:
    """Measures the diversity of a model's clips of one prompt, relative to the world's own."""

    model: str = "world"
    """`world` or `world-fast`, the bundled models, or the folder of a training run or an exported model."""
    prompts: int = 12
    """Prompts in canonical words, and prompts that leave colour and background open."""
    num: int = 24
    """Clips of each prompt, 3 or more."""
    seed: int = 0
    """Seed of the prompts and of the noise, 0 or more."""
    mesh: str | None = None
    """How several devices split the work, as in `sorajax.sample`; by default chosen for one clip."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: spread -->` and
    `<!-- end: spread -->`, or spread-fast of `world-fast`."""
    together: Together = DistributedConfig()

    @property
    def tables(self) -> tuple[str, ...]:
        return ("spread-fast" if self.model == "world-fast" else "spread",)


@dataclass(frozen=True)
class Caching:
    """Measures step caching: evaluations saved, and PSNR against the clip without a cache."""

    model: str = "world"
    """`world`, the embedded model, or the folder or name of another one, as in `sorajax.sample`."""
    lora: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FILE[:SCALE]: an adapter, as in `sorajax.sample`; may be given several times. A calibration is for the model with
    its adapters."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of open weights; bfloat16 by default, and float32 on CPU."""
    num: int = 16
    """Clips, of prompts of the world."""
    prompts: tuple[str, ...] = ()
    """Your own prompts instead, one clip each."""
    image: Path | None = None
    """The first frame of the clips, which image-to-video models need."""
    size: str = ""
    """WIDTHxHEIGHT in pixels; the model's own by default."""
    frames: int | None = None
    """Frames of a clip; the model's own by default."""
    mag: tuple[float, ...] = (0.06, 0.12)
    """Thresholds of `--cache mag`."""
    easy: tuple[float, ...] = (0.2, 0.4)
    """Thresholds of `--cache easy`."""
    steps: int | None = None
    """Denoising steps; the model's own by default."""
    calibrate: bool = False
    """First calibrate `--cache mag` by one clip; the result is written into the model's folder, beside its weights."""
    seed: int = 0
    """Seed of the prompts and of the noise, 0 or more."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: caching -->` and
    `<!-- end: caching -->`; with --steps the name has the steps too, e.g. `caching-30`."""
    together: Together = DistributedConfig()

    @property
    def tables(self) -> tuple[str, ...]:
        return ("caching" if self.steps is None else f"caching-{self.steps}",)


@dataclass(frozen=True)
class Safety:
    """Measures the prompt filter on lists of lines and on captions of the world, the watermark on clips of the world
    and on films, and the time of each part."""

    part: tuple[Literal["filters", "unseen", "watermark", "alarms"], ...] = ("filters", "watermark", "alarms")
    """Parts to measure: the filters; lists that the prompt filter has not seen, in tables of their own; readings of the
    watermark; and its false alarms."""
    num: int = 10_000
    """Captions of the world, and clips without a watermark."""
    clips: int = 100
    """Clips of the world of each size that are marked and changed; of 832x480 a third as many."""
    films: Path | None = None
    """A folder of films, whose windows are marked and changed, too; at 832x480 every third."""
    list: tuple[Path, ...] = tuple(
        Path("tests/safety") / f"{name}.tsv" for name in ("prompts", "prompts_apart", "prompts_fresh")
    )
    """Lines of LANGUAGE, CATEGORY (or ok) and TEXT, between tabs; those of a checkout by default."""
    seed: int = 0
    """Seed of the captions, 0 or more."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    together: Together = DistributedConfig()
    markdown: tuple[Path, ...] = ()
    """Pages for the tables, which replace the text between the lines `<!-- measured: NAME -->` and
    `<!-- end: NAME -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        names = {
            "filters": ("safety-languages", "safety-categories", "safety-times"),
            "unseen": ("safety-unseen-languages", "safety-unseen-categories"),
            "watermark": ("safety-watermark", "safety-marks"),
            "alarms": ("safety-alarms",),
        }
        return tuple(name for part in self.part for name in names[part])


@dataclass(frozen=True)
class Captions:
    """Measures captions, expansions and the score on clips of the world."""

    captioner: str = "world"
    """`world`, or the folder of a run of configs/captioner.py."""
    model: str = "world"
    """The model that makes the generated clips, and whose decoder is used, as in `sorajax.sample`."""
    num: int = 256
    """Rendered clips, and prompts to expand and to sample."""
    generated: int = 64
    """Clips that the model makes."""
    parts: tuple[str, ...] = CAPTIONED
    """What to measure; all by default."""
    seed: int = 0
    """Seed of clips and prompts, 0 or more."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    together: Together = DistributedConfig()
    markdown: tuple[Path, ...] = ()
    """Pages for the tables, which replace the text between the lines `<!-- measured: NAME -->` and
    `<!-- end: NAME -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        names = {"expansion": "expansion", "sampling": "expansion-clips", "score": "retrieval"}
        captions = ("captions",) if set(CAPTION_CLIPS) & set(self.parts) else ()
        return captions + tuple(table for part, table in names.items() if part in self.parts)


@dataclass(frozen=True)
class Score:
    """Says how well a clip and a prompt agree: the probability, from 0 to 1, that they belong together."""

    clip: tyro.conf.Positional[Path]
    """A video or picture."""
    prompt: tyro.conf.Positional[str]
    """What it should show."""
    model: str = "world"
    """`world`, the score in the package; or a CLIP model in the hub's layout, its folder or name, which gives the mean
    cosine of prompt and frames."""
    num: tyro.conf.Suppress[int] = 1
    seed: tyro.conf.Suppress[int] = 0
    json: Path | None = None
    """A file for the figure; an existing one is replaced."""
    together: Together = DistributedConfig()
    markdown: tyro.conf.Suppress[tuple[Path, ...]] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class Play:
    """Measures interactive worlds: whether actions have their effects, and how long the world stays consistent."""

    worlds: tuple[str, ...] = ("true", "play")
    """`play`, the bundled model; the folder of a run of configs/play_dit.py; or `true`, the simulator."""
    num: int = 32
    """Plays."""
    seconds: float = 60.0
    """Their length."""
    seed: int = 0
    """Seed of prompts and keys, 0 or more."""
    steps: int | None = None
    """Evaluations for a frame of a learned world; by default those of its config."""
    temperature: float | None = None
    """Standard deviation of the noise that a frame is generated from, 0 to 1; by default that of its config."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    together: Together = DistributedConfig()
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: play -->` and
    `<!-- end: play -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        return ("play",)


@dataclass(frozen=True)
class Agent:
    """Trains policies in a learned world and in the simulator, and scores them in the simulator."""

    worlds: tuple[str, ...] = ("play",)
    """`play`, the bundled model, or folders of runs of configs/play_dit.py."""
    seeds: int = 5
    """Policies that are trained in each world."""
    frames: int = 3_200
    """Frames of its world that each is trained on."""
    num: int = 256
    """Episodes in which each policy is scored."""
    seed: int = 0
    """The first seed, 0 or more."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    together: Together = DistributedConfig()
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: agent -->` and
    `<!-- end: agent -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        return ("agent",)


@dataclass(frozen=True)
class Craftax:
    """Measures models of Craftax-Classic, and autoencoders, against the game. Needs the extra `craftax`."""

    models: tuple[str, ...] = ()
    """Folders of runs of configs/play_dit.py on a recorded game."""
    vaes: tuple[str, ...] = ("world",)
    """Autoencoders: `world`, the one in the package, and folders of runs of configs/play_vae.py."""
    num: int = 256
    """Clips; the last frame of each is predicted."""
    seed: int = 1
    """Seed of the games, 0 or more; recordings have 0."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    together: Together = DistributedConfig()
    markdown: tuple[Path, ...] = ()
    """Pages for the table, which replaces the text between the lines `<!-- measured: craftax -->` and
    `<!-- end: craftax -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        return ("craftax",)


Options = Common | Tasks | Compare | Spread | Caching | Safety | Captions | Score | Play | Agent | Craftax


def check(options: Options) -> None:
    """Raises BadRequest for options that are wrong, before anything is loaded."""
    for name, example in (("num", ", e.g. 256"), ("seeds", ""), ("frames", "")):
        value = getattr(options, name, None)
        if value is not None and value < 1:
            raise BadRequest(f"--{name} {value} is not allowed: use at least 1{example}")
    if (seed := getattr(options, "seed", 0)) < 0:
        raise BadRequest(f"--seed {seed} is not allowed: use 0 or more")
    if isinstance(options, Compare) and options.split not in SPLITS:
        raise BadRequest(f"--split {options.split} is unknown: choose from {', '.join(SPLITS)}")
    if isinstance(options, Compare) and not options.files:
        raise BadRequest("no files to compare: give what `sorajax.evaluate world --json FILE` wrote")
    for split in getattr(options, "splits", ()):
        if split not in SPLITS:
            raise BadRequest(f"--splits {split} is unknown: choose from {', '.join(SPLITS)}")
        if isinstance(options, Readers) and split not in CORE:
            raise BadRequest(f"--splits {split} has clips that the second reader cannot read: use seen and held_out")
    for part in getattr(options, "parts", ()):
        if part not in CAPTIONED:
            raise BadRequest(f"--parts {part} is unknown: choose from {', '.join(CAPTIONED)}")
    if isinstance(options, Spread) and (options.num < 3 or options.prompts < 1):
        raise BadRequest(f"--num {options.num} clips of --prompts {options.prompts} have no spread: use 3 of 1 or more")
    if isinstance(options, Reconstruction) and options.fps <= 0:
        raise BadRequest(f"--fps {options.fps:g} is not allowed: it must be positive, e.g. 8")
    folder = as_path(options.json).parent if options.json else None
    if folder is not None and not isinstance(folder, Address) and not folder.is_dir():
        raise BadRequest(f"--json {options.json}: the folder does not exist; create it first")
    check_pages(options.markdown, options.tables)
