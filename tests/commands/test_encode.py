"""The command line that prepares and encodes videos, with Apache Beam's own workers."""

import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest

import sorajax
from sorajax.commands.encode import main
from sorajax.copies import fetched
from sorajax.data.buckets import Bucket
from sorajax.data.contexts import Contexts
from sorajax.data.videos.clips import VideoData, latent_clips
from sorajax.files import as_path, storage, write_atomically
from tests.data.videos.films import film, moving

WORLD = str(Path(sorajax.__file__).parent / "assets" / "world")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(4):
        film(folder / f"{seed}.mp4", moving(seed, 9, (40, 40)))
        (folder / f"{seed}.txt").write_text(f"square number {seed % 2}")
    (folder / "junk.mp4").write_bytes(b"junk")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("videos_per_part", ["8", "3"])
def test_videos_are_encoded_to_latents_and_captions_once(videos, tmp_path, capfd, videos_per_part):
    """By one worker, or by several, of a part each."""
    out = tmp_path / "mine"
    said = [str(videos), "--out", str(out), "--buckets", "5x32x32", "--batch", "2", "--most-broken", "0.3"]
    said += ["--videos-per-part", videos_per_part, "--vae", WORLD, "--text", WORLD]
    assert main(said) == 0
    printed, logged = capfd.readouterr()
    assert "WARNING" not in logged  # of Beam and its workers
    assert (out / "workers.log").exists()
    assert "1 broken files" in printed
    assert f"train on it with --data.folder {out}" in printed
    report = json.loads((out / "report.json").read_text())
    made_by = next((out / "latents").iterdir()).name
    data = VideoData(folder=out, buckets=(Bucket(5, 32, 32),), held_out=0.0)
    (clips,) = latent_clips(data, made_by)[0].values()
    assert len(clips) == report["clips"] > 0
    row, caption = clips.read(0, np.random.default_rng(0))
    assert row["latent"].shape == (2, 4, 4, 12)
    assert np.isfinite(row["latent"].astype(np.float32)).all()
    contexts = Contexts([out], next((out / "text").iterdir()).name, 48)
    assert contexts([caption])["context"].shape == (1, 48, 128)

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.arrayrecord")}
    assert main(said) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.arrayrecord")} == before


@pytest.mark.slow
def test_videos_and_latents_may_be_at_addresses(videos, tmp_path, capfd, monkeypatch):
    """Where the cache is empty, as on another machine, what is at the address is continued."""
    bucket = as_path(f"memory://{uuid.uuid4()}")
    for path in videos.iterdir():
        write_atomically(bucket / "videos" / path.name, lambda file, path=path: file.write_bytes(path.read_bytes()))
    said = [
        str(bucket / "videos"),
        "--out",
        str(bucket / "mine"),
        "--buckets",
        "5x32x32",
        "--batch",
        "2",
        "--vae",
        WORLD,
    ]
    said += ["--most-broken", "0.3", "--text", WORLD]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    assert main(said) == 0
    assert f"train on it with --data.folder {bucket / 'mine'}" in capfd.readouterr().out
    report = json.loads((bucket / "mine/report.json").read_text())
    folder = fetched(bucket / "mine")
    made_by = next((folder / "latents").iterdir()).name
    data = VideoData(folder=folder, buckets=(Bucket(5, 32, 32),), held_out=0.0)
    (clips,) = latent_clips(data, made_by)[0].values()
    assert len(clips) == report["clips"] > 0
    with storage(bucket) as (files, name):
        files.rm(f"{name}/mine/latents/{made_by}/00000.json")  # as if it had ended before
    shutil.rmtree(folder.parent)
    assert main(said) == 0
    printed = capfd.readouterr().out
    assert "part 1 of 1 encoded" in printed
    assert "captions" not in printed, "they are there"
    assert (bucket / f"mine/latents/{made_by}/00000.json").is_file()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--buckets", "5x32"], 2, "--buckets 5x32 is not FRAMESxHEIGHTxWIDTH, e.g. 17x64x64"),
        (["--fps", "0"], 2, "fps is 0.0: it must be positive"),
    ],
)
def test_bad_requests_are_one_line(more, code, message, videos, tmp_path, capsys):
    assert main([str(videos), "--out", str(tmp_path / "out"), *more]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_videos_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "empty") in error
    assert len(error.splitlines()) == 1


def test_missing_captions_are_reported_before_encoding(tmp_path, capsys):
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / "a.mp4", 9)
    said = [str(tmp_path / "films"), "--out", str(tmp_path / "out"), "--text", WORLD]
    assert main(said) == 1
    error = capsys.readouterr().err
    assert "none of 1 videos has a caption" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
