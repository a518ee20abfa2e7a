"""Options of evaluations: the tables that they may replace, and mistakes that are found before anything is loaded."""

from pathlib import Path

import pytest

from sorajax.errors import BadRequest
from sorajax.evaluation import options
from sorajax.evaluation.options import Captions, Readers, Reconstruction, Spread, Tasks, World, check
from sorajax.evaluation.world import GROUPS


def test_some_rows_or_splits_never_replace_the_whole_table():
    assert Tasks().tables == ("tasks",)
    assert Tasks("world-fast").tables == ("tasks-fast",)
    assert Tasks(rows=("extend", "cut to")).tables == ("tasks-extend-cut-to",)
    assert World(splits=("seen",)).tables == ()
    assert World(splits=("seen", "held_out")).tables == ("world", "world-short")
    assert Reconstruction(folder=Path("videos")).tables == ()


def test_only_splits_of_one_object_are_compared():
    check(Readers())
    with pytest.raises(BadRequest, match="--splits camera"):
        check(Readers(splits=("seen", "camera")))
    assert Readers(model="world-fast").tables == ("world-fast-readers",)
    assert Readers(size=(96, 96), frames=33).tables == ("world-readers-96x96x33",)


def test_the_command_lines_splits_are_those_of_evaluation():
    assert tuple(GROUPS) == options.SPLITS


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (Spread(num=2), "--num 2 clips of --prompts .* have no spread: use 3 of 1 or more"),
        (Reconstruction(fps=0), "--fps 0 is not allowed: it must be positive"),
        (Captions(parts=("rhymes",)), "--parts rhymes is unknown: choose from "),
        (World(frames=0), "--frames 0 is not allowed: use at least 1"),
    ],
)
def test_mistakes_are_named(wrong, line):
    with pytest.raises(BadRequest, match=line):
        check(wrong)
