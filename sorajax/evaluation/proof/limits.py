"""Runs commands one after another, each in a process of its own and with its own time limit.

    limit of a command = time left * its weight / weights of all that are left

so time that one command does not use goes to later ones. A process appends its figures to a file, one line of JSON at a
time; the lines of a process that is killed or crashes remain.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

PAUSE = 0.05
"""Seconds between two polls of a process."""
LEAST = 1.0
"""Seconds below which a command is not started."""
OUTPUT_END = 4000
"""Last characters of a failed process's output that are recorded."""

Line = dict[str, Any]


class Command(NamedTuple):
    """A program to run. `arguments` maps the file for its lines and its time limit in seconds to its command line."""

    name: str
    weight: float
    arguments: Callable[[Path, float], list[str]]
    environment: Mapping[str, str] = {}


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and the lines that it wrote."""

    name: str
    state: Literal["ran", "crashed", "out of time", "not begun"]
    seconds: float
    limit: float
    lines: list[Line] = field(default_factory=list)
    error: str = ""
    """One line; empty if it ran to its end."""
    output: str = ""
    """The end of its output if it did not run to its end."""


def run_all(commands: Sequence[Command], seconds: float, show: Callable[[str, Line], None]) -> Iterator[Outcome]:
    """Yields the outcome of each command; `show` is called with its name and each line as soon as it is written."""
    end = time.monotonic() + seconds
    for number, command in enumerate(commands):
        left = end - time.monotonic()
        limit = left * command.weight / sum(other.weight for other in commands[number:])
        if limit < LEAST:
            yield Outcome(command.name, "not begun", 0.0, max(0.0, limit), error="no time was left for it")
        else:
            yield run(command, limit, show)


def run(command: Command, limit: float, show: Callable[[str, Line], None]) -> Outcome:
    """Runs a command until it ends; at its limit kills it and its child processes."""
    start, lines = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        written, printed = Path(folder) / "lines.jsonl", Path(folder) / "output.txt"
        written.touch()
        with printed.open("wb") as output:
            process = subprocess.Popen(
                command.arguments(written, limit),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **command.environment},
            )
        try:
            for line in following(process, written, start + limit):
                lines.append(line)
                show(command.name, line)
            code = process.poll()
        finally:
            kill(process)
        seconds, tail = time.monotonic() - start, printed.read_text(errors="replace")[-OUTPUT_END:]
    if code == 0:
        return Outcome(command.name, "ran", seconds, limit, lines)
    state: Literal["out of time", "crashed"] = "out of time" if code is None else "crashed"
    error = f"killed after its {limit:.0f} s" if code is None else f"{ended(code)}: {reason(tail)}"
    return Outcome(command.name, state, seconds, limit, lines, error, tail)


def following(process: subprocess.Popen, file: Path, end: float) -> Iterator[Line]:
    """Yields the lines of a file while a process writes it, until the process ends or `end` is reached."""
    with file.open() as written:
        rest, over = "", False
        while not over:
            over = (
                process.poll() is not None or time.monotonic() > end
            )  # polled before reading, so that all its lines are read
            rest += written.read()
            *whole, rest = rest.split("\n")
            yield from map(json.loads, whole)
            if not over:
                time.sleep(PAUSE)


def kill(process: subprocess.Popen) -> None:
    """Kills a process and its child processes, and waits until its memory, a GPU's too, is free again."""
    import psutil

    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    if process.poll() is None:
        process.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def reason(output: str) -> str:
    """The line that best explains why a process ended: the last one with an error, else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error" in line]
    return (named or lines or ["it printed nothing"])[-1][:200]


def ended(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"
