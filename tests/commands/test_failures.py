"""Errors of all commands look alike: one line on stderr that begins with the name of the package."""

import importlib

import pytest

WRONG = {
    "sample": ["a circle", "--steps", "0"],
    "train": ["no/such/config.py"],
    "encode": ["videos", "--out", "{out}", "--buckets", "17"],
    "convert": ["no/such/model", "--out", "{out}"],
    "plan": ["configs/dit_xl.py"],
    "average": ["no/such/run", "--sigma", "0.1", "--out", "{out}"],
    "evaluate": ["world", "--model", "no/such/model"],
    "benchmark": ["no/such/config.py"],
}


@pytest.mark.parametrize("command", WRONG)
def test_an_error_is_one_line_that_begins_with_the_package_name(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.environ", dict(__import__("os").environ))  # plan sets variables
    arguments = [word.format(out=tmp_path / "out") for word in WRONG[command]]
    assert importlib.import_module(f"sorajax.commands.{command}").main(arguments) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("sorajax: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
