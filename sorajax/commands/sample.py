"""Samples videos from prompts.

    python -m sorajax.sample "a red ball bounces on a grey floor"

Exit codes: 0 done, 1 a model or file cannot be read or written, 2 the request is invalid, 130 interrupted. Errors are
one line on stderr, and no file is left half-written.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tyro

from sorajax.commands.arguments import Arguments
from sorajax.commands.failures import Failure, attempt, complain, notes_printed
from sorajax.commands.inputs import metadata_of, read_inputs, read_options, task_of
from sorajax.commands.manual import DESCRIPTION
from sorajax.commands.outputs import OutputStores, check_same, check_windows, output_paths, windows_folder
from sorajax.commands.requests import as_request
from sorajax.devices.distributed import print_any_name
from sorajax.errors import BadRequest, note
from sorajax.media.image_reader import is_still
from sorajax.media.video import Videos
from sorajax.pretrained.presets import check_preset


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    print_any_name()
    try:
        arguments = tyro.cli(
            Arguments,
            prog="python -m sorajax.sample",
            description=DESCRIPTION,
            args=argv,
            config=(tyro.conf.DisallowNone,),
        )
        with notes_printed():
            sample(arguments)
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted; no unfinished file was left", 130)
    except BadRequest as error:
        return complain(str(error), 2)
    except Failure as error:
        return complain(str(error), 1)
    return 0


def sample(arguments: Arguments) -> None:
    """Checks the options, samples, and prints the path of each file when it is finished."""
    request, task = as_request(arguments), task_of(arguments)
    check_preset(arguments.preset)
    if arguments.grid is not None and arguments.grid < 1:
        raise BadRequest(f"a grid of {arguments.grid} columns is not allowed: use at least 1, e.g. 4")
    files = replace(request, prompts=request.prompts[:1], num=1) if arguments.grid else request
    if arguments.edit and is_still(arguments.edit):
        files = replace(files, frames=1)
    paths = attempt(lambda: output_paths(arguments.out, files, arguments.overwrite, arguments.resume))
    check_windows(paths, arguments.resume, arguments.overwrite)
    pipeline = attempt(lambda: load(arguments))
    for text in pipeline.plan(request if task.plans_length else replace(request, frames=None, seconds=None)).notes:
        note(text)
    resumes = arguments.resume and any(path.exists() or windows_folder(path).exists() for path in paths)
    stores = None if arguments.grid else OutputStores(paths, resumes)
    inputs = read_inputs(arguments, task)
    videos = task.run(pipeline, request, inputs, read_options(arguments, task, inputs), stores)
    if arguments.grid:
        videos = iter([attempt(lambda: Videos(video.whole() for video in videos)).grid(arguments.grid)])
    more = metadata_of(arguments, task)
    try:
        for path in paths:
            video = attempt(lambda: next(videos))
            if arguments.resume and path.exists():
                attempt(lambda: check_same(path, {**video.described(), **more}))  # noqa: B023
                note(f"{path} is finished, and stays as it is")
            else:
                output = replace(video, metadata={**video.metadata, **more})
                attempt(lambda: output.save(path, arguments.overwrite))  # noqa: B023
                print(path, flush=True)
            shutil.rmtree(windows_folder(path), ignore_errors=True)
    except KeyboardInterrupt:
        if any(windows_folder(path).exists() for path in paths):
            print("note: the film's finished windows are stored: repeat the command with --resume", file=sys.stderr)
        raise


def load(arguments: Arguments) -> Any:
    """Opens the pipeline. It is imported here because importing jax takes seconds, and errors are reported before."""
    from sorajax.sampling.loading import load

    return load(arguments.model, arguments.dtype, arguments.lora, arguments.quantize, arguments.mesh, arguments.preset)


def leave(code: int) -> None:
    """Ends the process; after an interruption without waiting for computations of XLA in other threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 130:
        os._exit(code)
    sys.exit(code)
