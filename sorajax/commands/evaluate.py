"""Measures a model of the world: the command line.

    python -m sorajax.evaluate world --model world --num 256 --json scores.json
    python -m sorajax.evaluate reconstruction --model world
    python -m sorajax.evaluate reconstruction --model runs/videos_vae --folder videos
    python -m sorajax.evaluate instrument
    python -m sorajax.evaluate tasks --model world

`tasks` measures every way to ask: stills, extensions, edits, storyboards, a minute; `--rows extend edit` some of them.
`world` asks for clips and reads them back; `reconstruction` measures what the autoencoder keeps; `instrument` is the
reader's own accuracy on rendered clips, the ceiling of all others. Each prints a table with 95% intervals, and with
--json writes {split: {attribute: {accuracy, low, high, num}}}. `reconstruction` takes an autoencoder by itself too, and
with --folder measures it on your own videos.

Exit codes: 0 done, 1 a file or model failed, 2 the request makes no sense, 130 interrupted.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from sorajax.errors import BadRequest
from sorajax.files import whole_file
from sorajax.sampling.request import Request

SPLITS = ("seen", "held_out", "camera", "style", "relation", "event", "shots")


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


@dataclass(frozen=True)
class Instrument(Common):
    """The reader's own accuracy on rendered clips."""


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


Command = (
    Annotated[World, tyro.conf.subcommand("world")]
    | Annotated[Reconstruction, tyro.conf.subcommand("reconstruction")]
    | Annotated[Instrument, tyro.conf.subcommand("instrument")]
    | Annotated[Tasks, tyro.conf.subcommand("tasks")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        command = tyro.cli(Command, prog="python -m sorajax.evaluate", description=__doc__, args=argv)
        check(command)
        MEASURES[type(command)](command)
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    except (OSError, ValueError) as error:
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    return 0


def check(command: "Common | Tasks") -> None:
    """Raises BadRequest for what can be known to be wrong before anything is loaded."""
    if command.num < 1:
        raise BadRequest(f"--num {command.num} is not allowed: use at least 1, e.g. 256")
    if command.seed < 0:
        raise BadRequest(f"--seed {command.seed} is not allowed: use 0 or more")
    for split in getattr(command, "splits", ()):
        if split not in SPLITS:
            raise BadRequest(f"--splits {split} is unknown: choose from {', '.join(SPLITS)}")
    if isinstance(command, Reconstruction) and command.fps <= 0:
        raise BadRequest(f"--fps {command.fps:g} is not allowed: it must be positive, e.g. 8")
    if command.json and not command.json.expanduser().parent.is_dir():
        raise BadRequest(f"--json {command.json}: the folder does not exist; create it first")


def complain(error: Exception | str, code: int) -> int:
    print(f"sorajax: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def measure_world(command: World) -> None:
    """Generates, reads and prints."""
    import jax

    from sorajax.evaluation.world import evaluate_world, table
    from sorajax.sampling.pipeline import load

    pipeline = load(command.model)
    batch = command.batch or (1 if jax.default_backend() == "cpu" else 8)

    def generate(prompts: list[str]) -> Iterator:
        # A request gives all its prompts the same noise: each batch is a request with a seed of its own.
        for start in range(0, len(prompts), batch):
            request = Request(
                tuple(prompts[start : start + batch]),
                seed=command.seed + start,
                frames=command.frames,
                width=command.size[0],
                height=command.size[1],
                steps=command.steps,
                guidance_scale=command.guidance_scale,
                temperature=command.temperature,
            )
            for video in pipeline.stream(request, pipeline.plan(request), batch):
                yield video.frames

    results = evaluate_world(generate, command.num, command.seed, command.splits, pipeline.config.fps)
    report(table(results), results, command.json)


def measure_reconstruction(command: Reconstruction) -> None:
    """Encodes, decodes, reads and prints."""
    from sorajax.evaluation.reconstruction import evaluate_reconstruction, evaluate_videos, table
    from sorajax.evaluation.world import table as accuracies

    config, params = autoencoder(command.model)
    if command.folder is not None:
        quality, left_out = evaluate_videos(
            config, params, command.folder, command.num, command.frames, command.size[::-1], command.fps
        )
        text = table({"videos": quality})
        text += "".join(f"\nleft out: {reason}" for reason in left_out.values())
        report(text, asdict(quality) | {"left_out": left_out}, command.json)
        return
    found = evaluate_reconstruction(
        config, params, command.num, command.seed, splits=command.splits, frames=command.frames
    )
    text = f"PSNR {found.all.psnr:.2f} dB (worst clip {found.all.worst:.2f})\n\n"
    text += f"{table({'all kinds': found.all, **found.splits})}\n\nfrom pixels\n{accuracies(found.pixels)}"
    text += f"\n\nthrough the autoencoder\n{accuracies(found.through)}"
    figures = {"psnr": found.all.psnr, "worst": found.all.worst, "pixels": found.pixels, "through": found.through}
    figures |= {"quality": {name: asdict(q) for name, q in {"all": found.all, **found.splits}.items()}}
    report(text, figures, command.json)


def autoencoder(model: str) -> tuple[Any, Any]:
    """Config and parameters of the autoencoder that a model is or has."""
    from sorajax.sampling.pipeline import EMBEDDED, load
    from sorajax.training.autoencoder import is_autoencoder, load_vae

    if model != EMBEDDED and is_autoencoder(Path(model).expanduser()):
        return load_vae(Path(model).expanduser())
    pipeline = load(model)
    return pipeline.config.vae, pipeline.params["vae"]


def measure_instrument(command: Instrument) -> None:
    """Renders, reads and prints."""
    from sorajax.evaluation.world import evaluate_truth, table

    results = evaluate_truth(None, command.num, command.seed, command.splits)
    report(table(results), results, command.json)


def measure_tasks(command: Tasks) -> None:
    """Asks, reads and prints, row by row."""
    from sorajax import tasks
    from sorajax.evaluation.tasks import ROWS, evaluate_tasks, lines
    from sorajax.media.video import Video
    from sorajax.sampling.pipeline import load
    from sorajax.sampling.request import StoryboardScene

    names = [name for name in ROWS if not command.rows or any(part in name for part in command.rows)]
    if not names:
        raise BadRequest(f"--rows {' '.join(command.rows)}: no such row; there are {', '.join(ROWS)}")
    pipeline = load(command.model)

    def ask(task: str, prompt: str, seed: int, *given: Any, **settings: Any) -> Any:
        asked = {field.name: settings.pop(field.name) for field in fields(Request) if field.name in settings}
        request = Request((prompt or "storyboard",), seed=seed, temperature=command.temperature, **asked)
        if "scenes" in settings:
            settings["scenes"] = [
                StoryboardScene(text, s, "cut" if cut else "continue") for text, s, cut in settings["scenes"]
            ]
        videos = [Video(frames, pipeline.config.fps) for frames in given]
        return next(getattr(tasks, task)(pipeline, request, *videos, **settings)).whole().frames

    figures: dict[str, Any] = {}
    for name, row in evaluate_tasks(ask, command.num, command.seed, pipeline.config.fps, names, command.seconds):
        figures[name] = {what: {**figure._asdict(), "met": figure.met} for what, figure in row.items()}
        print("\n".join(lines(name, row)), flush=True)
    if command.json:
        report("", figures, command.json)


def report(text: str, figures: dict, path: Path | None) -> None:
    """Prints the table and writes the JSON."""
    print(text)
    if path:
        with whole_file(path.expanduser()) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")
        print(path)


MEASURES: dict[type, Callable[[Any], None]] = {
    World: measure_world,
    Reconstruction: measure_reconstruction,
    Instrument: measure_instrument,
    Tasks: measure_tasks,
}
