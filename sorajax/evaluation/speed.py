"""Instruments for speed and memory.

FLOPs are the model's own, counted from the traced function; seconds are medians; compile times are those without the
persistent cache; memory is what the device says it held, or where it says nothing what the compiler planned.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from sorajax.devices.sharding import path_name
from sorajax.training.metrics import peak_flops

HIT = "/jax/compilation_cache/cache_hits"
PAUSE = 0.05  # seconds before each call in turns: threads of another library still spin after its own


@dataclass(frozen=True)
class Figures:
    """One function: `seconds` is the median; `bytes` the compiler's plan; None is what is not known or has no sense."""

    compile_seconds: float
    seconds: float
    fastest: float
    flops: float
    flops_per_second: float
    utilisation: float | None
    bytes: int | None
    frames_per_second: float | None = None


@contextmanager
def compiling_anew() -> Iterator[None]:
    """Without the persistent compilation cache, which would make compile times those of reading a file."""
    before = jax.config.values["jax_enable_compilation_cache"]
    reset_cache()  # jax decides once whether there is one
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        reset_cache()


def timed_compile(work: Callable[[], Any]) -> tuple[Any, float]:
    """(what it makes, seconds it took): tracing and lowering count."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


@contextmanager
def cache_hits() -> Iterator[list[str]]:
    """Programs that are read from the compilation cache while the block runs."""
    found: list[str] = []
    listening = True

    def listen(event: str, **_: Any) -> None:
        if listening and event == HIT:
            found.append(event)

    jax.monitoring.register_event_listener(listen)  # for ever: not every version of jax lets one go
    try:
        yield found
    finally:
        listening = False


def timed(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each call, after one that is not counted."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


def summary(program: Any, compile_seconds: float, seconds: list[float], flops: float, devices: int = 1) -> Figures:
    """Figures of a compiled program that ran on so many devices."""
    median = statistics.median(seconds)
    peak = peak_flops()
    share = flops / median / (peak * devices / len(jax.devices())) if peak else None
    return Figures(compile_seconds, median, min(seconds), flops, flops / median, share, planned_bytes(program))


def planned_bytes(program: Any) -> int | None:
    """Most bytes that the compiler's plan holds on one device at once, arguments and results included."""
    plan = program.memory_analysis()
    if plan is None:
        return None
    whole = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    if jax.default_backend() == "cpu":  # whose own peak leaves temporary values out
        return int(whole)
    return int(getattr(plan, "peak_memory_in_bytes", 0) or whole)


def peak_memory(planned: Sequence[int | None]) -> dict[str, Any]:
    """Most bytes on one device so far, as the device tells it where it does, else the largest of the plans."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("peak_bytes_in_use" in found for found in stats):
        return {"bytes": max(found["peak_bytes_in_use"] for found in stats), "source": "measured by the device"}
    return {"bytes": max(value or 0 for value in planned), "source": "planned by the compiler"}


def resident() -> int | None:
    """Most bytes of main memory that this process has held so far; None where the system does not say."""
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """float32 values of mean 0 and variance 1."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def random_parameters(init: Callable[[jax.Array], Any]) -> Any:
    """Parameters of that structure, random everywhere, also where a fresh model has zeros; nothing is compiled."""
    rng = np.random.default_rng(0)

    def one(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        mean, deviation = distribution(path, leaf)
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(deviation) + np.float32(mean)

    return jax.tree.map_with_path(one, jax.eval_shape(init, jax.random.key(0)))


def random_on_device(init: Callable[[jax.Array], Any], dtype: str = "float32") -> Any:
    """As `random_parameters`, but an accelerator draws them itself: billions in a second, and nothing is copied."""
    if jax.default_backend() == "cpu":  # where programs that draw take longer to compile than numpy takes to draw
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), random_parameters(init))
    key = jax.random.key(0, impl="rbg")  # the device's own generator, many times as fast

    def draw(number: int, mean: float, deviation: float, shape: tuple[int, ...]) -> Any:
        return jax.random.normal(jax.random.fold_in(key, number), shape, dtype) * deviation + mean

    program = jax.jit(draw, static_argnames="shape")  # compiled once for leaves of one shape
    leaves, structure = jax.tree.flatten_with_path(jax.eval_shape(init, jax.random.key(0)))
    drawn = [program(i, *distribution(path, leaf), shape=leaf.shape) for i, (path, leaf) in enumerate(leaves)]
    return jax.tree.unflatten(structure, [leaf.astype(dtype) for leaf in drawn])


def distribution(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> tuple[float, float]:
    """Mean and standard deviation of a random parameter: what keeps values of about one size."""
    inputs = leaf.shape[-2] if leaf.ndim > 1 else 4
    return float(path_name(path).endswith(("scale", "gamma"))), float(inputs) ** -0.5


def alternating(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, made in turns; the first of each does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}
