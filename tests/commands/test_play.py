"""Playing from the command line."""

import numpy as np
import pytest

from sorajax.commands.play import main
from sorajax.media.video import Video

PROMPT = "a red ball on a grey floor"


def test_a_play_is_recorded_and_marked(tmp_path, capsys):
    path = tmp_path / "play.webp"
    assert main([PROMPT, "--world", "true", "--keys", "rrrj....", "--record", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    clip = Video.load(path)
    assert len(clip.frames) == 9
    assert {name: clip.metadata[name] for name in ("prompt", "task", "world")} == {
        "prompt": PROMPT,
        "task": "play",
        "world": "true",
    }
    assert clip.metadata["actions"] == [0, 2, 2, 2, 3, 0, 0, 0, 0]
    assert np.abs(clip.frames[0].astype(int) - clip.frames[-1]).max() > 50


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([PROMPT, "--world", "true", "--keys", "rx"], 1, "'x' is no action: use l for left"),
        (["a red cat", "--world", "true", "--keys", "r"], 1, "names no object: use one of ball"),
        ([PROMPT, "--world", "nowhere", "--keys", "r"], 1, "nowhere does not exist"),
        ([PROMPT, "--world", "true"], 2, "there is no keyboard here: give the actions with --keys"),
        ([PROMPT, "--world", "true", "--keys", "r", "--record", "a.txt"], 1, "unknown suffix"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, code, line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
