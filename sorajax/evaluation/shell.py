"""Times `python -m sorajax.sample` and measures its peak memory: each run is a process of its own, measured from start
to end."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from sorajax.evaluation import markdown
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.markdown import Measured, sampling_text
from sorajax.models.folder import load_model, model_folder
from sorajax.models.sora import SoraConfig
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for

PROMPT = "a red ball bounces on a grey floor"
BARS = {"cold": 60, "warm": 2.4}
"""Targets of the project in seconds, with an empty (cold) and a full (warm) compilation cache."""
IMPORTS = "sorajax.commands.sample, sorajax.sampling.loading"
"""What the command imports until it has a model's weights."""
IMPORT_BAR = 1.0
"""Target in seconds."""
LAUNCHER = """
import subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds, memory = time.perf_counter() - start, 0
try:
    import resource
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
except ImportError:
    pass
print(seconds, memory)
sys.exit(code)
"""
"""A small process that starts the command, because the system counts the parent's memory in a child's peak."""


class Run(NamedTuple):
    """One run of the command."""

    seconds: float
    bytes: int
    """Peak memory; 0 if the system does not report it."""


def run_sample(cache: Path, *options: str) -> Run:
    """Runs the command with a folder as compilation cache. Raises RuntimeError if the command fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sorajax.sample", PROMPT, "--out", f"{folder}/film.mp4", *options]
        launcher = [sys.executable, "-c", LAUNCHER, *command]
        run = subprocess.run(launcher, env=environment(cache), capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"python -m sorajax.sample failed: {run.stderr.strip()[-300:]}")
    seconds, peak = run.stdout.split()
    return Run(float(seconds), int(peak))


def environment(cache: Path) -> dict[str, str]:
    """The environment of the commands: `cache` is for compiled programs, and for bytecode where Python is told to write
    none."""
    found = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    if found.pop("PYTHONDONTWRITEBYTECODE", ""):
        found["PYTHONPYCACHEPREFIX"] = str(cache / "bytecode")
    return found


def import_seconds(cache: Path) -> float:
    """Seconds that a new process takes to import what the command imports."""
    code = f"import time; start = time.perf_counter(); import {IMPORTS}; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=environment(cache), capture_output=True, text=True, check=True).stdout)


def measure_clip(options: Benchmark) -> Measured:
    """Seconds of one clip with an empty compilation cache, and the median of several with a full one; before them,
    of importing, with bytecode."""
    with tempfile.TemporaryDirectory() as cache:
        said = options_of(options)
        _, *imports = (import_seconds(Path(cache)) for _ in range(options.repeats + 1))
        cold = run_sample(Path(cache), *said).seconds
        warm = statistics.median(run_sample(Path(cache), *said).seconds for _ in range(options.repeats))
    found = {"cold": cold, "warm": warm, "importing": statistics.median(imports)}
    print(f"importing: {found['importing']:.2f} s")
    print(f"one clip: {cold:.1f} s with an empty compilation cache, {warm:.1f} s with a full one")
    rows = [[f"{name} compilation cache", f"{found[name]:.1f} s", f"at most {bar} s"] for name, bar in BARS.items()]
    importing = [[f"`import {IMPORTS}`", f"{found['importing']:.2f} s", f"at most {IMPORT_BAR} s"]]
    tables = dict.fromkeys(options.tables, markdown.table(["one clip from the command line", "measured", "bar"], rows))
    if "importing" in tables:
        tables["importing"] = markdown.table(["in a new process", "measured", "bar"], importing)
    folder = model_folder(options.model)
    return Measured({"clip": found}, tables, f"median of {options.repeats} warm runs, {settings(folder)}", folder)


def measure_films(options: Benchmark) -> Measured:
    """Seconds and peak memory of films of each length with a full cache: each is made twice, the second run counts."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for length in options.seconds:
            arguments = ("--seconds", f"{length:g}", *options_of(options))
            run_sample(Path(cache), *arguments)
            run = run_sample(Path(cache), *arguments)
            found[f"{length:g}"] = run._asdict()
            print(f"{length:g} s of film: {run.seconds:.1f} s, {memory(run.bytes)} MiB at most", flush=True)
    rows = [
        ["seconds to make it", *(f"{one['seconds']:.1f}" for one in found.values())],
        ["peak memory, MiB", *(memory(one["bytes"]) for one in found.values())],
    ]
    tables = dict.fromkeys(options.tables, markdown.table(["seconds of film", *found], rows))
    folder = model_folder(options.model)
    return Measured({"films": found}, tables, f"second of two runs, {settings(folder)}", folder)


def options_of(options: Benchmark) -> tuple[str, ...]:
    """Options of `sorajax.sample`."""
    mesh = ("--mesh", options.mesh) if options.mesh else ()
    return mesh if options.model == "world" else ("--model", options.model, *mesh)


def memory(peak: int) -> str:
    return f"{peak / 2**20:,.0f}" if peak else "-"


def settings(folder: Path) -> str:
    """The sampler's settings of a model."""
    return f"seed 0, {sampling_text(settings_for(Request((PROMPT,)), load_model(folder, SoraConfig)[0]))}"
