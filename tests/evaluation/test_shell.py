"""The shell command is timed as it is written, and its failure is reported."""

import pytest

from sorajax.evaluation import shell
from sorajax.evaluation.benchmark_options import Benchmark


def test_a_failed_command_is_reported(tmp_path):
    with pytest.raises(RuntimeError, match="--nothing is not an option"):
        shell.run_sample(tmp_path, "--nothing")


def test_importing_is_timed_with_bytecode(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(shell, "IMPORTS", "sorajax.errors")
    assert 0 < shell.import_seconds(tmp_path) < 30
    assert list(tmp_path.rglob("errors.*.pyc"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    assert "PYTHONPYCACHEPREFIX" not in shell.environment(tmp_path)


def test_a_clip_is_timed_after_its_imports(tmp_path, monkeypatch, capsys):
    seconds = iter((9.0, 0.5, 0.7, 0.9, 4.0, 2.0, 3.0, 1.0))
    monkeypatch.setattr(shell, "import_seconds", lambda cache: next(seconds))
    monkeypatch.setattr(shell, "run_sample", lambda cache, *options: shell.Run(next(seconds), 0))
    measured = shell.measure_clip(Benchmark("clip", repeats=3))
    assert measured.figures["clip"] == {"cold": 4.0, "warm": 2.0, "importing": 0.7}
    assert "| warm compilation cache | 2.0 s | at most 2.4 s |" in measured.tables["clip"]
    assert "| 0.70 s | at most 1.0 s |" in measured.tables["importing"]


def test_films_are_made_twice_over_the_mesh_and_unknown_memory_is_a_dash(monkeypatch, capsys):
    runs = []

    def run_sample(cache, *options):
        runs.append(options)
        return shell.Run(float(len(runs)), 0)

    monkeypatch.setattr(shell, "run_sample", run_sample)
    measured = shell.measure_films(Benchmark("films", mesh="seq=2", seconds=(4, 8)))
    assert runs == 2 * [("--seconds", "4", "--mesh", "seq=2")] + 2 * [("--seconds", "8", "--mesh", "seq=2")]
    assert "| seconds to make it | 2.0 | 4.0 |" in measured.tables["films"]
    assert "| peak memory, MiB | - | - |" in measured.tables["films"]
    runs.clear()
    measured = shell.measure_films(Benchmark("films", model="world-fast", seconds=(4,)))
    assert runs == 2 * [("--seconds", "4", "--model", "world-fast")]
    assert list(measured.tables) == ["films-fast"]
    assert "4 steps, guidance 1" in measured.settings


def test_mebibytes_are_whole():
    assert (shell.memory(3 * 2**30), shell.memory(0)) == ("3,072", "-")
