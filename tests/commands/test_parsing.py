"""A mistake in a command line is one line that names what was typed, what is allowed, and the help."""

import importlib
import os
from dataclasses import dataclass
from typing import Literal

import pytest
import tyro

from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest

MISSPELT = {
    "sample": (["x", "--step", "3"], "--step is not an option: did you mean --steps?"),
    "train": (
        ["configs/world_dit.py", "--model.dept", "3"],
        "--model.dept is not an option: did you mean --model.depth",
    ),
    "evaluate": (["world", "--nun", "3"], "--nun is not an option: did you mean --num?"),
    "serve": (["--prt", "3"], "--prt is not an option: did you mean --port?"),
    "encode": (["videos", "--otu", "x"], "--otu is not an option: did you mean --out?"),
    "convert": (["m", "--out", "x", "--lara", "y"], "--lara is not an option: did you mean --lora?"),
    "plan": (["wan", "--topology", "v5e:1x1", "--siz", "64x64"], "--siz is not an option: did you mean --size?"),
    "benchmark": (["dit-12x384", "--repeat", "3"], "--repeat is not an option: did you mean --repeats?"),
    "caption": (["clip.mp4", "--sed", "1"], "--sed is not an option: did you mean --seed?"),
    "play": (["a red ball", "--key", "q"], "--key is not an option: did you mean --keys?"),
    "record": (["folder", "--play", "2"], "--play is not an option: did you mean --plays?"),
    "verify": (["clip.mp4", "--jason"], "--jason is not an option: did you mean --json?"),
    "average": (["--sgma", "0.1"], "--sgma is not an option: did you mean --sigma?"),
}
SUBCOMMANDS = {
    "evaluate": (["wrld"], "wrld is unknown: use world, reconstruction, "),
    "serve": (["keys", "ad"], "ad is unknown: use add, revoke, list; "),
    "benchmark": (["gpu", "--parts", "dit"], "--parts is not an option: did you mean --part?"),
}


@pytest.mark.parametrize(
    ("command", "words", "said"), [(name, *row) for t in (MISSPELT, SUBCOMMANDS) for name, row in t.items()]
)
def test_a_misspelt_word_of_any_command_is_one_line_with_the_nearest(command, words, said, capsys, monkeypatch):
    monkeypatch.setattr("os.environ", dict(os.environ))  # plan sets variables
    assert importlib.import_module(f"sorajax.commands.{command}").main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"sorajax: {said}")
    assert printed.err.count("\n") == 1
    assert f"see `python -m sorajax.{command}" in printed.err
    assert printed.err.endswith(" --help`\n")
    assert not printed.out


def test_every_command_is_tested():
    doors = {path.stem for path in importlib.import_module("pathlib").Path("sorajax").glob("*.py")}
    assert doors - {"__init__", "errors", "files", "copies", "request"} == set(MISSPELT)


@dataclass(frozen=True)
class Inner:
    depth: int = 1

    def __post_init__(self):
        if self.depth < 1:
            raise ValueError(f"depth {self.depth} is not allowed: use at least 1")


@dataclass(frozen=True)
class Options:
    file: tyro.conf.Positional[str]
    """A clip."""
    out: str
    """Where it goes."""
    steps: int | None = None
    scale: float = 1.0
    kind: Literal["fast", "slow"] = "fast"
    size: tuple[int, int] = (1, 1)
    wide: bool = False
    model: Inner = Inner()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("clip --out x --steps two", "--steps two is not a whole number; see `tool --help`"),
        ("clip --out x --scale=high", "--scale high is not a number; see `tool --help`"),
        ("clip --out x --kind quick", "--kind quick is not allowed: use fast, slow; see `tool --help`"),
        ("clip --out", "--out has no value; see `tool --help`"),
        ("clip --out x --size 3", "--size needs 2 values; see `tool --help`"),
        ("clip other --out x", "other is not expected here; see `tool --help`"),
        ("", 'missing: "A clip", --out STR; see `tool --help`'),
        ("clip --out x --steps_ 2 --sclae 3", "--steps- is not an option: did you mean --steps? see `tool --help`"),
        ("clip --out x --zzzz", "--zzzz is not an option: see `tool --help`"),
        ("clip --out x --model.depth 0", "depth 0 is not allowed: use at least 1"),
        ("--wied", "--wied is not an option: did you mean --wide? see `tool --help`"),
    ],
)
@pytest.mark.parametrize("columns", ["40", "200"])
def test_one_line_says_what_is_wrong_whatever_the_terminal(words, said, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(BadRequest) as refused:
        parse_options(Options, "tool", words.split())
    assert str(refused.value) == said
    assert os.environ["COLUMNS"] == columns
    assert capsys.readouterr() == ("", "")


def test_what_is_right_is_parsed_and_help_is_printed(capsys):
    options = parse_options(Options, "tool", ["clip", "--out", "x", "--steps", "3", "--wide", "--model.depth", "2"])
    assert options == Options("clip", "x", steps=3, wide=True, model=Inner(2))
    with pytest.raises(SystemExit) as left:
        parse_options(Options, "tool", ["--help"], "What the tool does.")
    assert not left.value.code
    printed = capsys.readouterr().out
    assert "What the tool does." in printed
    assert "--model.depth" in printed
