"""Describes videos in words.

    python -m sorajax.caption clip.mp4
    python -m sorajax.caption clip.mp4 picture.png --register short
    python -m sorajax.caption clip.mp4 --json                     one JSON object a line, with both captions
    python -m sorajax.caption cat.mp4 --endpoint http://localhost:8000/v1 --caption-model NAME

The captioner in the package knows the world (docs/training.md). It reads the clip through the bundled autoencoder. Any
other video needs a large model: --endpoint is any server of OpenAI's chat completions (vLLM, Ollama, llama.cpp, hosted
ones), with its key, if it needs one, in the environment (SORAJAX_ENDPOINT_KEY). Its answers are kept, so the same
command continues after an interruption (docs/captions.md).

Exit codes: 0 done, 1 a file or model cannot be read, 2 an option is wrong, 130 interrupted. A file that fails is
named, and the others are still captioned.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from sorajax.commands.captioners import NamedCaptioner, remote_captioner, trained_captioner
from sorajax.commands.failures import Failure, attempt, complain, notes_printed
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest
from sorajax.language import Caption, Captioner
from sorajax.language.endpoint import EndpointError
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
    endpoint: str | None = None
    """URL of a chat server that describes the videos, in place of the captioner of --model. Needs the extra
    `endpoint`."""
    caption_model: str | None = None
    """The model of --endpoint, as the server lists it; it must see pictures."""
    parallel: int = 4
    """Files that --endpoint describes at the same time."""
    seed: int = 0
    """0 takes the most likely words; other seeds draw synonyms."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print both captions of each file as JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(CaptionOptions, "python -m sorajax.caption", argv, __doc__)
        with notes_printed():
            caption(options)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BadRequest as error:
        return complain(error, 2)
    except Failure as error:
        return complain(error, 1)
    return 0


def captioner_of(options: CaptionOptions) -> NamedCaptioner:
    """The captioner that the options name. Raises BadRequest and Failure."""
    if not options.files:
        raise BadRequest("no file is named: give a video or picture, e.g. clip.mp4")
    if options.seed < 0:
        raise BadRequest(f"--seed {options.seed} is not allowed: use 0 or more")
    if options.endpoint is not None:
        return remote_captioner(options.endpoint, options.caption_model, options.parallel)
    if options.caption_model is not None:
        raise BadRequest("--caption-model is a chat server's: give its URL with --endpoint")
    return attempt(lambda: trained_captioner(options.model))


def caption(options: CaptionOptions) -> None:
    """Prints the caption of each file, in order; with one file without its name. A file that fails is named, and the
    others are still captioned. Raises Failure at the end if there was one."""
    captioner = captioner_of(options)
    described = partial(described_or_failure, captioner=captioner.caption, seed=options.seed)
    failed, pool = 0, ThreadPoolExecutor(captioner.parallel)
    try:
        for path, found in zip(options.files, pool.map(described, options.files), strict=True):
            if isinstance(found, Failure):
                if len(options.files) == 1:
                    raise found
                failed += 1
                complain(found, 1)
            elif options.json:
                print(json.dumps({"file": str(path), **found._asdict()}, ensure_ascii=False), flush=True)
            else:
                name = f"{path}: " if len(options.files) > 1 else ""
                print(f"{name}{getattr(found, options.register)}", flush=True)
    finally:  # without waiting for questions that a server has not answered
        pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        raise Failure(f"{failed} of {len(options.files)} files have no caption: see the lines above")


def described_or_failure(path: Path, captioner: Captioner, seed: int) -> Caption | Failure:
    """The caption of a file, or why it has none. Raises Failure where no file could have one."""
    try:
        video = attempt(lambda: Video.load(path))
        return attempt(lambda: captioner(video, seed))
    except Failure as error:
        if isinstance(error.__cause__, EndpointError):
            raise
        return error if str(path) in str(error) else Failure(f"{path}: {error}")
