"""The command line says what a file is, by its words and its exit code."""

import json
from dataclasses import replace

from sorajax.commands.verify import main
from sorajax.media.video import Video
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from tests.safety.conftest import moving, settings, video  # noqa: F401


def test_the_command_line_prints_words_and_exits_by_state(video, tmp_path, capsys):  # noqa: F811
    path = video.save(tmp_path / "clip.mp4")
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.startswith("The file is as it was signed.\n")
    assert main([str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "sound"
    path.write_bytes(path.read_bytes() + b"more")
    assert main([str(path)]) == 2
    assert main([str(Video(video.frames, 8.0).save(tmp_path / "bare.mp4"))]) == 1
    assert main([str(tmp_path / "gone.mp4")]) == 3
    assert main([str(path), "--trust", str(tmp_path / "gone.pem")]) == 3


def test_the_key_of_the_policy_is_used(video, settings, tmp_path):  # noqa: F811
    mine = replace(video, finishing=Safety(Policy(provenance=False, watermark_key="mine")))
    path = mine.save(tmp_path / "clip.mp4")
    assert main([str(path)]) == 1
    (settings / "policy.toml").write_text('watermark_key = "mine"\n')
    assert main([str(path)]) == 0
    (settings / "policy.toml").write_text("watermark_key = 3\n")
    assert main([str(path)]) == 2
