"""Each part of a clip is timed by a call that does this part alone."""

from dataclasses import replace

import numpy as np
import pytest

import sorajax
from sorajax.evaluation import cost
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.media.video import Video


@pytest.fixture(scope="module")
def pipeline(tiny_model):
    return sorajax.load(tiny_model)


@pytest.fixture(scope="module")
def parts(pipeline, tmp_path_factory):
    """The calls, and the folder that they write into."""
    folder = tmp_path_factory.mktemp("cost")
    return cost.parts_of(pipeline, folder), folder


def test_parts_make_the_clip(pipeline, parts):
    calls, folder = parts
    (video,) = calls["clip"]()
    np.testing.assert_array_equal(calls["decoding"]()[0], video.frames)
    context = pipeline.prompts.contexts[cost.PROMPT]
    pipeline.prompts.contexts[cost.PROMPT] = context + 1
    calls["text"]()
    np.testing.assert_array_equal(pipeline.prompts.contexts[cost.PROMPT], context)  # encoded anew
    calls["file"]()
    calls["signed"]()
    plain, signed = (Video.load(folder / f"{name}.mp4").frames for name in ("plain", "signed"))
    assert plain.shape == signed.shape
    assert (folder / "signed.mp4").stat().st_size > (folder / "plain.mp4").stat().st_size + 1000  # the manifest


def test_the_table_has_bars_for_models_of_few_evaluations(pipeline, monkeypatch, capsys):
    seconds = {"text": 0.002, "sampling": 0.05, "decoding": 0.03, "clip": 0.09, "file": 0.01, "signed": 0.06}
    monkeypatch.setattr(cost, "load", lambda model, mesh, policy: pipeline)
    monkeypatch.setattr(cost, "alternating", lambda calls, repeats: {name: seconds[name] for name in calls})
    measured = cost.measure(Benchmark("cost"))
    settings = pipeline.plan(cost.Request((cost.PROMPT,)))
    assert f"| sampling, {2 * settings.steps} evaluations of the transformer | 50 ms | - |" in measured.tables["cost"]
    assert measured.figures["cost"] == seconds
    flow_map = replace(pipeline.config, dit=replace(pipeline.config.dit, until_blocks=1))
    monkeypatch.setattr(pipeline, "config", flow_map)
    monkeypatch.setattr(cost, "parts_of", lambda pipeline, folder: seconds)
    table = cost.measure(Benchmark("cost", model="world-fast")).tables["cost-fast"]
    assert "| decoding, to frames in memory | 30 ms | at most 40 ms |" in table
    assert "| `pipeline(prompt)` with a known prompt | 90 ms | at most 80 ms |" in table
