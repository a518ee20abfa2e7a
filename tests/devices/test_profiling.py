"""Traces: of a block, and of a few steps of a training; each command writes one where it is asked to."""

import jax
import jax.numpy as jnp
import pytest

from sorajax.commands.benchmark import main as benchmark
from sorajax.commands.sample import main as sample
from sorajax.commands.train import main as train
from sorajax.devices.profiling import TRACED, WARM, StepTrace, tracing
from sorajax.evaluation.proof.traces import longest
from tests import CONFIGS

TOY = str(CONFIGS / "toy.py")


def test_a_block_is_traced_or_not(tmp_path):
    product = jax.jit(lambda x: jnp.sin(x @ x))
    with tracing(None):
        product(jnp.ones((64, 64)))
    assert not list(tmp_path.iterdir())
    with tracing(tmp_path):
        jax.block_until_ready(product(jnp.ones((64, 64))))
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb")), "what XProf and TensorBoard open"
    assert longest(tmp_path)[1]


@pytest.mark.parametrize("steps", [WARM - 1, WARM + 1, WARM + TRACED + 5])
def test_only_some_steps_are_traced_also_where_the_loop_ends_early(tmp_path, monkeypatch, steps):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: calls.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    trace = StepTrace(tmp_path)
    for number in range(steps):
        trace.before_step(lambda number=number: calls.append(number))
    trace.close()
    trace.close()
    whole = [WARM, "start", WARM + TRACED, "stop"]
    assert calls == {WARM - 1: [], WARM + 1: [WARM, "start", "stop"]}.get(steps, whole)


@pytest.mark.slow
def test_a_training_writes_a_trace(tmp_path):
    words = [TOY, "--directory", str(tmp_path / "run"), "--loop.steps", "8", "--profile", str(tmp_path / "trace")]
    assert train(words) == 0
    assert longest(tmp_path / "trace")[1]


@pytest.mark.slow
def test_a_sampling_writes_a_trace(tiny_model, tmp_path):
    words = [
        "a red ball",
        "--model",
        str(tiny_model),
        "--out",
        str(tmp_path / "a.webp"),
        "--profile",
        str(tmp_path / "t"),
    ]
    assert sample(words) == 0
    assert longest(tmp_path / "t")[1]


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    for command, words in ((sample, ["a"]), (train, [TOY]), (benchmark, [TOY])):
        assert command([*words, "--profile", str(file)]) == 2
        assert capsys.readouterr().err == f"sorajax: --profile {file} is a file: name a folder\n"
    assert benchmark(["clip", "--profile", str(tmp_path)]) == 2
    assert "clip starts others" in capsys.readouterr().err
