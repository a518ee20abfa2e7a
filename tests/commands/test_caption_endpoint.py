"""`python -m sorajax.caption` and `sorajax.encode` with a chat server: files in order, failures named, nothing asked
twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sorajax.commands import caption, encode
from sorajax.data.videos import preparation
from sorajax.data.videos.captioning import written_captions
from sorajax.data.videos.clips import captions_of
from sorajax.data.videos.listing import listing
from sorajax.language import Caption
from sorajax.language.endpoint import KEY
from sorajax.media.video import Video
from tests.data.videos.films import film, moving
from tests.data.videos.test_preparation import in_turn
from tests.language.chat_server import captioned, completion, failing
from tests.language.conftest import chat, one_server  # noqa: F401

SECRET = "sk-a-secret-that-nobody-sees"


@pytest.fixture
def files(tmp_path, monkeypatch, chat):  # noqa: F811
    """Four small clips in the current folder, and an empty cache; the server names a clip by its brightness."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        Video(np.full((5, 16, 24, 3), 50 * number, np.uint8), 8.0).save(f"{number}.mp4")
    return [f"{number}.mp4" for number in range(4)]


def options(chat, *more):  # noqa: F811
    return ["--endpoint", chat.url, "--caption-model", "watcher", *more]


def test_files_are_captioned_in_parallel_and_printed_in_order(files, chat, capsys):  # noqa: F811
    chat.replies = [0.3, captioned("slow"), *(captioned("quick") for _ in range(3))]
    assert caption.main([*files, *options(chat, "--register", "short", "--parallel", "2")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == files
    assert sorted(line.partition(": ")[2] for line in printed) == ["quick", "quick", "quick", "slow"]
    assert chat.most == 2


def test_json_lines_are_a_manifest(files, chat, capsys, tmp_path):  # noqa: F811
    assert caption.main([*files, *options(chat, "--json")]) == 0
    (tmp_path / "captions.jsonl").write_text(capsys.readouterr().out)
    entries = listing("captions.jsonl")
    assert [entry.path for entry in entries] == files
    assert {entry.written for entry in entries} == {("a red ball bounces", "A red ball bounces on a grey floor.")}


def test_a_file_without_a_caption_is_named_and_the_others_go_on(files, chat, capsys):  # noqa: F811
    chat.replies = [captioned(), *[completion("no idea")] * 4]
    Path("2.mp4").write_bytes(b"junk")
    assert caption.main([*files, "gone.mp4", *options(chat, "--parallel", "1", "--register", "short")]) == 1
    printed, errors = capsys.readouterr()
    assert printed == "0.mp4: a red ball bounces\n3.mp4: a red ball bounces\n"
    one, two, gone, last = errors.splitlines()
    assert one == "sorajax: 1.mp4: watcher gave no usable answer in 4 tries: 'no idea' is no JSON object"
    assert "2.mp4" in two
    assert gone == "sorajax: gone.mp4 does not exist: give the path of a video or picture file"
    assert last == "sorajax: 3 of 5 files have no caption: see the lines above"
    assert caption.main([files[1], *options(chat)]) == 0


def test_the_same_command_continues(files, chat, capsys):  # noqa: F811
    chat.replies = [captioned(), captioned(), failing(401)]
    assert caption.main([*files, *options(chat, "--parallel", "1")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert caption.main([*files, *options(chat, "--parallel", "1")]) == 0
    assert len(chat.bodies) == 5, "two, the refused one, and the other two"


@pytest.mark.slow
def test_after_a_kill_only_missing_files_are_asked_for(files, chat, capsys):  # noqa: F811
    chat.replies = [captioned(), captioned(), 60.0, captioned()]
    command = [sys.executable, "-m", "sorajax.caption", *files, *options(chat, "--parallel", "1")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
        until = time.monotonic() + 60
        while len(chat.bodies) < 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert caption.main([*files, *options(chat)]) == 0
    assert len(chat.bodies) == 5
    assert capsys.readouterr().out.count("\n") == 4


@pytest.mark.slow
def test_an_interruption_ends_at_once(files, chat):  # noqa: F811
    chat.replies = [captioned(), 20.0, captioned()]
    command = [sys.executable, "-m", "sorajax.caption", *files, *options(chat, "--parallel", "1")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        until = time.monotonic() + 60
        while len(chat.bodies) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert process.returncode == 130
    assert error.decode() == "sorajax: interrupted\n"


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--endpoint", "http://127.0.0.1:9"], 2, "name one, e.g. --caption-model Qwen/Qwen2.5-VL-7B-Instruct"),
        (["--endpoint", "watcher", "--caption-model", "m"], 2, "watcher is not the URL of a server"),
        (["--caption-model", "m"], 2, "give its URL with --endpoint"),
        (["--endpoint", "http://127.0.0.1:9", "--caption-model", "m", "--parallel", "0"], 2, "use 1 or more"),
    ],
)
def test_wrong_options_are_one_line(more, code, message, files, capsys):
    assert caption.main([files[0], *more]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_key_is_in_no_output_and_no_file(files, chat, capsys, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv(KEY, SECRET)
    chat.replies = [captioned(), failing(400, f"bad {SECRET}"), failing(401, SECRET)]
    assert caption.main([*files, *options(chat, "--parallel", "1", "--json")]) == 1
    assert chat.headers[0]["authorization"] == f"Bearer {SECRET}"
    printed = "".join(capsys.readouterr())
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in printed
    assert not [content for content in kept if SECRET.encode() in content]


@pytest.fixture
def videos(tmp_path, files, monkeypatch):
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    (tmp_path / "videos").mkdir()
    for seed in range(3):
        film(tmp_path / "videos" / f"{seed}.mp4", moving(seed, 9, (40, 40)))
        (tmp_path / "videos" / f"{seed}.txt").write_text(f"square number {seed}")
    return ["videos", "--out", "made", "--buckets", "9x32x32"]


def test_training_videos_are_captioned_and_counted(videos, chat, capsys, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv(KEY, SECRET)
    chat.replies = [failing(400, "too dark")]
    more = ["--captioner", chat.url, "--caption-model", "watcher", "--caption-parallel", "1"]
    assert encode.main([*videos, *more]) == 0
    printed = capsys.readouterr().out
    assert "made: 3 original captions, 2 short and 2 detailed ones" in printed
    assert f"  no caption: videos/0.mp4@0.0: {chat.url} answers 400 (too dark)\n" in printed
    assert encode.main([*videos, *more]) == 0
    assert len(chat.bodies) == 4
    report = json.loads((tmp_path / "made" / "report.json").read_text())
    assert report["captions"] == {"original": 3, "short": 3, "detailed": 3, "failed": []}
    assert set(written_captions(tmp_path / "made").values()) == {
        ("a red ball bounces", "A red ball bounces on a grey floor.")
    }
    assert encode.main(videos) == 0
    assert json.loads((tmp_path / "made" / "report.json").read_text()) == report, "also without the captioner"
    assert not [
        path for path in (tmp_path / "made").rglob("*") if path.is_file() and SECRET in path.read_text("latin1")
    ]


def test_a_trained_captioner_is_named_by_its_weights(videos, tmp_path, monkeypatch):
    """Another one is refused, and the text encoder reads what was written."""

    def opened(model):
        def caption(video, seed=0):
            return Caption(f"{model} {video.frames.shape[1]}", f"A {model}.")

        caption.writer = SimpleNamespace(params={"weights": np.full(2, len(model))})
        return caption

    monkeypatch.setattr("sorajax.language.captioner.open_captioner", opened)
    for file in (tmp_path / "videos").glob("*.txt"):
        file.unlink()
    assert encode.main([*videos, "--captioner", "mine"]) == 0
    assert set(written_captions(tmp_path / "made").values()) == {("mine 32", "A mine.")}
    assert encode.main([*videos, "--captioner", "mine"]) == 0
    assert encode.main([*videos, "--captioner", "other"]) == 1
    read = []
    monkeypatch.setattr(encode, "encode_text", lambda folder, text: read.extend(captions_of(folder)))
    assert encode.main([*videos, "--text", "anything"]) == 0
    assert sorted(set(read)) == ["A mine.", "mine 32"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--captioner", "http://127.0.0.1:9"], 2, "name one, e.g. --caption-model"),
        (["--caption-model", "m"], 2, "give its URL with --captioner"),
        (["--captioner", "http://127.0.0.1:9", "--caption-model", "m"], 1, "http://127.0.0.1:9/v1 cannot be reached"),
    ],
)
def test_a_captioner_that_is_none_is_one_line(more, code, message, videos, capsys):
    assert encode.main([*videos, *more]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
