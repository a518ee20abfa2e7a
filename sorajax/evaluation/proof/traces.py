"""Where a program's time goes: jax.profiler's trace of one call, summed up by operation."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

STREAM = "Stream"
"""What the threads of a GPU's kernels are called in a trace."""


def traced(folder: Path, call: Callable[[], Any]) -> None:
    """Writes a trace of one call into a folder."""
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready(call())


def longest(folder: Path) -> tuple[float, list[tuple[str, float]]]:
    """Seconds of all operations of the newest trace in a folder, and of each name, the longest first.

    A GPU's kernels count where there are any, else the operations that XLA ran on the CPU.
    """
    files = sorted(folder.rglob("*.trace.json.gz"), key=lambda file: file.stat().st_mtime)
    if not files:
        return 0.0, []
    with gzip.open(files[-1]) as file:
        events = json.load(file)["traceEvents"]
    streams = {
        (event.get("pid"), event.get("tid"))
        for event in events
        if event.get("name") == "thread_name" and event.get("args", {}).get("name", "").startswith(STREAM)
    }
    spans = [event for event in events if event.get("ph") == "X"]
    found = [event for event in spans if (event["pid"], event["tid"]) in streams]
    found = found or [event for event in spans if "hlo_op" in event.get("args", {})]
    seconds: dict[str, float] = defaultdict(float)
    for event in found:
        seconds[event["name"]] += event["dur"] / 1e6
    return sum(seconds.values()), sorted(seconds.items(), key=lambda item: -item[1])
