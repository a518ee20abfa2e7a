"""Latency of the embedded world model, from a prompt to frames, for clips of its default length and size."""

import statistics
import time
from collections.abc import Iterator
from functools import partial

import sorajax
from sorajax.evaluation.proof.figures import Figure, Piece, Setting
from sorajax.evaluation.proof.numerics import PROMPT
from sorajax.evaluation.proof.timing import compile_figure, profiled
from sorajax.evaluation.speed import cache_hits
from sorajax.sampling.request import Request


def pieces(setting: Setting) -> dict[str, Piece]:
    return {f"batch of {batch}": partial(latency, setting, batch) for batch in setting.sizes.world_batches}


def latency(setting: Setting, batch: int) -> Iterator[Figure]:
    """Median seconds of a call after one that compiles; the prompt's context is cached, as in interactive use."""
    model = sorajax.load()
    request = Request((PROMPT,), num=batch, steps=setting.sizes.world_steps)
    settings = model.plan(request)

    def call() -> int:
        return sum(len(video.whole().frames) for video in model.stream(request, settings, batch))

    start = time.perf_counter()
    with cache_hits() as hits:
        call()
    yield compile_figure(f"batch of {batch}, first call", time.perf_counter() - start, bool(hits))
    seconds = []
    for _ in range(max(3, setting.sizes.repeats)):
        start = time.perf_counter()
        frames = call()
        seconds.append(time.perf_counter() - start)
    size = f"{frames // batch} frames of {settings.width}x{settings.height}, {settings.steps} steps"
    median = statistics.median(seconds)
    yield Figure(f"batch of {batch}", median, "s", note=f"{size}; fastest {min(seconds):.4g} s")
    yield Figure(f"batch of {batch}: speed", batch / median, "clips/s")
    yield from profiled(setting, f"batch of {batch}", call)
