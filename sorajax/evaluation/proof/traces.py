"""Time per operation: jax.profiler's trace of one call, summed by operation."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

STREAM = "Stream"
"""Prefix of the names of a GPU's kernel threads in a trace."""


def traced(folder: Path, call: Callable[[], Any]) -> None:
    """Writes a trace of one call into a folder."""
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready(call())


def longest(folder: Path) -> tuple[float, list[tuple[str, float]]]:
    """Total seconds of the operations in the newest trace of a folder, and seconds by name, longest first.

    Operations are a GPU's kernels if there are any, else XLA's operations on the CPU.
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
