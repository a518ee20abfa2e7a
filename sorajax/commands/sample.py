"""Samples videos from prompts.

    python -m sorajax.sample "a red ball bounces on a grey floor"

Exit codes: 0 done, 1 a model or file cannot be read or written, 2 the request is invalid, 130 interrupted. Errors are
one line on stderr, and no file is left half-written.
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import tyro

from sorajax.commands.arguments import Arguments
from sorajax.commands.choosing import best, endpoint_of, expanded
from sorajax.commands.failures import Failure, attempt, complain, notes_printed
from sorajax.commands.inputs import metadata_of, read_inputs, read_options, task_of
from sorajax.commands.manual import DESCRIPTION
from sorajax.commands.outputs import planned
from sorajax.commands.parsing import parse_options
from sorajax.commands.requests import as_request
from sorajax.commands.writing import Work, check_finished, check_hosts, joined, unfinished_films, write, write_grid
from sorajax.devices.distributed import exit_if_one_of_several, print_any_name
from sorajax.devices.profiling import check_profile, tracing
from sorajax.errors import BadRequest, note
from sorajax.media.image_reader import is_still
from sorajax.media.video import Film, Video
from sorajax.pretrained.presets import check_preset


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    print_any_name()
    try:
        arguments = parse_options(
            Arguments, "python -m sorajax.sample", argv, DESCRIPTION, config=(tyro.conf.DisallowNone,)
        )
        with notes_printed():
            sample(arguments)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted; no unfinished file was left", 130)
    except BadRequest as error:
        exit_if_one_of_several(error, 2)
        return complain(str(error), 2)
    except Failure as error:
        exit_if_one_of_several(error)
        return complain(str(error), 1)
    except RuntimeError as error:
        exit_if_one_of_several(error)
        raise
    return 0


def sample(arguments: Arguments) -> None:
    """Checks the options, samples, and prints the path of each file when it is finished."""
    request, task, endpoint = as_request(arguments), task_of(arguments), endpoint_of(arguments)
    check_preset(arguments.preset)
    check_profile(arguments.profile)
    if arguments.best_of < 1:
        raise BadRequest(f"--best-of {arguments.best_of} is not allowed: use at least 1, e.g. 4")
    if arguments.best_of > 1 and arguments.resume:
        raise BadRequest("--resume continues films, and --best-of stores none: leave one of them out")
    if arguments.grid is not None and arguments.grid < 1:
        raise BadRequest(f"a grid of {arguments.grid} columns is not allowed: use at least 1, e.g. 4")
    files = replace(request, prompts=request.prompts[:1], num=1) if arguments.grid else request
    if arguments.edit and is_still(arguments.edit):
        files = replace(files, frames=1)
    processes = joined(arguments)
    paths, finished = processes.from_first(lambda: planned(arguments.out, files, arguments.overwrite, arguments.resume))
    check_hosts(arguments, request, processes)
    pipeline = attempt(lambda: load(arguments))
    inputs = read_inputs(arguments, task)
    if arguments.expand:
        request, inputs = expanded(pipeline, request, task, inputs, endpoint, processes)
    for text in pipeline.plan(request if task.plans_length else replace(request, frames=None, seconds=None)).notes:
        note(text)
    options = read_options(arguments, task, inputs)
    make: Callable[..., Iterator[Video | Film]] = partial(task.run, pipeline, inputs=inputs, options=options)
    if arguments.best_of > 1:
        make = partial(best, make, arguments.best_of, attempt(lambda: open_score(arguments.score)))
    work = Work(request, make, paths, finished, arguments, metadata_of(arguments, task))
    try:
        with tracing(arguments.profile):
            if arguments.grid:
                write_grid(work, processes)
            else:
                check_finished(work, processes)
                write(work, processes)
    except KeyboardInterrupt:
        if unfinished_films(paths):
            print("note: the film's finished windows are stored: repeat the command with --resume", file=sys.stderr)
        raise


def load(arguments: Arguments) -> Any:
    """Opens the pipeline. It is imported here because importing jax takes seconds, and errors are reported before."""
    from sorajax.sampling.loading import load

    chosen = arguments.dtype, arguments.lora, arguments.quantize, arguments.mesh
    pipeline = load(arguments.model, *chosen, preset=arguments.preset)
    if not gc.isenabled():  # see `sorajax.sample`
        gc.freeze()
        gc.enable()
    return pipeline


def open_score(name: str) -> Any:
    """Opens the score that --best-of compares by; imported here as in `load`."""
    from sorajax.language.clip import open_any_score

    return open_any_score(name)


def leave(code: int) -> None:
    """Ends the process, without searching all objects for garbage; after an interruption also without waiting for
    computations of XLA in other threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 130:
        os._exit(code)
    gc.freeze()
    sys.exit(code)
