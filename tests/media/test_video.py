"""Laws of the door to files: what goes in comes out, whole or not at all, and nothing is lost silently."""

import base64
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from sorajax.errors import Note
from sorajax.media.formats import durations, resample
from sorajax.media.video import Film, Video, check_output

METADATA = {"prompt": "a réd ball 🎈", "seed": 7, "settings": {"steps": 30}, "version": "0.1.0"}
SUFFIXES = (".mp4", ".gif", ".webp", ".png")
CLOSENESS = {".mp4": 6, ".gif": 12, ".webp": 8, ".png": 0}


def smooth(t=9, h=32, w=48):
    """A picture of few, slowly changing colours, with two equal frames in the middle."""
    time, row, column = np.meshgrid(np.arange(t), np.arange(h), np.arange(w), indexing="ij")
    frames = np.stack([40 + 10 * time, 60 + 2 * row, 80 + 2 * column], axis=-1).astype(np.uint8)
    if t > 4:
        frames[4] = frames[3]
    return frames


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("t", [1, 9])
def test_what_is_saved_is_loaded(tmp_path, suffix, t):
    video = Video(smooth(t), 8.0, METADATA)
    path = video.save(tmp_path / f"clip{suffix}")
    back = Video.load(path)
    assert back.frames.shape == video.frames.shape
    assert back.fps == 8.0
    assert np.abs(back.frames.astype(int) - video.frames).mean() <= CLOSENESS[suffix]
    assert {key: back.metadata[key] for key in METADATA} == METADATA
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"clip{suffix}", f"clip{suffix}.json"]
    assert json.loads((tmp_path / f"clip{suffix}.json").read_text()) == back.metadata


@pytest.mark.parametrize("fps", [8, 7.5, 24, 30000 / 1001])
def test_mp4_keeps_the_frame_rate(tmp_path, fps):
    assert Video.load(Video(smooth(), fps).save(tmp_path / "clip.mp4")).fps == pytest.approx(fps, rel=1e-5)


def test_mp4_plays_everywhere(tmp_path):
    """H.264, 4:2:0, BT.709 limited range, index in front of the pictures; flat colours come back within 2."""
    import av

    colour = np.broadcast_to(np.array([200, 40, 90], np.uint8), (5, 32, 32, 3)).copy()
    path = Video(colour, 8).save(tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (stream.codec_context.name, frame.format.name) == ("h264", "yuv420p")
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - colour[0]).max() <= 2
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_durations_add_up_to_the_length():
    assert sum(durations(8, 8, 10)) == 1000
    assert set(durations(8, 8, 10)) <= {120, 130}
    assert set(durations(120, 120, 1)) <= {8, 9}


def test_frames_that_are_shown_longer_take_no_others_away(tmp_path):
    """As in gifs that hold their last frame: the rate is that of most frames."""
    pictures = [Image.fromarray(frame) for frame in smooth(6)]
    times = {"save_all": True, "append_images": pictures[1:], "duration": [40] * 5 + [400]}
    pictures[0].save(tmp_path / "held.png", **times)
    video = Video.load(tmp_path / "held.png")
    assert video.fps == 25
    assert np.array_equal(video.frames, smooth(6)[[0, 1, 2, 3, 4, *[5] * 10]])
    times["duration"] = [40] * 5 + [60_000]
    pictures[0].save(tmp_path / "minute.png", **times)
    with pytest.warns(Note, match="shows one frame for 60 s: it is shortened to 10 s"):
        assert len(Video.load(tmp_path / "minute.png").frames) == 5 + 250
    times["append_images"], times["duration"] = pictures[1:2], [100, 300]
    pictures[0].save(tmp_path / "two.png", **times)
    assert np.array_equal(Video.load(tmp_path / "two.png").frames, smooth(6)[[0, 1, 1, 1]])
    still = np.concatenate([smooth(2), np.repeat(smooth(2)[1:], 126, 0)])  # our own says how it was
    back = Video.load(Video(still, 8.0).save(tmp_path / "own.png"))
    assert np.array_equal(back.frames, still)


def encoded_at(path, moments, **stream_settings):
    """An mp4 whose frames are shown at these moments, in thousandths."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in stream_settings.items():
            setattr(stream.codec_context, name, value)
        for pixels, moment in zip(smooth(len(moments)), moments, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_what_uneven_times_leave_out_is_said(tmp_path):
    encoded_at(tmp_path / "uneven.mp4", [*range(0, 500, 40), *range(4000, 4500, 40)])
    with pytest.warns(Note, match=r"has a variable frame rate: \d+ of 26 frames are dropped"):
        Video.load(tmp_path / "uneven.mp4")
    with pytest.warns(Note, match=r"has a variable frame rate: \d+ of 1\d frames are dropped"):
        Video.load(tmp_path / "uneven.mp4", end=0.5)


def test_pixels_that_are_not_square_are_shown_as_they_should_be(tmp_path):
    encoded_at(tmp_path / "wide.mp4", range(0, 200, 40), sample_aspect_ratio=Fraction(2, 1))
    with pytest.warns(Note, match="are not square"):
        assert Video.load(tmp_path / "wide.mp4").frames.shape == (5, 32, 96, 3)


def test_a_film_is_made_once_and_can_be_used_as_a_video(tmp_path):
    film = Film(iter([smooth(2), smooth(3)]), 5, 32, 48, 8.0)
    replace(film, metadata={"task": "text"}).save(tmp_path / "a.webp")
    with pytest.raises(ValueError, match="a film is generated while it is read, once: use the video that its `whole"):
        film.save(tmp_path / "b.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "a.webp.json"]
    film = Film(iter([smooth(2), smooth(3)]), 5, 32, 48, 8.0)
    assert (len(film.frames), film.seconds) == (5, 5 / 8)
    film.save(tmp_path / "b.mp4")
    assert len(Video.load(tmp_path / "b.mp4").frames) == 5


def test_a_name_without_room_for_what_belongs_to_it_is_refused(tmp_path):
    for length in (240, 300):
        with pytest.raises(OSError, match="is too long a name: use 220 bytes at most"):
            check_output(tmp_path / f"{'a' * length}.mp4")
    Video(smooth(1), 8).save(tmp_path / f"{'a' * 215}.webp")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_stays(tmp_path, suffix):
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


def test_odd_sizes_are_refused_by_mp4_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="even sizes"):
        Video(smooth(2, 31, 48), 8).save(tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
    assert Video.load(Video(smooth(2, 31, 47), 8).save(tmp_path / "clip.webp")).frames.shape == (2, 31, 47, 3)


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
def test_a_damaged_file_is_named(tmp_path, suffix, content):
    path = Video(smooth(), 8).save(tmp_path / f"clip{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 5] if content == "cut" else b"junk" * 100)
    with pytest.raises(ValueError, match="no readable"):
        Video.load(path)


@pytest.mark.parametrize(
    ("frames", "fps"),
    [(smooth().astype(np.float32), 8), (smooth()[0], 8), (smooth()[..., :2], 8), (smooth()[:0], 8), (smooth(), 0)],
)
def test_what_is_no_video_is_refused(frames, fps):
    with pytest.raises(ValueError, match=r"video needs|not positive"):
        Video(frames, fps)


@pytest.mark.parametrize(("t", "kind"), [(5, b"ftyp"), (1, b"PNG")])
def test_it_shows_itself_in_a_notebook_without_ffmpeg(t, kind, monkeypatch):
    monkeypatch.setenv("PATH", "")
    html = Video(smooth(t), 8, METADATA)._repr_html_()
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", html)
    assert data
    assert kind in base64.b64decode(data[1])[:16]


def test_importing_it_is_light():
    heavy = "any(name in sys.modules for name in ('jax', 'av', 'PIL', 'mediapy'))"
    code = f"import sys, sorajax.media.video; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_shows_through_is_white(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, 3:] = (200, 30, 10, 255)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    Image.fromarray(pixels[..., :3]).quantize(4).save(tmp_path / "palette.png")
    (frame,) = Video.load(tmp_path / "alpha.png").frames
    assert (frame[:, :3] == 255).all()
    assert (frame[:, 3:] == (200, 30, 10)).all()
    assert Video.load(tmp_path / "palette.png").frames.shape == (1, 4, 6, 3)
    Image.fromarray(np.array([[0, 32896, 65535]], np.uint16)).save(tmp_path / "sixteen.png")
    assert Video.load(tmp_path / "sixteen.png").frames[0, 0, :, 0].tolist() == [0, 128, 255]


def test_a_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.new("RGB", (6, 4)).save(tmp_path / "photo.jpg", exif=exif)
    assert Video.load(tmp_path / "photo.jpg").frames.shape == (1, 6, 4, 3)


def test_uneven_times_become_even():
    assert resample(np.array([0.0, 0.1, 0.4]), 10.0).tolist() == [0, 1, 1, 2, 2]
    assert resample(np.arange(5) / 8 + 3, 8.0).tolist() == [0, 1, 2, 3, 4]
    shown = np.sort(np.random.default_rng(0).random(2500)) * 100  # a long film
    chosen = resample(shown, 25.0)
    moments = shown[0] + np.arange(len(chosen)) / 25
    assert np.array_equal(chosen, np.abs(moments[:, None] - shown).argmin(1))


@pytest.mark.parametrize("suffix", [".mp4", ".webp"])
def test_a_part_is_what_the_whole_shows_then(tmp_path, suffix, monkeypatch):
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


def test_a_picture_without_times_shows_all_its_frames(tmp_path):
    from PIL import Image

    first, *rest = (Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 90, 180, 250))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    found = Video.load(tmp_path / "a.gif")
    assert found.fps == 10
    assert [int(frame.mean()) for frame in found.frames] == pytest.approx([0, 90, 180, 250], abs=3)


@pytest.mark.parametrize(
    "said", ['{"frames": null}', '{"frames": 10000000, "fps": 8}', '{"fps": 0}', '{"frames": 32, "fps": 8}']
)
def test_a_comment_that_is_not_of_the_picture_does_not_count(tmp_path, said):
    from PIL import Image

    Image.fromarray(smooth(1)[0]).save(tmp_path / "a.gif", comment=said.encode())
    assert Video.load(tmp_path / "a.gif").frames.shape == (1, 32, 48, 3)


def test_what_a_killed_process_left_goes_with_the_next_save(tmp_path):
    (tmp_path / ".a.webp.999999999.part").write_text("")
    (tmp_path / f".a.webp.{os.getppid()}.part").write_text("")
    Video(smooth(1), 8).save(tmp_path / "a.webp")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.webp.{os.getppid()}.part", "a.webp", "a.webp.json"]


def test_a_picture_of_floats_is_seen(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5], [1.0, 2.0]], np.float32)).save(tmp_path / "a.tiff")
    assert Video.load(tmp_path / "a.tiff").frames[0, :, :, 0].tolist() == [[0, 128], [255, 255]]


def test_a_gif_that_viewers_would_slow_down_is_noted(tmp_path):
    with pytest.warns(Note, match="a gif of 60 frames per second plays slowly in most viewers: use .mp4 or .webp"):
        Video(np.zeros((3, 8, 8, 3), np.uint8), 60.0).save(tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["cli:x.mp4", "file:x.mp4", "pipe:1.mp4", "cli:folder/x.mp4", "a::b.mp4", "x:.webp"])
def test_a_name_that_looks_like_a_protocol_is_a_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video = Video(np.stack([np.full((16, 16, 3), 60 * i, np.uint8) for i in range(3)]), 8.0)
    assert str(video.save(name)) == name
    assert (tmp_path / name).is_file()
    assert (tmp_path / f"{name}.json").is_file()
    assert len(Video.load(name).frames) == 3
    assert not list(tmp_path.rglob("*.part"))
