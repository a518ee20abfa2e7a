"""Measures speed and memory.

    python -m sorajax.benchmark dit-12x384
    python -m sorajax.benchmark configs/world_dit.py --batch 8 --json speed.json
    python -m sorajax.benchmark configs/world_dit.py --remat     the training step with each remat policy
    python -m sorajax.benchmark configs/videos_dit.py --loader   the experiment's data loader alone
    python -m sorajax.benchmark reference --part dit vae         beside diffusers and transformers
    python -m sorajax.benchmark clip                             one clip from the shell, with a cold and a warm cache
    python -m sorajax.benchmark cost --model world-fast          one clip in a running process, part by part
    python -m sorajax.benchmark films --seconds 4 8              films: time and memory
    python -m sorajax.benchmark serve                            a server of the embedded model: latency, throughput
    python -m sorajax.benchmark gpu --minutes 4 --json gpu.json  the proof on one GPU: `gpu --help`, docs/gpu.md

Three things are measured: the training step of an experiment's first bucket (weights and latents are random, so nothing
is trained or rendered before), a denoising step with guidance as the pipeline samples one clip, and the autoencoder on
one clip. FLOPs are the model's, counted from the traced architecture; utilisation is their share of the device's peak,
if that is known. Seconds are medians over --repeats calls; compile times are without the cache on disk. Other programs
that run at the same time distort all figures and comparisons, so the load is printed.

`reference` (needs the extra `parity`) times the reference implementations of the open models' parts, eager and with
torch.compile, against ours with the same weights: calls alternate on the CPU, after a check that results agree. With
`--part opening` it times how long weights take to open: the reference's loader, ours, and ours from converted files.

`clip` and `films` run `python -m sorajax.sample` in separate processes. `serve` runs a server (needs the extra `serve`)
and measures the latency of requests while a film is sampled and 50 clients poll, the throughput on a queue relative to
`sorajax.sample --num`, and memory over many jobs. --markdown writes tables into pages, and below each the conditions of
its figures.

Exit codes: 0 done, 1 failed, 2 the request is invalid, 130 interrupted.
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
from sorajax.commands.failures import complain
from sorajax.commands.parsing import parse_options
from sorajax.devices.compilation import compiling_anew
from sorajax.devices.profiling import check_profile, tracing
from sorajax.errors import BadRequest
from sorajax.evaluation import comparison, cost, experiment, reference, shell
from sorajax.evaluation.benchmark_options import SAMPLED, Benchmark
from sorajax.evaluation.cases import NAMED
from sorajax.evaluation.markdown import Measured, check_pages, command_line, commit, small_line, write_pages
from sorajax.evaluation.proof import command as proof
from sorajax.evaluation.proof.command import Proof, prove
from sorajax.files import whole_file
from sorajax.models.folder import model_folder
from sorajax.sampling.request import MOST_SECONDS
from sorajax.server import benchmark as service

PROGRAM = "python -m sorajax.benchmark"
REFERENCE, GPU = "reference", "gpu"
MEASURES: dict[str, Callable[[Benchmark], Measured]] = {
    "reference": comparison.measure,
    "clip": shell.measure_clip,
    "cost": cost.measure,
    "films": shell.measure_films,
    "serve": service.measure,
}
"""Measurements by name; any other name is an experiment or a named shape."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if arguments[:1] == [GPU]:
            title, flags = f"{PROGRAM} {GPU}", (tyro.conf.FlagCreatePairsOff,)
            return prove(parse_options(Proof, title, arguments[1:], proof.__doc__, flags))
        command = parse_options(Benchmark, PROGRAM, arguments, __doc__, (tyro.conf.FlagCreatePairsOff,))
        check(command)
        source = commit() if command.markdown else ""  # the code may change while this runs
        figures = conditions(command)
        with compiling_anew(), tracing(command.profile):
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
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    except (OSError, ValueError, RuntimeError) as error:  # XLA's errors are RuntimeErrors
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    return 0


def check(command: Benchmark) -> None:
    """Raises BadRequest for options that are wrong, before anything is built."""
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
        near = ", ".join([REFERENCE, GPU, *NAMED, *SAMPLED, "serve", *map(str, sorted(Path("configs").glob("*.py")))])
        raise BadRequest(f"{command.config} is neither a named config nor an experiment file: use one of {near}")
    if command.config in (*SAMPLED, "serve") and (command.remat or command.loader or command.batch):
        raise BadRequest(
            f"--remat, --loader and --batch are for training, and {command.config} samples: leave them out"
        )
    check_model(command)
    check_profile(command.profile)
    if command.profile and command.config in (REFERENCE, "clip", "films", "serve"):
        raise BadRequest(f"--profile traces this process, and {command.config} starts others or compares: leave it out")
    if wrong := [seconds for seconds in command.seconds if not 0 < seconds <= MOST_SECONDS]:
        raise BadRequest(f"--seconds {wrong[0]:g} is not allowed: use more than 0 and at most {MOST_SECONDS}")
    check_pages(command.markdown, () if command.config in NAMED and not command.remat else command.tables)


def check_model(command: Benchmark) -> None:
    """Raises BadRequest for a model that is not measured, or cannot be."""
    if command.model != "world" and command.config not in SAMPLED:
        raise BadRequest(f"--model {command.model} is for {', '.join(SAMPLED)}: leave it out for {command.config}")
    try:
        model_folder(command.model)
    except FileNotFoundError as error:
        raise BadRequest(f"--model {command.model}: {error}, or `world` or `world-fast`") from error


def check_reference(command: Benchmark) -> None:
    """Raises BadRequest if the reference cannot run here, or the options are for training."""
    if missing := [name for name in reference.LIBRARIES if find_spec(name) is None]:
        raise BadRequest(f'{REFERENCE} needs {" and ".join(missing)}: pip install "sorajax[parity]"')
    if jax.default_backend() != "cpu":
        raise BadRequest(f"{REFERENCE} compares on the CPU only: set JAX_PLATFORMS=cpu")
    if command.remat or command.loader:
        raise BadRequest(f"--remat and --loader are for training, which {REFERENCE} has not: give an experiment")


def conditions(command: Benchmark) -> dict[str, Any]:
    """Conditions of the measurement, as JSON values; prints a note if other programs are running."""
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
