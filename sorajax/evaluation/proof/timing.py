"""Figures of a timed program, with its trace if the options request one."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from sorajax.evaluation.proof.figures import Figure, Setting, tolerance
from sorajax.evaluation.proof.traces import longest, traced
from sorajax.evaluation.speed import Figures

SHOWN = 8
"""Printed operations of a trace."""
GIB = 2**30


def compile_figure(name: str, seconds: float, cached: bool) -> Figure:
    """Seconds of tracing, lowering and compiling, without a bar."""
    return Figure(f"{name}: compile", seconds, "s", note="read from the cache on disk" if cached else "", detail=True)


def rates(name: str, found: Figures, flops: float, bar: float, note: str) -> Iterator[Figure]:
    """Seconds, FLOP/s and utilisation of a program. flops: by formula. bar: for the utilisation."""
    yield Figure(name, found.seconds, "s", note=f"fastest {found.fastest:.4g} s")
    yield Figure(f"{name}: speed", flops / found.seconds / 1e12, "TFLOP/s", note=f"{flops / 1e12:.4g} TFLOP on paper")
    share = None if found.utilisation is None else found.utilisation * flops / found.flops
    unknown = "" if share is not None else f"; the peak of {jax.devices()[0].device_kind} is unknown"
    yield Figure(f"{name}: utilisation", share, "%", bar, note=note + unknown)


def counted(name: str, found: Figures, flops: float) -> Figure:
    """Checks the FLOPs counted from the traced program against the formula. Long sequences are padded to blocks of
    queries, which adds some."""
    return tolerance(f"{name}: FLOPs counted and on paper", abs(found.flops / flops - 1), 1e-2)


def memory(name: str) -> Iterator[Figure]:
    """Peak memory of the device in this process, if the device reports it."""
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if peak is not None:
        yield Figure(f"{name}: peak memory so far", peak / GIB, "GiB")


def profiled(setting: Setting, name: str, call: Callable[[], Any]) -> Iterator[Figure]:
    """The longest operations of one call, if `setting.profile` is set."""
    if setting.profile is None:
        return
    folder = setting.profile / name.replace(" ", "_")
    traced(folder, call)
    total, operations = longest(folder)
    for operation, seconds in operations[:SHOWN]:
        yield Figure(f"{name}: {operation[:60]}", seconds * 1e3, "ms", note=f"{seconds / total:.1%}", detail=True)
    if not operations:
        yield Figure(f"{name}: trace", None, note=f"no operations were found in {folder}", detail=True)
