"""The proof on one GPU: `python -m sorajax.benchmark gpu`.

    python -m sorajax.benchmark gpu --minutes 4 --json gpu.json
    python -m sorajax.benchmark gpu --part numerics sampling --profile traces
    python -m sorajax.benchmark gpu --rehearse           all of it at toy sizes, on whatever device there is

    numerics   the GPU's results against float32 on the CPU: attention, models, samplers, a film
    sampling   Wan 2.1 1.3B at 832x480, 81 frames, random weights: a guided step, text encoder, decoder, a whole clip
    training   one training step of the same model at 32,760 tokens
    world      the embedded world model: seconds per clip
    torch      the same guided step in PyTorch, if torch and diffusers are installed

Each part runs in a process of its own with a share of --minutes, so a crash does not affect other parts. docs/gpu.md
explains the figures.

Exit codes: 0 all parts ran and all numeric checks passed (a missed bar is reported, but is not an error), 1 else,
2 the request is invalid.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sorajax.errors import BadRequest
from sorajax.evaluation.proof.figures import Figure, figure_of
from sorajax.evaluation.proof.limits import Command, Line, Outcome, run_all
from sorajax.evaluation.proof.parts import SECTIONS, Section
from sorajax.files import whole_file

WIDTH = 46  # of a figure's name in print


@dataclass(frozen=True)
class Proof:
    """What to measure, and in how much time."""

    minutes: float = 4.0
    """Time limit for all parts together, at most 1440; time that one part does not use goes to later ones."""
    json: Path | None = None
    """A file for all figures, written after each part; an existing one is replaced."""
    profile: Path | None = None
    """A folder for a trace of each timed program; the longest operations are printed."""
    rehearse: bool = False
    """Run at toy sizes, on any device."""
    part: tuple[str, ...] = tuple(SECTIONS)
    """Run only these parts."""


def prove(request: Proof) -> int:
    """Runs the parts, prints their figures and the table, and returns the exit code. Raises BadRequest."""
    check(request)
    outcomes: list[Outcome] = []
    if request.rehearse:
        print("rehearsal at toy sizes: the code is what counts, not its figures", flush=True)
    commands = [command_of(name, SECTIONS[name], request) for name in SECTIONS if name in request.part]
    for outcome in run_all(commands, 60 * request.minutes, show):
        outcomes.append(outcome)
        refuse(outcome)
        print(ending(outcome), flush=True)
        if request.json:
            write(request.json.expanduser(), request, outcomes)
    print(table(outcomes))
    if request.json:
        print(request.json)
    return 0 if passed(outcomes) else 1


def check(request: Proof) -> None:
    """Raises BadRequest for options that are wrong, before anything runs."""
    if not 0 < request.minutes <= 24 * 60:
        raise BadRequest(f"--minutes {request.minutes:g} is not allowed: use more than 0 and at most 1440, e.g. 4")
    if unknown := [name for name in request.part if name not in SECTIONS]:
        raise BadRequest(f"--part {unknown[0]} is unknown: use some of {', '.join(SECTIONS)}")
    if not request.part:
        raise BadRequest(f"--part has no value: use some of {', '.join(SECTIONS)}")
    if request.json and not request.json.expanduser().parent.is_dir():
        raise BadRequest(f"--json {request.json}: the folder does not exist; create it first")
    if request.json and request.json.expanduser().is_dir():
        raise BadRequest(f"--json {request.json} is a folder: name a file in it")
    if request.profile and request.profile.expanduser().exists() and not request.profile.expanduser().is_dir():
        raise BadRequest(f"--profile {request.profile} is a file: name a folder")


def command_of(name: str, part: Section, request: Proof) -> Command:
    """The process of a part."""

    def arguments(lines: Path, seconds: float) -> list[str]:
        options = ["--rehearse"] if request.rehearse else []
        if request.profile:
            options += ["--profile", str(request.profile.expanduser() / name)]
        module = [sys.executable, "-m", "sorajax.evaluation.proof", name]
        return [*module, "--lines", str(lines), "--seconds", f"{seconds:.1f}", *options]

    environment = {**beside_cpu(os.environ.get("JAX_PLATFORMS", "")), **part.environment}
    return Command(name, part.weight, arguments, environment)


def beside_cpu(platforms: str) -> dict[str, str]:
    """The environment in which JAX has the CPU too, for the reference results."""
    return {"JAX_PLATFORMS": f"{platforms},cpu"} if platforms and "cpu" not in platforms.split(",") else {}


def refuse(outcome: Outcome) -> None:
    """Raises BadRequest if the process found no device that it may use."""
    for line in outcome.lines:
        if "refused" in line:
            raise BadRequest(line["refused"])


def show(part: str, line: Line) -> None:
    """Prints a line that a part has written: its device, or a figure."""
    if "conditions" in line:
        versions = ", ".join(f"{name} {number}" for name, number in line["conditions"]["versions"].items())
        print(f"{part}: {line['conditions']['device']}; {versions}", flush=True)
    elif "refused" not in line:
        print(f"  {row(figure_of(line))}", flush=True)


def row(figure: Figure) -> str:
    """A figure on one line: name, value, bar, whether it is met, note."""
    columns = f"{figure.name:{WIDTH}} {shown(figure.value, figure.unit):>14} {bar(figure):>17}"
    return f"{columns}  {verdict(figure):7} {figure.note}".rstrip()


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "%":
        return f"{value:.1%}"
    number = f"{value:.2e}" if value and not 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"
    return f"{number} {unit}".rstrip()


def bar(figure: Figure) -> str:
    if figure.bar is None:
        return ""
    return f"{'at most' if figure.most else 'at least'} {shown(figure.bar, figure.unit)}"


def verdict(figure: Figure) -> str:
    """The printed verdict: FAILED for a failed check; met, missed or ok for others; empty without a bar."""
    if figure.failed:
        return "FAILED"
    return {None: "", True: "ok" if figure.check else "met", False: "missed"}[figure.met]


def ending(outcome: Outcome) -> str:
    """How a part ended, on one line."""
    took = f"{outcome.name}: {outcome.state} in {outcome.seconds:.1f} s of {outcome.limit:.0f} s"
    return f"{took}; {outcome.error}" if outcome.error else took


def figures(outcome: Outcome) -> list[Figure]:
    return [figure_of(line) for line in outcome.lines if "name" in line]


def passed(outcomes: Sequence[Outcome]) -> bool:
    """Whether all parts ran to their end, and no check failed."""
    return all(outcome.state == "ran" and not any(figure.failed for figure in figures(outcome)) for outcome in outcomes)


def table(outcomes: Sequence[Outcome]) -> str:
    """A table of all figures, one line each, and a line for each part that did not run to its end."""
    lines = [f"{'part':9} {'figure':{WIDTH}} {'value':>14} {'bar':>17}  met"]
    for outcome in outcomes:
        lines += [f"{outcome.name:9} {row(figure)}" for figure in figures(outcome) if not figure.detail]
        if outcome.state != "ran":
            lines.append(f"{outcome.name:9} {outcome.state}: {outcome.error}")
    return "\n".join(lines)


def write(path: Path, request: Proof, outcomes: Sequence[Outcome]) -> None:
    """Writes all figures and their conditions as JSON."""
    lines = [line for outcome in outcomes for line in outcome.lines]
    conditions: Line = next((line["conditions"] for line in lines if "conditions" in line), {})
    found: dict[str, Any] = {
        **conditions,
        "rehearsed": request.rehearse,
        "minutes": request.minutes,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "passed": passed(outcomes),
        "parts": {
            outcome.name: {
                "state": outcome.state,
                "seconds": outcome.seconds,
                "limit": outcome.limit,
                "error": outcome.error,
                "output": outcome.output,
                "figures": [line for line in outcome.lines if "name" in line],
            }
            for outcome in outcomes
        },
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n")
