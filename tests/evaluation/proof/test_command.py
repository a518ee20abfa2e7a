"""`python -m sorajax.benchmark gpu`: every part once at toy sizes, and mistakes in one line."""

import json
import sys
from importlib.util import find_spec

import pytest

from sorajax.commands import benchmark
from sorajax.evaluation.proof import command
from sorajax.evaluation.proof.limits import Command
from sorajax.evaluation.proof.parts import SECTIONS

FIGURES = {
    "numerics": {
        "attention 1x600x1x128 gradient",
        "transformer gradient",
        "Wan 2.2 autoencoder decoder",
        "text encoder",
        "unipc, 4 steps, bfloat16",
        "film, 4 steps, bfloat16",
    },
    "sampling": {
        "denoising step: utilisation",
        "text encoder, two prompts",
        "clip of 50 guided steps",
        "decoder, tiles",
    },
    "training": {"training step: utilisation", "training step: losses are finite"},
    "world": {"batch of 1", "batch of 2: speed"},
    "torch": {"agreement, float32", "eager: theirs / ours", "torch.compile, by block: theirs / ours"},
}


LONG = {"numerics", "world", "sampling", "training"}
"""Sections whose rehearsal takes more than a few seconds; CI also rehearses them all in one run."""


@pytest.mark.parametrize(
    "part", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in SECTIONS]
)
def test_every_part_runs_at_toy_sizes(part, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # torch.compile then returns what it was given: no compiler, no wait
    wanted = FIGURES[part]
    if part == "torch" and not all(find_spec(name) for name in ("torch", "diffusers")):
        wanted = {"beside PyTorch"}
    profile = ["--profile", str(tmp_path / "traces")] if part == "training" else []
    path = tmp_path / "gpu.json"
    code = benchmark.main(["gpu", "--rehearse", "--minutes", "8", "--part", part, "--json", str(path), *profile])
    printed, found = capsys.readouterr().out, json.loads(path.read_text())
    assert code == 0, printed
    assert found["passed"]
    assert found["rehearsed"]
    assert found["device"]
    assert found["versions"]["jax"]
    assert found["parts"][part]["state"] == "ran"
    names = [figure["name"] for figure in found["parts"][part]["figures"]]
    assert wanted <= set(names)
    assert all(printed.count(name) >= 2 for name in wanted)  # when it is measured, and in the table
    if profile:
        assert list((tmp_path / "traces" / part).rglob("*.trace.json.gz"))
        assert any(figure["unit"] == "ms" for figure in found["parts"][part]["figures"])


def faked(monkeypatch, **bodies):
    """Parts that are a few lines of Python instead."""
    start = "import json, sys; file = open(sys.argv[1], 'a')\n"
    monkeypatch.setattr(command, "SECTIONS", dict.fromkeys(bodies, SECTIONS["world"]))

    def fake(name, part, request):
        return Command(name, part.weight, lambda lines, _: [sys.executable, "-c", start + bodies[name], str(lines)])

    monkeypatch.setattr(command, "command_of", fake)


def figure(**fields):
    return f"file.write(json.dumps({fields!r}) + chr(10)); file.flush()\n"


def test_a_failed_part_has_a_line_and_an_exit_code(tmp_path, monkeypatch, capsys):
    faked(
        monkeypatch,
        wrong=figure(name="error", value=0.5, bar=0.1, most=True, check=True),
        crashes=figure(name="speed", value=3.0, unit="s") + "raise MemoryError('no room')",
        slow=figure(name="share", value=0.4, unit="%", bar=0.5),
    )
    path = tmp_path / "gpu.json"
    assert benchmark.main(["gpu", "--part", "wrong", "crashes", "slow", "--json", str(path)]) == 1
    *_, last = (table for table in capsys.readouterr().out.split("part      figure"))
    wrong, speed, crashed, slow = (line.split() for line in last.splitlines()[1:5])
    assert wrong == ["wrong", "error", "0.5", "at", "most", "0.1", "FAILED"]
    assert speed[:3] == ["crashes", "speed", "3"]
    assert crashed == ["crashes", "crashed:", "exit", "code", "1:", "MemoryError:", "no", "room"]
    assert slow == ["slow", "share", "40.0%", "at", "least", "50.0%", "missed"]
    found = json.loads(path.read_text())
    assert not found["passed"]
    assert found["parts"]["slow"]["figures"][0]["value"] == 0.4
    assert "MemoryError" in found["parts"]["crashes"]["output"]


def test_a_bar_that_is_missed_is_no_error(monkeypatch, capsys):
    faked(monkeypatch, slow=figure(name="share", value=0.4, unit="%", bar=0.5))
    assert benchmark.main(["gpu", "--part", "slow"]) == 0
    assert "missed" in capsys.readouterr().out


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    refused(["--part", "world"], "no GPU was found: use --rehearse", capsys)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--minutes", "0"], "--minutes 0 is not allowed: use more than 0"),
        (["--minutes", "nan"], "--minutes nan is not allowed"),
        (["--part", "speed"], "--part speed is unknown: use some of numerics, sampling"),
        (["--part"], "--part has no value: use some of numerics, sampling"),
        (["--json", "/nowhere/at/all.json"], "--json /nowhere/at/all.json: the folder does not exist"),
        (["--json", "/"], "--json / is a folder: name a file in it"),
        (["--profile", __file__], "is a file: name a folder"),
    ],
)
def test_mistakes_are_one_line(arguments, line, capsys):
    refused(arguments, line, capsys)


def refused(arguments, line, capsys):
    assert benchmark.main(["gpu", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_the_cpu_stays_available_beside_the_gpu():
    assert command.beside_cpu("") == {}
    assert command.beside_cpu("cpu") == {}
    assert command.beside_cpu("cuda") == {"JAX_PLATFORMS": "cuda,cpu"}
