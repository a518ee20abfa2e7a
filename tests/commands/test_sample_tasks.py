"""Tasks from the command line: every option, mistakes on one line, notes, and commands that go on with --resume."""

import json

import av
import numpy as np
import pytest

from sorajax.commands.sample import main
from sorajax.media.formats import WRITERS
from sorajax.media.video import Video
from sorajax.sampling.denoiser import Denoiser
from sorajax.sampling.windows import Windows
from tests.sampling.test_request import BOARD, written
from tests.tasks.inputs import clip


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--image", "missing.png"], "does not exist"),
        (["--image", "still.png", "--loop"], "--image and --loop"),
        (["--mask", "still.png"], "--mask needs a clip: give one with --edit FILE"),
        (["--strength", "0.5"], "needs a clip: give one with --edit FILE or --blend FILE FILE"),
        (["--edit", "still.png", "--strength", "1.5"], "strength 1.5"),
        (["--edit", "still.png", "--mask", "black.png"], "mask is empty"),
        (["--direction", "backward"], "--direction needs a clip: give one with --extend FILE"),
        (["--extend", "still.png", "--seconds", "0"], "must be above 0"),
        (["--extend", "broken.mp4"], "no readable video"),
        (["--image", "words.txt"], "unknown suffix"),
        (["--edit", "still.png", "--seconds", "1"], "an edit is as long as its clip"),
        (["--fill", "still.png"], "--fill FILE and --gap go together: give both"),
        (["--fill", "still.png", "--gap", "0.2:0.5"], "is not within the clip"),
        (["--loop", "--resume"], "--loop cannot be resumed: leave --resume out"),
        (["--grid", "2", "--resume"], "a grid cannot be resumed: leave one of them out"),
        (["--extend", "."], ". is a folder: give the path of a picture or clip"),
        (["--extend", "still.png", "--seconds", "0.03"], "has no frame: use 0.125 seconds or more"),
        (["--fps", "1000"], "fps 1000 is not allowed: use 1 to 120"),
    ],
)
def test_a_mistake_is_one_line(tiny_model, tmp_path, monkeypatch, capfd, argv, said):
    monkeypatch.chdir(tmp_path)
    clip(1).save("still.png")
    Video(np.zeros((1, 16, 16, 3), np.uint8), 1.0).save("black.png")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "words.txt").write_text("no film")
    before = sorted(tmp_path.iterdir())
    assert main(["a red ball", "--model", str(tiny_model), "--out", "out.mp4", *argv]) in (1, 2)
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_every_task_from_the_command_line(tiny_model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    clip(1).save("still.png")
    clip(6).save("clip.png")
    clip(1, 32, 32).save("mask.png")
    for number, argv in enumerate(
        (
            ["--image", "still.png"],
            ["--extend", "clip.png", "--frames", "3", "--direction", "backward"],
            ["--between", "still.png", "still.png"],
            ["--connect", "clip.png", "clip.png"],
            ["--loop"],
            ["--edit", "clip.png", "--strength", "0.5", "--mask", "mask.png"],
            ["--fill", "clip.png", "--gap", "0.25:0.5"],
        )
    ):
        assert main(["a red ball", "--model", str(tiny_model), "--out", f"out{number}.png", *argv]) == 0
        assert capfd.readouterr().out == f"out{number}.png\n"
    said = json.loads((tmp_path / "out5.png.json").read_text())
    assert (said["edit"], said["strength"], said["mask"]) == ("clip.png", 0.5, "mask.png")
    for strength, argv in ((0.0, ["--strength", "0"]), (0.75, [])):
        command = ["a red ball", "--model", str(tiny_model), "--edit", "clip.png", "--out", "out.png", "--overwrite"]
        assert main([*command, *argv]) == 0
        assert json.loads((tmp_path / "out.png.json").read_text())["strength"] == strength


@pytest.mark.slow
def test_notes_report_what_was_changed(tiny_model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    clip(6, fps=24.0).save("clip.png")
    for argv, said in (
        (["--loop", "--frames", "9"], "a loop of 9 frames is rounded to 8"),
        (["--extend", "clip.png", "--trim", "0.1:9", "--frames", "1"], "ends before 9 s: it is used from 0.1 s to"),
        (["--extend", "clip.png", "--fps", "8", "--frames", "1"], "has 24 frames per second, and 8 of them are used"),
        (["--image", "clip.png"], "a clip of 6 frames is given as a picture: its first frame is used"),
        (["--negative", "blue", "--guidance-scale", "1"], "the negative prompt has no effect without guidance"),
        (["--negative", "zebra"], 'does not seem to know "zebra"'),
        (["--extend", "clip.png", "--seconds", "0.1"], "0.1 s at 24 fps is rounded to 2 frames"),
        (["--blend", "clip.png", "clip.png", "--frames", "9"], "a blend of 9 frames is longer than its clips, of 6"),
        (["--edit", "clip.png", "--mask", "clip.png"], "clip.png has 6 frames: the first one masks the whole clip"),
    ):
        assert main(["a red ball", "--model", str(tiny_model), "--out", "out.png", "--overwrite", *argv]) == 0
        assert capfd.readouterr().err.count(said) == 1


def test_a_resumed_command_keeps_finished_files(tiny_model, tmp_path, capsys, monkeypatch):
    made, sampled = [], Denoiser.sample
    monkeypatch.setattr(
        Denoiser,
        "sample",
        lambda self, clips, *rest, **more: (
            made.extend(seed for _, seed in clips),
            sampled(self, clips, *rest, **more),
        )[1],
    )
    command = ["a red ball", "--model", str(tiny_model), "--frames", "5", "--out", str(tmp_path / "a.webp")]
    assert main([*command, "--num", "2"]) == 0
    (tmp_path / "a-2.webp").unlink()
    (tmp_path / "a-2.webp.json").unlink()
    before = (tmp_path / "a-1.webp").stat()
    assert main([*command, "--num", "2"]) == 1
    made.clear()
    assert main([*command, "--num", "2", "--resume"]) == 0
    assert made == [1]  # the finished one is not made again
    assert "a-1.webp is finished, and stays as it is" in capsys.readouterr().err
    assert (tmp_path / "a-1.webp").stat() == before
    assert (tmp_path / "a-2.webp").exists()
    assert main(["a blue ball", *command[1:], "--num", "2", "--resume"]) == 2
    said = "a-1.webp is finished, and of another request (prompt a red ball, not a blue ball)"
    assert said in capsys.readouterr().err
    assert main([*command, "--num", "2", "--resume", "--quantize", "int8"]) == 2
    assert "of another request (quantize None, not int8)" in capsys.readouterr().err
    assert main([*command, "--num", "2", "--resume", "--fps", "12"]) == 2
    assert "of another request (fps 8.0, not 12.0)" in capsys.readouterr().err
    (tmp_path / "a-1.webp.json").write_text("[1]")
    assert main([*command, "--num", "2", "--resume"]) == 0
    folder = [*command[:-1], f"{tmp_path / 'new'}/"]
    for more in ([], ["--resume"]):  # the same names
        assert main([*folder, *more]) == 0
        assert [path.name for path in (tmp_path / "new").iterdir() if path.suffix == ".mp4"] == ["a-red-ball.mp4"]


def test_a_file_of_another_format_does_not_count_as_finished(tiny_model, tmp_path, capsys):
    path = tmp_path / "a.webp"
    command = ["a red ball", "--model", str(tiny_model), "--frames", "5", "--out", str(path), "--resume"]
    path.touch()
    assert main(command) == 2
    assert "a.webp is no readable picture" in capsys.readouterr().err
    clip(5).save(path, overwrite=True)
    (tmp_path / "a.webp.json").unlink()
    assert main(command) == 2
    assert "of another request" in capsys.readouterr().err


def test_a_refused_film_leaves_no_windows_behind(tiny_model, tmp_path, capsys):
    command = ["a red ball", "--model", str(tiny_model), "--frames", "9", "--out", str(tmp_path / "a.webp")]
    assert main(command) == 0
    assert main(["a blue ball", *command[1:], "--resume"]) == 2
    assert "of another request (prompt a red ball, not a blue ball)" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "a.webp.json"]


def test_an_edited_picture_is_a_picture(tiny_model, tmp_path, capsys):
    clip(1).save(tmp_path / "still.webp")
    command = ["a red ball", "--model", str(tiny_model), "--edit", str(tmp_path / "still.webp")]
    assert main([*command, "--out", f"{tmp_path / 'new'}/"]) == 0
    assert Video.load(tmp_path / "new" / "a-red-ball.png").frames.shape == (1, 16, 16, 3)


def test_windows_are_kept_until_the_file_is_complete(tiny_model, tmp_path, monkeypatch, capsys):
    """Of formats that are written when all frames are there, too."""
    command = ["a red ball", "--model", str(tiny_model), "--frames", "9", "--out", str(tmp_path / "a.webp")]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(WRITERS, ".webp", lambda video, path: (list(video.pictures()), interrupted()))
        assert main(command) == 130
    assert "repeat the command with --resume" in capsys.readouterr().err
    (tmp_path / "a.webp.windows" / "0001.npy").write_bytes(b"")  # damaged: made again, and no other
    sampled, made = Windows.sample, []
    monkeypatch.setattr(Windows, "sample", lambda *told: (made.append(told), sampled(*told))[1])
    assert main([*command, "--resume"]) == 0
    assert len(made) == 1
    assert not (tmp_path / "a.webp.windows").exists()
    assert len(Video.load(tmp_path / "a.webp").frames) == 9


def test_a_storyboard_runs_from_the_command_line(tiny_model, tmp_path, capsys):
    out = tmp_path / "story.mp4"
    board = written(tmp_path, BOARD)
    assert main(["--storyboard", str(board), "--model", str(tiny_model), "--out", str(out), "--style", "red"]) == 0
    assert len(Video.load(out).frames) == 12
    assert not list(tmp_path.glob("*.windows"))
    assert main(["a ball", "--storyboard", str(board), "--out", str(out), "--overwrite"]) == 2
    assert "storyboard has its own prompts" in capsys.readouterr().err


def test_an_interrupted_film_of_a_minute_is_resumed(tiny_model, tmp_path, capsys, monkeypatch):
    """The command is the same, with --resume; without it nothing that was made is lost. (As
    webp: of pictures as small as one macroblock x264 makes now and then another file.)"""
    command = ["a red ball", "--model", str(tiny_model), "--frames", "17"]
    assert main([*command, "--out", str(tmp_path / "whole.webp")]) == 0
    calls, sample = [], Windows.sample

    def dying(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(self, *arguments)

    monkeypatch.setattr(Windows, "sample", dying)
    out = [*command, "--out", str(tmp_path / "cut.webp")]
    assert main(out) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(out) == 2
    assert "add --resume" in capsys.readouterr().err
    assert not (tmp_path / "cut.webp").exists()
    assert main([*out[:1], "--seed", "4", *out[1:], "--resume"]) == 1
    assert "another request" in capsys.readouterr().err
    calls[:] = [1] * 10
    assert main([*out, "--resume"]) == 0
    assert len(calls) == 12
    made, whole = (Video.load(tmp_path / name).frames for name in ("cut.webp", "whole.webp"))
    assert np.array_equal(made, whole)
    assert not list(tmp_path.glob("*.windows"))


def test_trim_uses_a_part_of_the_input(tiny_model, tmp_path, capsys):
    source = clip(16).save(tmp_path / "clip.webp")
    out = tmp_path / "more.webp"
    command = ["a ball", "--model", str(tiny_model), "--extend", str(source), "--frames", "2", "--out", str(out)]
    assert main([*command, "--trim", "0.5:1.25"]) == 0
    assert len(Video.load(out).frames) == 6 + 2
    for span, said in (("2:1", "not a span"), ("x", "not a span"), ("9:", "lasts 2 s")):
        assert main([*command, "--overwrite", "--trim", span]) in (1, 2)
        assert said in capsys.readouterr().err


def test_a_dropped_sound_track_is_reported(tiny_model, tmp_path, capsys):
    path = tmp_path / "loud.mp4"
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("libx264", rate=8), container.add_stream("aac", rate=8000)
        picture.width, picture.height, picture.pix_fmt = 20, 16, "yuv420p"
        for _ in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((16, 20, 3), 90, np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        noise.rate = 8000
        container.mux(sound.encode(noise))
        container.mux(picture.encode())
        container.mux(sound.encode())
    mask = Video(np.full((1, 8, 8, 3), 255, np.uint8), 1.0).save(tmp_path / "mask.png")
    out = tmp_path / "quiet.mp4"
    command = ["a ball", "--model", str(tiny_model), "--edit", str(path), "--mask", str(mask), "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "the sound of" in said
    assert "the clip of 20x16 is resized to 24x16" in said or "the clip of 20x16 is resized to 16x16" in said
    assert "mask.png is 8x8 and is resized to the clip's 20x16" in said
    with av.open(str(out)) as container:
        assert not container.streams.audio
