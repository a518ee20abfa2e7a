"""Timing and memory.

FLOPs are the model's, counted from the traced function; seconds are medians; compile times are without the persistent
cache; memory is the device's reported peak, or the compiler's plan if the device reports none.
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

from sorajax.devices.sharding import path_name
from sorajax.training.metrics import peak_flops

HIT = "/jax/compilation_cache/cache_hits"
PAUSE = 0.05  # seconds before each alternating call: threads of the other library still spin after its call


@dataclass(frozen=True)
class Figures:
    """Figures of one function: `seconds` is the median, `bytes` the compiler's plan; None is unknown or undefined."""

    compile_seconds: float
    seconds: float
    fastest: float
    flops: float
    flops_per_second: float
    utilisation: float | None
    bytes: int | None
    frames_per_second: float | None = None


def timed_compile(work: Callable[[], Any]) -> tuple[Any, float]:
    """Returns (the result of `work`, seconds), tracing and lowering included."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


@contextmanager
def cache_hits() -> Iterator[list[str]]:
    """A list with one entry per program that is read from the compilation cache inside the block."""
    found: list[str] = []
    listening = True

    def listen(event: str, **_: Any) -> None:
        if listening and event == HIT:
            found.append(event)

    jax.monitoring.register_event_listener(listen)  # stays registered: not every version of jax can remove it
    try:
        yield found
    finally:
        listening = False


def timed(call: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each call, after one untimed call."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


def summary(program: Any, compile_seconds: float, seconds: list[float], flops: float, devices: int = 1) -> Figures:
    """Figures of a compiled program that ran on `devices` devices."""
    median = statistics.median(seconds)
    peak = peak_flops()
    share = flops / median / (peak * devices / len(jax.devices())) if peak else None
    return Figures(compile_seconds, median, min(seconds), flops, flops / median, share, planned_bytes(program))


def planned_bytes(program: Any) -> int | None:
    """Peak bytes on one device in the compiler's plan, arguments and results included."""
    plan = program.memory_analysis()
    if plan is None:
        return None
    whole = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    if jax.default_backend() == "cpu":  # its reported peak leaves out temporary values
        return int(whole)
    return int(getattr(plan, "peak_memory_in_bytes", 0) or whole)


def peak_memory(planned: Sequence[int | None]) -> dict[str, Any]:
    """Peak bytes on one device so far, as the device reports it, else the largest of the compiler's plans."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("peak_bytes_in_use" in found for found in stats):
        return {"bytes": max(found["peak_bytes_in_use"] for found in stats), "source": "measured by the device"}
    return {"bytes": max(value or 0 for value in planned), "source": "planned by the compiler"}


def resident() -> int | None:
    """Peak bytes of main memory of this process so far; None if the system does not report them."""
    if resource is None:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """float32 values from the standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def random_parameters(init: Callable[[jax.Array], Any]) -> Any:
    """Random parameters with the structure of an initialiser's, also where the initialiser has zeros; nothing is
    compiled."""
    rng = np.random.default_rng(0)

    def one(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        mean, deviation = distribution(path, leaf)
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(deviation) + np.float32(mean)

    return jax.tree.map_with_path(one, jax.eval_shape(init, jax.random.key(0)))


def random_on_device(init: Callable[[jax.Array], Any], dtype: str = "float32") -> Any:
    """As `random_parameters`, but drawn on the accelerator: billions per second, and nothing is copied."""
    if jax.default_backend() == "cpu":  # compiling the drawing takes longer than drawing with numpy
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), random_parameters(init))
    key = jax.random.key(0, impl="rbg")  # the device's own generator, many times faster

    def draw(number: int, mean: float, deviation: float, shape: tuple[int, ...]) -> Any:
        return jax.random.normal(jax.random.fold_in(key, number), shape, dtype) * deviation + mean

    program = jax.jit(draw, static_argnames="shape")  # compiled once for leaves of one shape
    leaves, structure = jax.tree.flatten_with_path(jax.eval_shape(init, jax.random.key(0)))
    drawn = [program(i, *distribution(path, leaf), shape=leaf.shape) for i, (path, leaf) in enumerate(leaves)]
    return jax.tree.unflatten(structure, [leaf.astype(dtype) for leaf in drawn])


def distribution(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> tuple[float, float]:
    """Mean and standard deviation of a random parameter; chosen so that activations have about unit size."""
    inputs = leaf.shape[-2] if leaf.ndim > 1 else 4
    return float(path_name(path).endswith(("scale", "gamma"))), float(inputs) ** -0.5


def alternating(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call; calls alternate, and the first of each is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}
