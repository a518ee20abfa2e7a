"""The shell command is timed as it is written, and its failure is reported."""

import pytest

from sorajax.evaluation import shell
from sorajax.evaluation.benchmark_options import Benchmark


def test_a_failed_command_is_reported(tmp_path):
    with pytest.raises(RuntimeError, match="--nothing is not an option"):
        shell.run_sample(tmp_path, "--nothing")


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


def test_mebibytes_are_whole():
    assert (shell.memory(3 * 2**30), shell.memory(0)) == ("3,072", "-")
