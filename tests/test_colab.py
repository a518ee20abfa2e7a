"""The notebook runs, cell by cell, with the model in the box, and makes nothing twice."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "colab" / "sample.ipynb"


def run(names: dict) -> dict:
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            source = "\n".join(line for line in lines if not line.startswith("%"))
            exec(compile(source, str(NOTEBOOK), "exec"), names)
    return names


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
