"""The command line of captions."""

import json

import numpy as np
import pytest

from sorajax.commands import caption
from sorajax.commands.captioners import NamedCaptioner
from sorajax.language import Caption
from sorajax.media.video import Video


@pytest.fixture
def clip(tmp_path):
    return str(Video(np.full((2, 32, 32, 3), 90, np.uint8), 8.0).save(tmp_path / "clip.png"))


@pytest.fixture
def _said(monkeypatch):
    """A captioner that says the seed."""
    said = NamedCaptioner(lambda video, seed=0: Caption(f"s{seed}", f"d{seed}"), "said", 1)
    monkeypatch.setattr(caption, "captioner_of", lambda options: said)


@pytest.mark.usefixtures("_said")
def test_each_file_has_a_line(clip, capsys):
    assert caption.main([clip]) == 0
    assert capsys.readouterr().out == "d0\n"
    assert caption.main([clip, clip, "--register", "short", "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{clip}: s3\n" * 2


@pytest.mark.usefixtures("_said")
def test_json_has_both_registers(clip, capsys):
    assert caption.main([clip, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": clip, "short": "s0", "detailed": "d0"}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "no file is named"),
        (["a.mp4", "--seed", "-1"], 2, "--seed -1"),
        (["a.mp4", "--model", "nowhere"], 1, "nowhere does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, code, text, capsys):
    assert caption.main(arguments) == code
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("_said")
def test_a_file_that_is_missing_is_one_line(capsys):
    assert caption.main(["missing.mp4"]) == 1
    assert "missing.mp4 does not exist: give the path of a video or picture file\n" in capsys.readouterr().err
