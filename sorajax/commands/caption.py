"""Describes videos in words.

    python -m sorajax.caption clip.mp4
    python -m sorajax.caption clip.mp4 picture.png --register short
    python -m sorajax.caption clip.mp4 --json                     one JSON object a line, with both captions

The captioner in the package knows the world (docs/training.md). It reads the clip through the bundled autoencoder.

Exit codes: 0 done, 1 a file or model cannot be read, 2 an option is wrong, 130 interrupted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from sorajax.commands.failures import Failure, attempt, complain, notes_printed
from sorajax.errors import BadRequest
from sorajax.language import Caption, Captioner
from sorajax.media.video import Video


@dataclass(frozen=True)
class CaptionOptions:
    """What to describe, and how."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Videos and pictures."""
    register: Literal["short", "detailed"] = "detailed"
    """short: as a person types a prompt; detailed: every attribute."""
    model: str = "world"
    """`world`, the captioner of the bundled model, or the folder of a training run of configs/captioner.py."""
    seed: int = 0
    """0 takes the most likely words; other seeds draw synonyms."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print both captions of each file as JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = tyro.cli(CaptionOptions, prog="python -m sorajax.caption", description=__doc__, args=argv)
        with notes_printed():
            caption(options, captioner_of(options))
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BadRequest as error:
        return complain(error, 2)
    except Failure as error:
        return complain(error, 1)
    return 0


def captioner_of(options: CaptionOptions) -> Captioner:
    """The captioner that the options name. Raises BadRequest and Failure."""
    if not options.files:
        raise BadRequest("no file is named: give a video or picture, e.g. clip.mp4")
    if options.seed < 0:
        raise BadRequest(f"--seed {options.seed} is not allowed: use 0 or more")
    from sorajax.language.captioner import open_captioner  # importing jax takes seconds

    return attempt(lambda: open_captioner(options.model))


def caption(options: CaptionOptions, captioner: Captioner) -> None:
    """Prints the caption of each file; with one file without its name."""
    for path in options.files:
        found = attempt(partial(described, path, captioner, options.seed))
        if options.json:
            print(json.dumps({"file": str(path), **found._asdict()}, ensure_ascii=False), flush=True)
        else:
            name = f"{path}: " if len(options.files) > 1 else ""
            print(f"{name}{getattr(found, options.register)}", flush=True)


def described(path: Path, captioner: Captioner, seed: int) -> Caption:
    """The caption of a file. Raises OSError and ValueError."""
    return captioner(Video.load(path), seed)
