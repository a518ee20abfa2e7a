"""Evaluates a model in the world.

    python -m sorajax.evaluate world --model world --num 256 --json scores.json
    python -m sorajax.evaluate compare before-0.json before-1.json after-0.json after-1.json
    python -m sorajax.evaluate reconstruction --model runs/videos_vae --folder videos
    python -m sorajax.evaluate spread --model world-fast
    python -m sorajax.evaluate tasks --model world
    python -m sorajax.evaluate captions --markdown docs/captions.md
    python -m sorajax.evaluate play --worlds true play
    python -m sorajax.evaluate agent --seeds 5
    python -m sorajax.evaluate score clip.mp4 "a red ball bounces"

`world` samples clips of prompts and reads them back; `compare` compares what it wrote of several models.
`reconstruction` measures the autoencoder; it takes an autoencoder without a transformer too, and with --folder measures
it on your own videos. `instrument` measures the reader's accuracy on rendered clips, an upper bound for the others.
`readers` reads the same clips with a second reader, of another method, and prints how often both agree. `tasks`
measures every task (stills, extensions, edits, storyboards, a minute of film); `--rows extend edit` measures some.
`caching` measures savings and error of --cache of sorajax.sample; with --calibrate it prepares a model for `--cache
mag`. `spread` measures the diversity of a prompt's clips, relative to the world's own. `safety` measures the filter of
prompts, and the time of its parts. `captions` measures the captioner, the expander of prompts and the score; `score`
says how well a clip and a prompt agree. `play` measures interactive worlds, `agent` a policy that was trained in one of
them, `craftax` models of the game Craftax-Classic. Each prints a table, most with 95% intervals, and with --json writes
{split: {attribute: {accuracy, low, high, num}}} or its own figures. With --markdown each writes its tables into pages,
and below each table the conditions of its figures: command, settings, commit, weights, hardware and date.

Several processes (--coordinator, or a cluster that JAX detects) distribute the clips of `world` and the rows of
`tasks`; with --mesh they make each clip together. Process 0 prints and writes.

Exit codes: 0 done, 1 a file or model failed, 2 the request is invalid, 130 interrupted.
"""

import io
import json
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any, NamedTuple
from warnings import catch_warnings, simplefilter

import tyro

from sorajax.commands.failures import complain, notes_printed
from sorajax.commands.parsing import parse_options
from sorajax.devices.distributed import exit_if_one_of_several, join
from sorajax.errors import BadRequest, Note
from sorajax.evaluation.markdown import Measured, command_line, commit, small_line, write_pages
from sorajax.evaluation.options import (
    Agent,
    Caching,
    Captions,
    Compare,
    Craftax,
    Instrument,
    Options,
    Play,
    Readers,
    Reconstruction,
    Safety,
    Score,
    Spread,
    Tasks,
    World,
    check,
)
from sorajax.files import as_path, whole_file

PROGRAM = "python -m sorajax.evaluate"
AGAIN = "start all processes again"


class Subcommand(NamedTuple):
    """A subcommand's options, and the function that measures; its module is imported after the options are checked."""

    options: type
    module: str
    function: str


SUBCOMMANDS = {
    "world": Subcommand(World, "sorajax.evaluation.world", "measure"),
    "reconstruction": Subcommand(Reconstruction, "sorajax.evaluation.reconstruction", "measure"),
    "compare": Subcommand(Compare, "sorajax.evaluation.compare", "measure"),
    "instrument": Subcommand(Instrument, "sorajax.evaluation.world", "measure_truth"),
    "readers": Subcommand(Readers, "sorajax.evaluation.readers", "measure"),
    "caching": Subcommand(Caching, "sorajax.evaluation.caching", "measure"),
    "safety": Subcommand(Safety, "sorajax.evaluation.safety", "measure"),
    "captions": Subcommand(Captions, "sorajax.evaluation.captions", "measure"),
    "play": Subcommand(Play, "sorajax.evaluation.play", "measure"),
    "craftax": Subcommand(Craftax, "sorajax.evaluation.craftax", "measure"),
    "agent": Subcommand(Agent, "sorajax.evaluation.agent", "measure"),
    "score": Subcommand(Score, "sorajax.evaluation.scoring", "measure"),
    "spread": Subcommand(Spread, "sorajax.evaluation.spread", "measure"),
    "tasks": Subcommand(Tasks, "sorajax.evaluation.asking", "measure"),
}
COMMAND: Any = reduce(or_, (Annotated[row.options, tyro.conf.subcommand(name)] for name, row in SUBCOMMANDS.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(COMMAND, PROGRAM, argv, __doc__)
        check(options)
        name, row = next((name, row) for name, row in SUBCOMMANDS.items() if row.options is type(options))
        source = commit() if options.markdown else ""  # the code may change while this runs
        processes = join(options.together)
        with redirect_stdout(io.StringIO()) if processes.index else nullcontext():
            if processes.count > 1:
                check_hosts(options)
            with notes_printed() if processes.index == 0 else catch_warnings():
                if processes.index:
                    simplefilter("ignore", Note)
                measured = getattr(import_module(row.module), row.function)(options)
        if processes.index == 0:
            write(f"{PROGRAM} {name}", options, measured, source)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        exit_if_one_of_several(error, 2)
        return complain(error, 2)
    except (OSError, ValueError) as error:
        exit_if_one_of_several(error, remedy=AGAIN)
        return complain(error, 1)
    except RuntimeError as error:
        exit_if_one_of_several(error, remedy=AGAIN)
        raise
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    return 0


def check_hosts(options: Options) -> None:
    """Raises ValueError, before anything is measured, if processes have other code, weights or options."""
    from sorajax.devices import fingerprint
    from sorajax.devices.exchange import check_same
    from sorajax.sampling.loading import model_files

    model = getattr(options, "model", None)
    weights = "" if model is None else fingerprint.files(model_files(model))
    options = replace(options, together=type(options.together)())
    check_same({"code": fingerprint.code(), "weights": weights, "options": repr(options)})


def write(start: str, options: Options, measured: Measured, source: str) -> None:
    """Writes the figures to --json and the tables to --markdown, and prints their paths."""
    if options.json:
        with whole_file(as_path(options.json)) as temporary:
            temporary.write_text(json.dumps(measured.figures, indent=2) + "\n")
        print(options.json)
    if options.markdown:
        write_pages(options.markdown, measured.tables, small_line(command_line(start, options), measured, source))
        print(*options.markdown, sep="\n")
