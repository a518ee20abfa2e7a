"""The latency of a batch is the median of its calls, after one that compiles."""

from types import SimpleNamespace

import pytest

from sorajax.evaluation.proof import world
from sorajax.evaluation.proof.figures import Setting
from sorajax.evaluation.proof.sizes import TOY


def test_each_batch_is_timed_after_a_call_that_compiles(monkeypatch):
    clock, batches = [0.0], []
    seconds = iter((100.0, 4.0, 2.0, 9.0))

    def stream(request, settings, batch):
        clock[0] += next(seconds)
        batches.append((request.num, batch))
        return [SimpleNamespace(whole=lambda: SimpleNamespace(frames=[0] * 17))] * batch

    model = SimpleNamespace(plan=lambda request: SimpleNamespace(width=64, height=48, steps=4), stream=stream)
    monkeypatch.setattr(world.sorajax, "load", lambda: model)
    monkeypatch.setattr(world.time, "perf_counter", lambda: clock[0])
    pieces = world.pieces(Setting(TOY, 1.0))
    assert list(pieces) == [f"batch of {batch}" for batch in TOY.world_batches]
    first, median, speed = pieces["batch of 2"]()
    assert (first.value, median.value, speed.value) == (100.0, 4.0, pytest.approx(0.5))
    assert median.note == "17 frames of 64x48, 4 steps; fastest 2 s"
    assert batches == [(2, 2)] * 4
