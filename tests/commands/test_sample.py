"""The command line: one line for every mistake, no incomplete file, and a path for every result."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sorajax.commands.sample import main
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.media.video import Video
from sorajax.sampling.request import SamplerName

BALL = "a red ball bounces"


@pytest.fixture
def run(tiny_model, tmp_path, monkeypatch, capfd):
    """Runs the command line in an empty folder with the tiny model; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, model=tiny_model):
        code = main([*argv, "--model", str(model)])
        return code, *capfd.readouterr()

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_prompt_becomes_an_mp4_and_its_path_is_printed(run, tmp_path):
    code, out, err = run(BALL)
    assert (code, out, err) == (0, "samples/a-red-ball-bounces.mp4\n", "")
    assert files(tmp_path) == ["samples/a-red-ball-bounces.mp4", "samples/a-red-ball-bounces.mp4.json"]
    video = Video.load(tmp_path / "samples/a-red-ball-bounces.mp4")
    assert video.frames.shape == (5, 16, 16, 3)
    assert video.metadata["prompt"] == BALL


def test_automatic_file_names_take_the_next_free_number(run, tmp_path):
    run(BALL)
    assert run(BALL, "--num", "2")[1] == "samples/a-red-ball-bounces-2.mp4\nsamples/a-red-ball-bounces-3.mp4\n"
    assert len(files(tmp_path)) == 6


def test_one_frame_is_a_png(run, tmp_path):
    assert run(BALL, "--frames", "1")[1] == "samples/a-red-ball-bounces.png\n"
    assert Video.load(tmp_path / "samples/a-red-ball-bounces.png").frames.shape == (1, 16, 16, 3)


def test_several_clips_into_one_name_are_numbered(run):
    assert run(BALL, "a blue box", "--out", "clip.gif")[1] == "clip-1.gif\nclip-2.gif\n"


def test_a_grid_is_one_file_of_all_clips(run, tmp_path):
    assert run(BALL, "a blue box", "--num", "2", "--grid", "3", "--out", "grid.png")[1] == "grid.png\n"
    grid = Video.load(tmp_path / "grid.png")
    assert grid.frames.shape == (5, 32, 48, 3)
    assert (grid.metadata["prompts"], grid.metadata["seeds"]) == ([BALL] * 2 + ["a blue box"] * 2, [0, 1, 0, 1])
    run("a blue box", "--num", "2", "--out", "one.png")
    np.testing.assert_array_equal(grid.frames[:, 16:, :16], Video.load(tmp_path / "one-2.png").frames)
    assert not grid.frames[:, 16:, 16:].any()
    assert run(BALL, "--grid", "0")[0] == 2


def test_prompts_from_a_file_and_from_standard_input(run, tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text(f"\ufeff# two\n{BALL}\n\n  a blue box  \n", encoding="utf-8")
    assert (
        run("--prompts-file", "prompts.txt", "--out", "out/")[1] == "out/a-red-ball-bounces.mp4\nout/a-blue-box.mp4\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("the grey floor\n"))
    assert run("--prompts-file", "-", "--out", "out/")[1] == "out/the-grey-floor.mp4\n"


def test_every_option_reaches_the_request(run, tmp_path):
    run(
        BALL,
        "--steps",
        "3",
        "--guidance-scale",
        "2.5",
        "--sampler",
        "euler",
        "--shift",
        "2",
        "--size",
        "24x16",
        "--seconds",
        "0.6",
        "--seed",
        "9",
        "--negative",
        "blue",
        "--fps",
        "10",
        "--out",
        "clip.webp",
    )
    video = Video.load(tmp_path / "clip.webp")
    assert video.frames.shape == (5, 16, 24, 3)
    expected = {
        "steps": 3,
        "guidance_scale": 2.5,
        "sampler": "euler",
        "shift": 2,
        "seed": 9,
        "negative": "blue",
        "fps": 10,
    }
    assert expected.items() <= video.metadata.items()


def test_seconds_are_rounded_with_a_note(run):
    code, _, err = run(BALL, "--seconds", "0.5")
    assert (code, err) == (0, "note: 0.5 s at 8 fps is rounded to 5 frames\n")


@pytest.mark.parametrize("words", ["a purple ball", "a ball 🎈"])
def test_unknown_words_are_reported_and_the_clip_is_sampled(run, words):
    code, out, err = run(words)
    assert code == 0
    assert out.startswith("samples/a-")
    assert err.startswith('note: the model does not seem to know "' + words.split()[-1 if "🎈" in words else 1])
    assert err.count("\n") == 1


BAD = {
    "no prompt": ([], 2, "there is no prompt"),
    "empty prompt": ([""], 2, "the prompt is empty"),
    "blank prompt": (["   "], 2, "the prompt is empty"),
    "endless prompt": (
        ["ball " * 20_000],
        2,
        "the prompt has 20000 tokens, the model reads 12: shorten it to about 60",
    ),
    "width": (
        [BALL, "--size", "18x16"],
        2,
        "width 18 is not allowed: the model makes multiples of 4, nearest 16 or 20",
    ),
    "size words": ([BALL, "--size", "large"], 2, "size 'large' is not WIDTHxHEIGHT"),
    "frames": ([BALL, "--frames", "6"], 2, "6 frames are not allowed: the model makes 4n+1, nearest 5 or 9"),
    "no frames": ([BALL, "--frames", "0"], 2, "frames 0 is not allowed: use at least 1"),
    "seconds": ([BALL, "--seconds", "-1"], 2, "seconds -1.0 is not allowed"),
    "days": ([BALL, "--seconds", "1e300"], 2, "1e+300 seconds are not allowed: use at most 3600 seconds, an hour"),
    "days of frames": ([BALL, "--frames", "999999"], 2, "999999 frames are not allowed: use at most 3600 seconds"),
    "nobody's picture": ([BALL, "--image", "~no-such-user/a.png"], 2, "~no-such-user/a.png does not exist"),
    "nobody's folder": ([BALL, "--out", "~no-such-user/a.mp4"], 2, "there is no such home folder"),
    "a name too long": ([BALL, "--image", 300 * "a"], 2, "does not exist: give the path of a picture or clip"),
    "no shot": (["Cut to:", "--seconds", "3"], 2, '"Cut to:" describes no shot'),
    "no text": (["a ball \udcff"], 2, "is not UTF-8"),
    "folder of a mistake": (["ball " * 20, "--out", "new/clip.mp4"], 2, "the prompt has 20 tokens"),
    "seconds and frames": ([BALL, "--seconds", "1", "--frames", "9"], 2, "give one of them"),
    "steps": ([BALL, "--steps", "0"], 2, "steps 0 is not allowed: use 1 to 1000"),
    "guidance": ([BALL, "--guidance-scale", "-2"], 2, "guidance scale -2.0 is not allowed: use 0 or more"),
    "suffix": ([BALL, "--out", "clip.avi"], 2, "clip.avi: unknown suffix '.avi'; use .mp4, .gif, .webp, .png"),
    "prompts file": (["--prompts-file", "none.txt"], 2, "none.txt cannot be read (No such file or directory)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line(run, tmp_path, name):
    argv, expected, words = BAD[name]
    code, out, err = run(*argv)
    assert (code, out) == (expected, "")
    assert words in err
    assert err.startswith("sorajax: ")
    assert err.count("\n") == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize(("argv", "words"), [(["--stepz", "3"], "--steps"), (["--sampler", "magic"], "dpmpp_2m")])
def test_a_misspelt_option_gets_a_suggestion(run, argv, words):
    code, out, err = run(BALL, *argv)
    assert code == 2
    assert words in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "damage", ["missing", "empty folder", "no weights", "cut weights", "no tokenizer", "bad config"]
)
def test_a_damaged_model_is_one_line(run, tmp_path, tiny_model, damage):
    copy = tmp_path / "model"
    if damage != "missing":
        copy.mkdir()
    if damage not in ("missing", "empty folder"):
        for file in tiny_model.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    weights = copy / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif damage == "no tokenizer":
        (copy / "tokenizer.json").unlink()
    elif damage == "bad config":
        (copy / "config.json").write_text('{"kind": ')
    code, out, err = run(BALL, "--out", "clip.mp4", model=copy)
    assert (code, out) == (1, "")
    assert str(copy) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "clip.mp4").exists()


def test_weights_of_another_config_are_one_line(run, tmp_path, tiny_model):
    copy = tmp_path / "misfit"
    copy.mkdir()
    for file in tiny_model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "config.json").write_text((copy / "config.json").read_text().replace('"hidden": 32', '"hidden": 48'))
    assert run(BALL, "--out", "clip.mp4", model=copy) == (
        1,
        "",
        "sorajax: the model's weights do not fit its config.json: export it again\n",
    )
    assert not (tmp_path / "clip.mp4").exists()


def test_an_existing_file_is_kept_without_overwrite(run, tmp_path):
    (tmp_path / "clip.mp4").write_text("precious")
    code, _, err = run(BALL, "--out", "clip.mp4")
    assert (code, err) == (1, "sorajax: clip.mp4 exists: choose another name, or allow it with --overwrite\n")
    assert (tmp_path / "clip.mp4").read_text() == "precious"
    assert run(BALL, "--out", "clip.mp4", "--overwrite")[0] == 0
    assert Video.load(tmp_path / "clip.mp4").metadata["prompt"] == BALL


def test_an_unwritable_path_is_refused_before_sampling(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sorajax.commands.sample.load", lambda model: pytest.fail("the model was loaded"))
    (tmp_path / "file").write_text("")
    code, _, err = run(BALL, "--out", "file/clip.mp4")
    assert code == 1
    assert err.startswith("sorajax: file/clip.mp4 cannot be written")
    assert err.count("\n") == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sorajax.media.video.os.replace", full)
    code, _, err = run(BALL, "--out", "clip.mp4")
    assert code == 1
    assert "No space left" in err
    assert files(tmp_path) == []


def test_interruption_is_one_line_and_leaves_nothing(tiny_model, tmp_path):
    """Ctrl-C in mid-sampling of a run of many steps, whose end nobody waits for."""
    code = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's & ignores it
    code += "; runpy.run_module('sorajax.sample', run_name='__main__')"
    command = [sys.executable, "-c", code, BALL, "--model", str(tiny_model), "--out", "clip.mp4"]
    command += ["--num", "2000", "--steps", "50"]
    process = subprocess.Popen(command, cwd=tmp_path, env=with_source(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while b"clip" not in process.stdout.readline():  # the first of two thousand is done, the second has begun
        assert process.poll() is None, process.stderr.read()
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode() == "sorajax: interrupted; no unfinished file was left\n"
    assert time.monotonic() - asked < 30
    assert not [name for name in files(tmp_path) if name.endswith(".part")]
    assert len([name for name in files(tmp_path) if name.endswith(".mp4")]) < 2000


def with_source() -> dict[str, str]:
    """The environment with this source tree importable from another folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)}


def test_mistakes_and_help_are_answered_before_jax_is_loaded(tmp_path):
    code = "import sys; from sorajax.sample import main; code = main(sys.argv[1:])"
    code += "; sys.exit(99 if 'jax' in sys.modules else code)"
    for argv, expected in ((["--help"], 0), (["", "--steps", "3"], 2), ([BALL, "--out", "a.avi"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], capture_output=True, check=False, cwd=tmp_path, env=with_source()
        )
        assert done.returncode == expected, done.stderr


def test_help_shows_examples_options_and_exit_codes(capfd):
    assert main(["--help"]) == 0
    text = capfd.readouterr().out
    assert 'python -m sorajax.sample "a red ball bounces on a grey floor"' in text
    for option in ("--steps", "--guidance-scale", "--sampler", "--shift", "--size WIDTHxHEIGHT", "--seconds", "--num"):
        assert option in text
    assert "Exit codes" in text


def test_every_sampler_is_an_option():
    assert set(SamplerName.__args__) == set(SAMPLERS)
