"""What the command lines of measurements take. Importing this file is light: a mistake is answered at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from sorajax.errors import BadRequest
from sorajax.evaluation.markdown import check_pages

SPLITS = ("seen", "held_out", "camera", "style", "relation", "event", "shots")
CORE = {"seen", "held_out"}
"""Splits of one object, one shot and a static camera."""


@dataclass(frozen=True)
class Common:
    """What all measurements share."""

    num: int = 256
    """Clips of the splits seen and held_out each; the other splits get a quarter of it."""
    seed: int = 0
    """Chooses the prompts, and the noise they are made from."""
    splits: tuple[str, ...] = SPLITS
    """Which parts of the world to measure; `--splits seen held_out` is the single-object core."""
    json: Path | None = None
    """Also write the figures to this file; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Also write the tables into these pages, in place of what stands there between the lines
    `<!-- measured: NAME -->` and `<!-- end: NAME -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that it can write into pages."""
        return ()


@dataclass(frozen=True)
class World(Common):
    """Asks a model for clips and reads them back."""

    model: str = "world"
    """`world`, which comes with sorajax, or the folder of a training run or an exported model."""
    frames: int = 17
    """Length of the clips: 17 frames are 2 seconds at 8 per second."""
    size: tuple[int, int] = (64, 64)
    """Width and height in pixels."""
    steps: int | None = None
    """Denoising steps; the model's own by default."""
    guidance_scale: float | None = None
    """How closely to follow the prompt; the model's own by default."""
    temperature: float | None = None
    """Of the noise that clips begin from; the model's own by default."""
    batch: int | None = None
    """Clips made at once: 1 on CPU and 8 on accelerators by default."""

    @property
    def tables(self) -> tuple[str, ...]:
        core = ("world", "world-short") if set(self.splits) >= CORE else ()
        return core + (("world-parts",) if set(self.splits) >= set(SPLITS) - CORE else ())


@dataclass(frozen=True)
class Reconstruction(Common):
    """PSNR, SSIM and flicker of the autoencoder on unseen clips, and what can still be read through it."""

    num: int = 64
    """Clips of the splits seen and held_out each, the other splits get a quarter of it; or videos of --folder."""
    model: str = "world"
    """`world`, which comes with sorajax, or the folder of a training run, an exported model or an open one, each whole
    or an autoencoder alone."""
    folder: Path | None = None
    """Videos to measure it on instead of the world's: a folder, manifest or tar. The first clip of each is read."""
    frames: int = 17
    """Length of the clips."""
    size: tuple[int, int] = (64, 64)
    """Width and height in pixels that clips of --folder are cut to."""
    fps: float = 8.0
    """Frames per second that clips of --folder are read at."""

    @property
    def tables(self) -> tuple[str, ...]:
        measured = self.folder is None and set(self.splits) >= CORE
        return ("reconstruction", "reconstruction-short") if measured else ()


@dataclass(frozen=True)
class Instrument(Common):
    """The reader's own accuracy on rendered clips."""

    @property
    def tables(self) -> tuple[str, ...]:
        return ("instrument",)


@dataclass(frozen=True)
class Tasks:
    """Asks a model in every way it can be asked, and measures each in the world."""

    model: str = "world"
    """`world`, which comes with sorajax, or the folder of a training run or an exported model."""
    num: int = 8
    """Clips of each row."""
    rows: tuple[str, ...] = ()
    """Rows whose names contain one of these; all by default."""
    seconds: float = 60
    """Length of the film in the row `minute`."""
    seed: int = 0
    """Chooses what is given, and the noise."""
    temperature: float | None = None
    """Of the noise that clips begin from; the model's own by default."""
    json: Path | None = None
    """Also write the figures to this file; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Also write the table into these pages, between the lines `<!-- measured: tasks -->` and `<!-- end: tasks -->`; of
    some rows alone the name is that of --rows, too, e.g. `tasks-extend`."""

    @property
    def tables(self) -> tuple[str, ...]:
        return ("-".join(("tasks", *self.rows)).replace(" ", "-"),)


def check(options: Common | Tasks) -> None:
    """Raises BadRequest for what can be known to be wrong before anything is loaded."""
    if options.num < 1:
        raise BadRequest(f"--num {options.num} is not allowed: use at least 1, e.g. 256")
    if options.seed < 0:
        raise BadRequest(f"--seed {options.seed} is not allowed: use 0 or more")
    for split in getattr(options, "splits", ()):
        if split not in SPLITS:
            raise BadRequest(f"--splits {split} is unknown: choose from {', '.join(SPLITS)}")
    if isinstance(options, Reconstruction) and options.fps <= 0:
        raise BadRequest(f"--fps {options.fps:g} is not allowed: it must be positive, e.g. 8")
    if options.json and not options.json.expanduser().parent.is_dir():
        raise BadRequest(f"--json {options.json}: the folder does not exist; create it first")
    check_pages(options.markdown, options.tables)


@dataclass(frozen=True)
class Benchmark:
    """What to measure, and how often."""

    config: tyro.conf.Positional[str]
    """`reference`, `gpu`, `clip`, `films`, `dit-12x384`, `wan2.1-1.3b`, or an experiment file, e.g.
    configs/world_dit.py."""
    batch: int | None = None
    """Clips of a training step; the experiment's own by default, 1 for a named shape."""
    repeats: int = 10
    """Calls that are timed, after one that is not."""
    part: tuple[Literal["dit", "dit12", "vae", "vae22", "text", "opening"], ...] = ("dit", "vae", "vae22", "text")
    """Of `reference`, what to compare: Wan's transformer of 4 or 12 blocks, its autoencoders (2.1 and 2.2), UMT5; or
    how long a transformer of 8 whole blocks takes to open (3 GB of temporary files)."""
    eager: bool = False
    """Of `reference`, only eager mode: torch.compile takes minutes."""
    remat: bool = False
    """Only the training step, with each remat policy of the transformer, whose blocks are scanned for that."""
    loader: bool = False
    """Only the experiment's batches as training reads them; what they are made of must be there."""
    mesh: str = ""
    """Mesh axes of the training step, e.g. data=2,fsdp=4; one device by default."""
    seconds: tuple[float, ...] = (4, 8, 15, 30, 60)
    """Of `films`, how long they are."""
    json: Path | None = None
    """Also write the figures to this file; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Also write the tables into these pages, in place of what stands there between the lines
    `<!-- measured: NAME -->` and `<!-- end: NAME -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that it can write into pages."""
        if self.config in ("clip", "films"):
            return (self.config,)
        if self.config == "reference":
            return ("-".join(("reference", *self.part)),)
        return () if self.loader else ("remat",) if self.remat else ("streamed",)


@dataclass(frozen=True)
class Sampling:
    """What is sampled."""

    model: tyro.conf.Positional[str]
    """A model's folder, or Wan2.1-T2V-1.3B, Wan2.1-T2V-14B, Wan2.1-I2V-14B, Wan2.2-TI2V-5B, Wan2.2-T2V-A14B or
    Wan2.2-I2V-A14B."""
    size: str = ""
    """WIDTHxHEIGHT in pixels; the model's own by default."""
    frames: int = 0
    """0: the model's own."""
    steps: int = 0
    """0: the model's own."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    quantize: Literal["int8", "fp8"] | None = None
    stages: tuple[Literal["text", "vision", "encoder", "transformer", "decoder"], ...] = (
        "text",
        "vision",
        "encoder",
        "transformer",
        "decoder",
    )
    """Which to compile, of those that the model has; the decoder takes longest, minutes."""
