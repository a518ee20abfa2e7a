"""Preparation keeps every good clip once, gives a reason for every other, and resumes wherever it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.records import decode_frames, encode_frames
from sorajax.data.videos import preparation
from sorajax.data.videos.decode import read_clip
from sorajax.data.videos.preparation import Preparation, prepare, prepare_part, prepared_records
from tests.data.videos.films import film, moving

BUCKETS = (Bucket(9, 32, 32, batch_size=4), Bucket(9, 32, 48, batch_size=4), Bucket(1, 32, 48, batch_size=4))
SETTINGS = Preparation(buckets=BUCKETS, videos_per_part=3, most_broken=0.5)


def in_turn(folder, parts, runner):
    """In place of Beam: the parts one after another."""
    for part in parts:
        prepare_part(folder, part)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Nine films: five good ones (two shots in one), a dark, a static, a short, a double; and two broken files."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(4):
        film(folder / f"good{seed}.mp4", moving(seed, 18))
        (folder / f"good{seed}.txt").write_text(f"clip {seed}")
    film(folder / "cut.mp4", np.concatenate([moving(10, 12), moving(11, 12)]))
    film(folder / "dark.mp4", moving(12, 9) // 32)
    film(folder / "static.mp4", np.stack([moving(13, 1)[0]] * 9))
    film(folder / "short.mp4", moving(14, 4))
    film(folder / "double.mp4", moving(0, 18))
    (folder / "junk.mp4").write_bytes(b"junk")
    (folder / "half.mp4").write_bytes((folder / "good0.mp4").read_bytes()[:800])
    return folder


@pytest.fixture
def local(monkeypatch):
    monkeypatch.setattr(preparation, "run_parts", in_turn)


def test_every_clip_is_kept_once_or_rejected_with_a_reason(videos, tmp_path, local):
    settings = Preparation(buckets=BUCKETS[:2], videos_per_part=3, most_broken=0.5)
    report = prepare(videos, tmp_path, settings, say=lambda text: None)
    assert report["rejected"] == {"too dark": 1, "static": 1, "too short": 1, "duplicate": 2}
    assert [Path(line["path"]).name for line in report["broken"]] == ["half.mp4", "junk.mp4"]
    clips, paths = prepared_records(tmp_path, BUCKETS[1])
    names = Counter(Path(path).name for path in paths)
    twice = Counter({f"good{seed}.mp4": 2 for seed in range(1, 4)})
    assert names - Counter({"cut.mp4": 2}) - twice in (Counter({"good0.mp4": 2}), Counter({"double.mp4": 2}))
    assert report["clips"] == len(clips) == 10
    starts = [json.loads(p.read_text())["clips"] for p in sorted((tmp_path / "clips").glob("*.json"))]
    cut = [clip["start"] for part in starts for clip in part if clip["path"].endswith("cut.mp4")]
    assert cut == [0.0, 1.5]
    said = [json.loads(path.read_text()) for path in (tmp_path / "clips").glob("*.json")]
    reasons = [line["reason"] for part in said for line in part["rejected"]]
    assert any("brightness 0.0" in reason and "limit 0.05" in reason for reason in reasons)


def test_prepared_pixels_and_captions_equal_the_source(videos, tmp_path, local):
    prepare(videos, tmp_path, SETTINGS, say=lambda text: None)
    clips, paths = prepared_records(tmp_path, BUCKETS[1])
    number = next(i for i, path in enumerate(paths) if path.endswith("good2.mp4"))
    record = clips[number]
    expected = moving(2, 18)[:9]
    assert record["caption"] == "clip 2"
    assert np.abs(decode_frames(record["pixels"]).astype(int) - expected).mean() < 8  # two codecs lie between


def test_preparation_is_deterministic_to_the_byte(videos):
    frames, rng = read_clip(str(videos / "cut.mp4"), 0, 9, 8.0, (32, 48)), np.random.default_rng(0)

    def bytes_in_other_memory():
        dirt = [rng.integers(0, 255, rng.integers(1_000, 300_000), np.uint8) for _ in range(5)]
        del dirt
        return encode_frames(frames)

    assert len({bytes_in_other_memory() for _ in range(100)}) == 1


def test_a_finished_folder_is_kept_and_another_request_refused(videos, tmp_path, local, monkeypatch):
    first = prepare(videos, tmp_path, SETTINGS, say=lambda text: None)
    monkeypatch.setattr(preparation, "run_parts", None)  # nothing is left to do
    assert prepare(videos, tmp_path, SETTINGS, say=lambda text: None) == first
    with pytest.raises(ValueError, match=r"was made with fps 8\.0, not 12\.0: choose another folder"):
        prepare(videos, tmp_path, Preparation(buckets=BUCKETS, fps=12.0), say=lambda text: None)


def test_too_many_broken_files_stop_the_run_and_are_named(videos, tmp_path, local):
    settings = Preparation(buckets=BUCKETS, most_broken=0.1)
    with pytest.raises(ValueError, match=r"2 of 11 videos are broken.*report\.json"):
        prepare(videos, tmp_path, settings, say=lambda text: None)


def test_a_killed_preparation_resumes_without_loss_or_duplicates(videos, tmp_path, local):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = prepare(videos, whole, SETTINGS, say=lambda text: None)
    script = (
        "import sys; from tests.data.videos import test_preparation as t;"
        "from sorajax.data.videos import preparation as p;"
        "p.run_parts = t.in_turn; p.prepare(sys.argv[1], sys.argv[2], t.SETTINGS)"
    )
    for wait in (0.05, 0.3, 0.2):
        process = subprocess.Popen([sys.executable, "-c", script, str(videos), str(killed)], start_new_session=True)
        deadline = time.monotonic() + 60
        while not (killed / "clips").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert prepare(videos, killed, SETTINGS, say=lambda text: None) == expected
    for bucket in BUCKETS[:2]:
        (a, a_paths), (b, b_paths) = prepared_records(whole, bucket), prepared_records(killed, bucket)
        assert a_paths == b_paths
        assert all(a[i] == b[i] for i in range(len(a)))


def test_progress_is_reported_while_workers_run(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SECONDS", 0.01)
    (tmp_path / "clips").mkdir()
    said, heard = [], Event()

    def say(text):
        said.append(text)
        heard.set()

    with preparation.show_progress(tmp_path, {0: 4, 1: 4, 2: 2}, say):
        (tmp_path / "clips" / "00001.json").write_text("{}")
        (tmp_path / "clips" / "00002.ready").write_text("1")
        assert heard.wait(10)
    assert said[-1].startswith(f"{tmp_path}: ")
    assert "of 10 videos prepared" in said[-1]
    assert [preparation.count_finished(tmp_path, part, 4) for part in range(3)] == [0, 4, 1]


def test_a_refused_preparation_leaves_no_folder(videos, tmp_path, monkeypatch):
    def refuse(folder, parts, runner):
        raise ValueError("no such runner")

    monkeypatch.setattr(preparation, "run_parts", refuse)
    with pytest.raises(ValueError, match="no such runner"):
        prepare(videos, tmp_path / "out", SETTINGS, say=lambda text: None)
    assert not (tmp_path / "out").exists()
