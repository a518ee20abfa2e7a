"""The notebook runs, cell by cell, with the model in the box."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "colab" / "sample.ipynb"


def test_every_cell_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SORAJAX_MODEL", raising=False)
    names: dict = {}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        lines = "".join(cell["source"]).splitlines()
        source = "\n".join(line for line in lines if not line.startswith("%"))
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    assert (tmp_path / "ball.mp4").stat().st_size > 1000
    assert len(names["longer"].frames) == len(names["videos"][0].frames) + 16
    assert names["edited"].frames.shape == names["videos"][0].frames.shape
