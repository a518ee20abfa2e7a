"""The command line answers a mistake in one line with exit code 2, and writes the figures it prints."""

import json

import pytest

from sorajax.commands import evaluate


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["world", "--num", "0"], "--num 0 is not allowed: use at least 1, e.g. 256"),
        (["world", "--seed", "-1"], "--seed -1 is not allowed: use 0 or more"),
        (["instrument", "--splits", "unseen"], "--splits unseen is unknown: choose from seen, held_out"),
        (["world", "--json", "/nowhere/at/all.json"], "--json /nowhere/at/all.json: the folder does not exist"),
    ],
)
def test_mistakes_are_one_line(arguments, line, capsys):
    assert evaluate.main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_a_missing_model_is_one_line(tmp_path, capsys):
    assert evaluate.main(["world", "--model", str(tmp_path), "--num", "1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_splits_of_the_command_line_are_those_of_the_room():
    from sorajax.evaluation.world import GROUPS

    assert tuple(GROUPS) == evaluate.SPLITS


def test_figures_are_written(tmp_path, capsys):
    path = tmp_path / "scores.json"
    assert evaluate.main(["instrument", "--num", "2", "--splits", "seen", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert set(figures["seen"]["colour"]) == {"accuracy", "low", "high", "num"}
    assert "colour" in capsys.readouterr().out
