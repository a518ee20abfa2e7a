"""The notebook runs, cell by cell, with the model in the box, and makes nothing twice."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "colab" / "sample.ipynb"


def run(names: dict, cells: int | None = None) -> dict:
    for cell in json.loads(NOTEBOOK.read_text())["cells"][:cells]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            source = "\n".join(re.sub(r"^(\s*)%.*", r"\1pass", line) for line in lines)
            exec(compile(source, str(NOTEBOOK), "exec"), names)
    return names


@pytest.mark.slow
def test_every_cell_runs_and_goes_on_after_a_lost_runtime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SORAJAX_MODEL", "world")
    names = run({})
    assert len(names["longer"].frames) == len(names["video"].frames) + 16
    assert names["edited"].frames.shape == names["video"].frames.shape
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "clips").glob("*.mp4")}
    assert set(times) == {"first.mp4", "several.mp4", "longer.mp4", "edited.mp4"}
    (tmp_path / "clips" / "edited.mp4").unlink()
    (tmp_path / "clips" / "edited.mp4.json").unlink()
    run({})
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "clips").glob("*.mp4")}
    assert again.keys() == times.keys()
    assert {name for name in times if again[name] != times[name]} == {"edited.mp4"}


def test_the_package_is_found_around_the_notebook_or_asked_for(tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    for folder in ("colab", "sorajax"):
        (copy / folder).mkdir(parents=True)
    (copy / "sorajax" / "sample.py").touch()
    monkeypatch.chdir(copy / "colab")
    monkeypatch.delenv("SORAJAX_SOURCE", raising=False)
    assert run({}, 2)["SOURCE"] == str(copy)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="sorajax is not here: set SOURCE to its folder or git address"):
        run({}, 2)
    monkeypatch.setenv("SORAJAX_SOURCE", "git+https://somewhere")
    assert run({}, 2)["PACKAGE"].endswith(" @ git+https://somewhere")
