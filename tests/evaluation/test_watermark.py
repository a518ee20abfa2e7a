"""Marks that are read and false alarms are counted, on clips of the world and windows of films."""

import numpy as np
import pytest

from sorajax.evaluation import watermark
from sorajax.evaluation.options import Safety
from sorajax.evaluation.safety import measure
from sorajax.media.video import Video
from sorajax.safety.watermark import WEIGHTS


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


def test_a_changed_clip_keeps_its_form():
    frames, rng = np.full((3, 48, 64, 3), 90, np.uint8), np.random.default_rng(0)
    assert watermark.resized(frames, 0.5).shape == (3, 24, 32, 3)
    assert watermark.cropped(frames, rng).shape == (3, 32, 42, 3)
    assert watermark.recoloured(frames, rng).shape == frames.shape
    assert watermark.psnr(frames, frames + 1) == pytest.approx(48.13, abs=0.01)


def test_a_change_that_was_not_made_is_a_dash():
    found = {"clips": 3, "read": {"none": 2}}
    assert watermark.cell(found, "none") == "66.7% (2 of 3)"
    assert watermark.cell(found, "JPEG, quality 60") == "-"
