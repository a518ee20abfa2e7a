"""The measurement counts what the filter finds, and a list that is none is one line."""

import numpy as np
import pytest

from sorajax.errors import BadRequest
from sorajax.evaluation import watermark
from sorajax.evaluation.options import Safety
from sorajax.evaluation.safety import measure, read_lines
from sorajax.media.video import Video
from sorajax.safety.watermark import WEIGHTS

LIST = "# a comment\nen\thate\tnazi propaganda\nen\thate\ta red ball\nen\tok\ta blue ball\nde\tok\tein Kinderporno\n"


def test_errors_are_counted_by_language_and_category(tmp_path):
    (tmp_path / "list.tsv").write_text(LIST)
    found = measure(Safety(part=("filters",), num=20, list=(tmp_path / "list.tsv",))).figures
    assert found["languages"]["list"] == {
        "en": {"recall": (1, 2), "alarms": (0, 1)},
        "de": {"recall": (0, 0), "alarms": (1, 1)},
    }
    assert found["categories"]["list"]["hate"] == {"recall": (1, 2), "alarms": (0, 2)}
    assert found["categories"]["list"]["minors"] == {"recall": (0, 0), "alarms": (1, 2)}
    assert found["world"] == [0, 20]


def test_each_list_has_columns_and_at_its_first_run_tables(tmp_path):
    (tmp_path / "list.tsv").write_text(LIST)
    (tmp_path / "its_own.tsv").write_text("fr\tok\tun ballon rouge\n")
    options = Safety(part=("first",), list=(tmp_path / "list.tsv", tmp_path / "its_own.tsv"))
    found = measure(options)
    assert tuple(found.tables) == options.tables
    text = found.tables["safety-first-languages"]
    assert "| language | list: recall | list: false alarms | its_own: recall | its_own: false alarms |" in text
    assert "| fr | 0.0% (0 of 0) | 0.0% (0 of 0) | 0.0% (0 of 0) | 0.0% (0 of 1) |" in text


def test_marks_and_false_alarms_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(watermark, "SIZES", ((5, 64, 64),))
    monkeypatch.setattr(watermark, "SMALL", ("none", "another colour"))
    frames = np.random.default_rng(0).integers(80, 90, (11, 70, 100, 3)).astype(np.uint8)
    Video(frames, 8.0).save(tmp_path / "film.mp4")
    found = measure(Safety(part=("watermark", "alarms"), num=2, clips=2))
    (one,) = found.figures["watermark"].values()
    assert one["clips"] == 2
    assert one["read"] == {"none": 2, "another colour": 2}
    assert min(one["psnr"]) >= 42
    assert one["wrong"] == 0
    assert found.figures["alarms"] == {"clips of the world": [0, 2]}
    assert set(found.tables) == {"safety-watermark", "safety-marks", "safety-alarms"}
    assert "| none | 100.0% (2 of 2) | - |" in found.tables["safety-watermark"]
    assert found.weights == WEIGHTS
    assert [clip.shape for clip in watermark.windows(tmp_path, (5, 64, 64))] == [(5, 64, 64, 3)] * 2


def test_a_file_that_is_no_list_is_named(tmp_path):
    with pytest.raises(BadRequest, match="cannot be read"):
        read_lines(tmp_path / "gone.tsv")
    (tmp_path / "list.tsv").write_text("en hate nazi propaganda\n")
    with pytest.raises(BadRequest, match="1 columns or another category"):
        read_lines(tmp_path / "list.tsv")
