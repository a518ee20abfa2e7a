"""The command line answers a mistake in one line with exit code 2, and writes the figures it prints."""

import json
import subprocess
import sys

import pytest

from sorajax.commands import evaluate
from sorajax.evaluation.markdown import blocks, weights_of


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["world", "--num", "0"], "--num 0 is not allowed: use at least 1, e.g. 256"),
        (["agent", "--seeds", "0"], "--seeds 0 is not allowed: use at least 1"),
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


def test_a_page_without_marks_is_one_line(tmp_path, capsys):
    """Before anything is measured."""
    page = tmp_path / "page.md"
    for text, line in (
        ("no marks", "has no mark of this command, which writes <!-- measured: instrument -->"),
        ("<!-- measured: world -->\n<!-- end: world -->", "has no mark of this command"),
        ("<!-- measured: instrument -->\n| a |", "the mark instrument has no end: write <!-- end: instrument -->"),
    ):
        page.write_text(text)
        assert evaluate.main(["instrument", "--markdown", str(page)]) == 2
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1
    assert evaluate.main(["instrument", "--markdown", str(tmp_path / "none.md")]) == 2
    assert "none.md cannot be read (FileNotFoundError)" in capsys.readouterr().err


def test_mistakes_are_answered_before_jax_is_imported():
    code = "import sys; from sorajax.commands import evaluate; code = evaluate.main(['world', '--num', '0']); "
    code += "print(code, 'jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["2", "False"]


def test_evaluate_writes_its_tables_into_pages(tmp_path, capsys):
    """Two pages at once; what is not between the marks of this command stays."""
    pages = [tmp_path / "one.md", tmp_path / "two.md"]
    other = "<!-- measured: tasks -->\nkept\n<!-- end: tasks -->\n"
    for page in pages:
        page.write_text(f"before\n\n<!-- measured: instrument -->\nold\n<!-- end: instrument -->\n{other}after\n")
    arguments = ["instrument", "--num", "2", "--splits", "seen"]
    assert evaluate.main([*arguments, "--markdown", *map(str, pages)]) == 0
    one, two = (page.read_text() for page in pages)
    assert one == two
    assert one.startswith("before\n\n<!-- measured: instrument -->\n| the reader on rendered clips |")
    assert one.endswith(f"<!-- end: instrument -->\n{other}after\n")
    assert "old" not in one
    assert "\n\n<sub>`python -m sorajax.evaluate instrument --num 2 --splits seen`; num 2, seed 0; " in one
    assert weights_of(blocks(one)["instrument"]) == "none"


def test_evaluate_writes_its_figures_as_json(tmp_path, capsys):
    path = tmp_path / "scores.json"
    assert evaluate.main(["instrument", "--num", "2", "--splits", "seen", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert set(figures["seen"]["colour"]) == {"accuracy", "low", "high", "num"}
    assert "colour" in capsys.readouterr().out
