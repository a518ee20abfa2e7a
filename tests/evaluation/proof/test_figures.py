"""A figure states whether its bar is met; a failed piece does not stop the others."""

import json
import math

import pytest

from sorajax.evaluation.proof.figures import Figure, figure_of, run_pieces, tolerance


@pytest.mark.parametrize(
    ("figure", "met", "failed"),
    [
        (Figure("x", 2.0), None, False),
        (Figure("x", None), None, False),
        (Figure("x", 0.6, "%", 0.5), True, False),
        (Figure("x", 0.4, "%", 0.5), False, False),
        (Figure("x", 74.0, "s", 75.0, most=True), True, False),
        (tolerance("x", 0.01, 0.02), True, False),
        (tolerance("x", 0.03, 0.02), False, True),
        (tolerance("x", math.nan, 0.02), False, True),
        (Figure("x", None, check=True), False, True),
    ],
)
def test_failed_checks_and_missed_bars_are_distinguished(figure, met, failed):
    assert (figure.met, figure.failed) == (met, failed)
    back = figure_of(json.loads(json.dumps(figure.to_json(), allow_nan=False)))
    assert (back.name, back.met, back.failed) == (figure.name, met, failed)


def test_a_failed_piece_keeps_its_figures_and_the_next_ones_run(tmp_path):
    def fails():
        yield Figure("before", 1.0)
        raise RuntimeError("out of\nmemory")

    lines = tmp_path / "lines.jsonl"
    run_pieces({"fails": fails, "next": lambda: iter([Figure("after", 2.0)])}, lines)
    found = [figure_of(json.loads(line)) for line in lines.read_text().splitlines()]
    assert [(figure.name, figure.failed) for figure in found] == [("before", False), ("fails", True), ("after", False)]
    assert found[1].note == "RuntimeError: out of memory"
