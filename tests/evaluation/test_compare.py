"""Models are compared over their runs, on equally many clips."""

import json

import pytest

from sorajax.commands.evaluate import main
from sorajax.evaluation.compare import measure
from sorajax.evaluation.options import Compare
from sorajax.evaluation.world import wilson


def written(path, prompt, num=100, split="seen", **others):
    """What `evaluate world --json` writes, with shares of right clips."""
    summary = {
        name: {"accuracy": share, "low": 0.0, "high": 1.0, "num": num}
        for name, share in {**others, "prompt": prompt}.items()
    }
    path.write_text(json.dumps({split: summary}))
    return path


def test_runs_of_a_model_are_pooled(tmp_path):
    files = [
        written(tmp_path / "true-0.json", 0.5, colour=0.9, gravity=1.0),
        written(tmp_path / "lost-0.json", 0.1, colour=0.3),
        written(tmp_path / "true-1.json", 0.7, colour=1.0),
    ]
    measured = measure(Compare(files=tuple(files), table="mine"))
    found = measured.figures["compare"]
    assert found["true"]["prompt"] == {"accuracy": 0.6, **dict(zip(("low", "high"), wilson(120, 200))), "num": 200}
    assert found["true"]["gravity"]["num"] == 100
    lines = measured.tables["mine"].splitlines()
    assert lines[0] == "| attribute | true | lost |"
    assert lines[2].startswith("| colour | 95.0% (91.0 to 97.3) | 30.0% (")
    assert lines[-1] == "| prompt, each run | 50.0%, 70.0% | 10.0% |"
    assert "gravity" not in measured.tables["mine"]  # not all have it
    assert measured.settings.startswith("split seen, 100 clips of each run;")


def test_what_prompts_state_is_also_counted_together(tmp_path):
    shares = {"background": 1.0, "colour": 0.5, "shape": 0.5, "size": 0.5, "motion": 0.5, "pace": 0.0, "steady": 0.1}
    file = written(tmp_path / "true-0.json", 0.0, **shares)
    together = measure(Compare(files=(file,))).figures["compare"]["true"]["attributes together"]
    assert (together["accuracy"], together["num"]) == (0.5, 600)


def test_the_command_writes_a_table_of_any_name(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- measured: mine -->\n<!-- end: mine -->\n")
    file = written(tmp_path / "true-0.json", 0.5)
    assert main(["compare", str(file), "--table", "mine", "--markdown", str(page)]) == 0
    assert "| prompt | 50.0% (40.4 to 59.6) |" in page.read_text()
    assert f"evaluate compare {file} --table mine`" in page.read_text()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"num": 50}, "the files have 50 to 100 clips: measure all models with the same --num"),
        ({"split": "camera"}, "b-0.json has no clips of the split seen: write it with sorajax.evaluate world --splits"),
    ],
)
def test_other_files_are_refused(tmp_path, capsys, changes, line):
    one, two = written(tmp_path / "a-0.json", 0.5), written(tmp_path / "b-0.json", 0.5, **changes)
    assert main(["compare", str(one), str(two)]) == 1
    assert line in capsys.readouterr().err


def test_files_of_one_name_are_not_taken_for_runs_of_one_model(tmp_path):
    for folder in ("true", "lost"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "scores.json", 0.5)
    with pytest.raises(ValueError, match="two of the files have one name"):
        measure(Compare(files=(tmp_path / "true" / "scores.json", tmp_path / "lost" / "scores.json")))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--split", "none"], "--split none is unknown"),
        (["nothing.json"], "nothing.json does not exist: write it"),
        ([], "no files to compare"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    file = [] if arguments == [] else [str(written(tmp_path / "a-0.json", 0.5))]
    assert main(["compare", *file, *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
