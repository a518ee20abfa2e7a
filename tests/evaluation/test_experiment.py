"""Remat policies are compared on one case, and a training step's mesh is one that its batch divides over."""

import pytest

from sorajax.errors import BadRequest
from sorajax.evaluation import experiment
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.cases import make_case
from sorajax.evaluation.speed import Figures


def test_remat_policies_are_compared_by_time_memory_and_loss(monkeypatch):
    def step(case, mesh, repeats):
        full = case.dit.remat == "full"
        return Figures(1.0, 2.0 + full, 2.0, 1.0, 1.0, None, 7 - full), [2.0, 1.5 if full else 1.0]

    monkeypatch.setattr(experiment, "training_step", step)
    measured = experiment.measure(Benchmark("dit-12x384", remat=True, repeats=2))
    found = measured.figures["remat"]
    assert list(found) == ["none", "dots", "full"]
    assert [row["seconds"] for row in found.values()] == [2.0, 2.0, 3.0]
    assert [row["bytes"] for row in found.values()] == [7, 7, 6]
    assert [row["difference"] for row in found.values()] == [0.0, 0.0, 0.5]
    assert "| `full` | 3.00 s | 0 MB | 5e-01 |" in measured.tables["remat"]


def test_the_batch_divides_over_the_mesh():
    case = make_case("dit-12x384", 4)
    assert experiment.training_mesh(Benchmark("dit-12x384"), case).size == 1
    assert dict(experiment.training_mesh(Benchmark("dit-12x384", mesh="data=4,seq=2"), case).shape)["data"] == 4
    with pytest.raises(BadRequest, match="--batch 4 does not divide over the 8 devices of --mesh fsdp=8"):
        experiment.training_mesh(Benchmark("dit-12x384", mesh="fsdp=8"), case)


def test_a_line_leaves_out_what_is_unknown():
    known = Figures(1.0, 0.5, 0.4, 2e9, 4e9, 0.25, 3 * 10**6, 34.0)
    line = "denoising step 1.00 0.5000 2.00 4.0 25.0% 3.0 34.0"
    assert experiment.row("denoising_step", known).split() == line.split()
    unknown = Figures(1.0, 0.5, 0.4, 2e9, 4e9, None, None)
    assert experiment.row("decode", unknown).split()[-3:] == ["-", "-", "-"]
    assert len(experiment.row("decode", unknown)) == len(experiment.HEADER)


def test_memory_of_a_stream_that_is_not_reported_is_a_dash():
    assert "1,000 / 800 MB, 1.25x" in experiment.streamed_table({"33": 800 * 10**6, "481": 10**9})
    assert "| - | at most 1.5x |" in experiment.streamed_table({"33": None, "481": None})
    assert "does not report" in experiment.streamed_line({"33": None, "481": None})
