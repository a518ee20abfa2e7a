"""Measures speed and memory: the command line.

    python -m sorajax.benchmark dit-12x384
    python -m sorajax.benchmark configs/world_dit.py --batch 8 --json speed.json
    python -m sorajax.benchmark configs/world_dit.py --remat     the training step, by what its backward pass repeats
    python -m sorajax.benchmark configs/videos_dit.py --loader   the experiment's data alone
    python -m sorajax.benchmark reference --part dit vae         beside diffusers and transformers
    python -m sorajax.benchmark clip                             one clip from the shell, nothing compiled and all
    python -m sorajax.benchmark films --seconds 4 8              films of the model in the box: time and memory
    python -m sorajax.benchmark gpu --minutes 4 --json gpu.json  the proof on one GPU: `gpu --help`, docs/gpu.md

Measured are the training step of an experiment's first bucket (random weights and latents: nothing has to be trained or
rendered before), a denoising step with guidance as the pipeline samples one clip, and the autoencoder on one clip.
FLOPs are the model's, counted from the traced architecture; utilisation is their share of the device's peak, where that
is known. Seconds are medians over --repeats calls, compile times those without the cache on disk. Other programs that
run at the same time falsify all of them, comparisons too: the load is said.

`reference` (needs the extra `parity`) times the reference implementations of the open models' parts, eager and by
torch.compile, with the same weights beside ours, call by call in turns on the CPU, once both compute the same; and with
`--part opening`, how long files take to open, theirs, ours and converted ones.

`clip` and `films` run `python -m sorajax.sample` in processes of their own, as a person does. --markdown writes tables
into pages, with what their figures hold for.

Exit codes: 0 done, 1 it failed on the way, 2 the request makes no sense, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import tyro

from sorajax import __version__
from sorajax.errors import BadRequest
from sorajax.evaluation import comparison, experiment, reference, shell
from sorajax.evaluation.cases import NAMED
from sorajax.evaluation.markdown import Measured, check_pages, command_line, commit, small_line, write_pages
from sorajax.evaluation.options import Benchmark
from sorajax.evaluation.proof.command import prove
from sorajax.evaluation.speed import compiling_anew
from sorajax.files import whole_file
from sorajax.sampling.request import MOST_SECONDS

PROGRAM = "python -m sorajax.benchmark"
REFERENCE, GPU = "reference", "gpu"
MEASURES: dict[str, Callable[[Benchmark], Measured]] = {
    "reference": comparison.measure,
    "clip": shell.measure_clip,
    "films": shell.measure_films,
}
"""What is measured under a name; all else is an experiment or a named shape."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if arguments[:1] == [GPU]:
            return prove(arguments[1:])
        command = tyro.cli(
            Benchmark,
            prog=PROGRAM,
            description=__doc__,
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        check(command)
        source = commit() if command.markdown else ""  # the code may change while this runs
        figures = conditions(command)
        with compiling_anew():
            measured = MEASURES.get(command.config, experiment.measure)(command)
        if command.json:
            with whole_file(command.json.expanduser()) as temporary:
                temporary.write_text(json.dumps(figures | {**measured.figures}, indent=2) + "\n")
            print(command.json)
        if command.markdown:
            busy = f", other programs kept {figures['load']:.1f} processors busy" if figures["load"] else ""
            measured = replace(measured, settings=measured.settings + busy)
            write_pages(command.markdown, measured.tables, small_line(command_line(PROGRAM, command), measured, source))
            print(*command.markdown, sep="\n")
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    except (OSError, ValueError, RuntimeError) as error:  # XLA's errors are RuntimeErrors
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    return 0


def complain(error: Exception | str, code: int) -> int:
    print(f"sorajax: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def check(command: Benchmark) -> None:
    """Raises BadRequest for what can be known to be wrong before anything is built."""
    for name in ("batch", "repeats"):
        value = getattr(command, name)
        if value is not None and value < 1:
            raise BadRequest(f"--{name} {value} is not allowed: use at least 1")
    if command.json and not command.json.expanduser().parent.is_dir():
        raise BadRequest(f"--json {command.json}: the folder does not exist; create it first")
    if command.json and command.json.expanduser().is_dir():
        raise BadRequest(f"--json {command.json} is a folder: name a file in it")
    if command.config == REFERENCE:
        check_reference(command)
    elif command.config not in (*MEASURES, *NAMED) and not Path(command.config).is_file():
        near = ", ".join([REFERENCE, GPU, *NAMED, "clip", "films", *map(str, sorted(Path("configs").glob("*.py")))])
        raise BadRequest(f"{command.config} is neither a named config nor an experiment file: there are {near}")
    if command.config in ("clip", "films") and (command.remat or command.loader or command.mesh or command.batch):
        raise BadRequest(
            f"{command.config} runs the shell command: --remat, --loader, --mesh and --batch are of training"
        )
    if wrong := [seconds for seconds in command.seconds if not 0 < seconds <= MOST_SECONDS]:
        raise BadRequest(f"--seconds {wrong[0]:g} is not allowed: use more than 0 and at most {MOST_SECONDS}")
    check_pages(command.markdown, () if command.config in NAMED and not command.remat else command.tables)


def check_reference(command: Benchmark) -> None:
    """Raises BadRequest where the reference cannot be run, or something is asked that it has not."""
    if missing := [name for name in reference.LIBRARIES if find_spec(name) is None]:
        raise BadRequest(f'{REFERENCE} needs {" and ".join(missing)}: pip install "sorajax[parity]"')
    if jax.default_backend() != "cpu":
        raise BadRequest(f"{REFERENCE} compares on the CPU only: set JAX_PLATFORMS=cpu")
    if command.remat or command.loader:
        raise BadRequest(f"{REFERENCE} has no training: name an experiment with --remat and --loader")


def conditions(command: Benchmark) -> dict[str, Any]:
    """Under which conditions it is measured, as JSON values; says where other programs run, too."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load and load > 0.5:
        print(f"note: other programs keep {load:.1f} processors busy; the times are not this machine's best")
    return {
        "config": command.config,
        "device": jax.devices()[0].device_kind,
        "repeats": command.repeats,
        "load": load,
        "versions": {"sorajax": __version__, "jax": jax.__version__},
    }
