"""Files are written and read completely or not at all, and losses are reported."""

import base64
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sorajax.data.videos.decode import BrokenVideo, probe
from sorajax.media.video import Film, Video, check_output
from tests.data.videos.films import smooth

METADATA = {"prompt": "a réd ball 🎈", "seed": 7, "settings": {"steps": 30}, "version": "0.1.0"}
SUFFIXES = (".mp4", ".gif", ".webp", ".png")
CLOSENESS = {".mp4": 6, ".gif": 12, ".webp": 8, ".png": 0}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("t", [1, 9])
def test_a_saved_video_loads_as_it_was(tmp_path, suffix, t):
    video = Video(smooth(t), 8.0, METADATA)
    path = video.save(tmp_path / f"clip{suffix}")
    back = Video.load(path)
    assert back.frames.shape == video.frames.shape
    assert back.fps == 8.0
    assert np.abs(back.frames.astype(int) - video.frames).mean() <= CLOSENESS[suffix]
    assert {key: back.metadata[key] for key in METADATA} == METADATA
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"clip{suffix}", f"clip{suffix}.json"]
    assert json.loads((tmp_path / f"clip{suffix}.json").read_text()) == back.metadata


def test_a_generated_film_can_be_read_once(tmp_path):
    film = Film(iter([smooth(2), smooth(3)]), 5, 32, 48, 8.0)
    replace(film, metadata={"task": "text"}).save(tmp_path / "a.webp")
    with pytest.raises(ValueError, match="a film is generated while it is read, once: use the video that its `whole"):
        film.save(tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "a.webp.json"]
    film = Film(iter([smooth(2), smooth(3)]), 5, 32, 48, 8.0)
    assert (len(film.frames), film.seconds) == (5, 5 / 8)
    film.save(tmp_path / "b.mp4")
    assert len(Video.load(tmp_path / "b.mp4").frames) == 5


def test_a_file_name_too_long_for_its_json_is_refused(tmp_path):
    for length in (240, 300):
        with pytest.raises(OSError, match="is too long a name: use 220 bytes at most"):
            check_output(tmp_path / f"{'a' * length}.mp4")
    Video(smooth(1), 8).save(tmp_path / f"{'a' * 215}.webp")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_is_kept_without_overwrite(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        Video(smooth(1), 8).save(path)
    assert path.read_bytes() == b"precious"
    Video(smooth(1), 8).save(path, overwrite=True)
    assert Video.load(path).frames.shape == (1, 32, 48, 3)


@pytest.mark.parametrize("suffix", [".avi", "", ".jpeg"])
def test_an_unknown_suffix_is_refused(tmp_path, suffix):
    with pytest.raises(ValueError, match="unknown suffix"):
        Video(smooth(), 8).save(tmp_path / f"clip{suffix}")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        check_output(tmp_path / "file" / "clip.mp4")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_save_leaves_nothing(tmp_path, suffix, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sorajax.media.video.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Video(smooth(), 8).save(tmp_path / f"clip{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", ["cut", "junk"])
def test_a_damaged_file_is_reported(tmp_path, suffix, content):
    path = Video(smooth(), 8).save(tmp_path / f"clip{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 5] if content == "cut" else b"junk" * 100)
    with pytest.raises(ValueError, match="no readable"):
        Video.load(path)


def test_a_file_that_ends_within_its_index_is_not_decoded(tmp_path):
    """FFmpeg reads a part of the index, and crashes at times when it decodes by that."""
    path = Video(smooth(), 8).save(tmp_path / "clip.mp4")
    whole = path.read_bytes()
    end = whole.index(b"moov") - 4 + int.from_bytes(whole[whole.index(b"moov") - 4 :][:4], "big")
    for length in (end - 1, whole.index(b"moov") + 4):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"its index needs {end} bytes, and it has {length}"):
            Video.load(path)
        with pytest.raises(BrokenVideo, match="its index needs"):
            probe(str(path))
    path.write_bytes(whole[: end + (len(whole) - end) // 2])
    with pytest.raises(ValueError, match="no readable video") as raised:
        Video.load(path)
    assert "its index" not in str(raised.value)


@pytest.mark.parametrize(
    ("frames", "fps"),
    [(smooth().astype(np.float32), 8), (smooth()[0], 8), (smooth()[..., :2], 8), (smooth()[:0], 8), (smooth(), 0)],
)
def test_frames_of_a_wrong_type_or_shape_are_refused(frames, fps):
    with pytest.raises(ValueError, match=r"video needs|not positive"):
        Video(frames, fps)


@pytest.mark.parametrize(("t", "kind"), [(5, b"ftyp"), (1, b"PNG")])
def test_a_notebook_shows_a_video_without_ffmpeg(t, kind, monkeypatch):
    monkeypatch.setenv("PATH", "")
    html = Video(smooth(t), 8, METADATA)._repr_html_()
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", html)
    assert data
    assert kind in base64.b64decode(data[1])[:16]


def test_importing_video_loads_no_heavy_library():
    heavy = "any(name in sys.modules for name in ('jax', 'av', 'PIL', 'mediapy'))"
    code = f"import sys, sorajax.media.video; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("suffix", [".mp4", ".webp"])
def test_a_trimmed_video_equals_that_part_of_the_whole(tmp_path, suffix, monkeypatch):
    frames = np.repeat(np.arange(24, dtype=np.uint8)[:, None, None, None] * 10, 16, 1).repeat(16, 2).repeat(3, 3)
    path = Video(frames, 8.0).save(tmp_path / f"a{suffix}")
    whole = Video.load(path).frames
    for start, end in ((0.5, 1.25), (0.0, 0.3), (2.0, 99.0), (1.0, math.inf)):
        part = Video.load(path, start=start, end=end)
        assert np.array_equal(part.frames, whole[round(start * 8) : round(min(end, 3) * 8)])
    with pytest.raises(ValueError, match="lasts 3 s and has no frame at 5 s: trim an earlier part"):
        Video.load(path, start=5, end=6)
    with pytest.raises(ValueError, match=r"no frame begins from 1 to 1.01 s, and one lasts 0.125 s: trim a longer"):
        Video.load(path, start=1, end=1.01)


def test_temporary_files_of_a_killed_process_are_deleted_by_the_next_save(tmp_path):
    (tmp_path / ".a.webp.999999999.part").write_text("")
    (tmp_path / f".a.webp.{os.getppid()}.part").write_text("")
    Video(smooth(1), 8).save(tmp_path / "a.webp")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.webp.{os.getppid()}.part", "a.webp", "a.webp.json"]


@pytest.mark.parametrize("name", ["cli:x.mp4", "file:x.mp4", "pipe:1.mp4", "cli:folder/x.mp4", "a::b.mp4", "x:.webp"])
def test_a_name_that_looks_like_a_protocol_is_a_file_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video = Video(np.stack([np.full((16, 16, 3), 60 * i, np.uint8) for i in range(3)]), 8.0)
    assert str(video.save(name)) == name
    assert (tmp_path / name).is_file()
    assert (tmp_path / f"{name}.json").is_file()
    assert len(Video.load(name).frames) == 3
    assert not list(tmp_path.rglob("*.part"))
