"""Video files are read at a constant frame rate and at one size."""

from fractions import Fraction

import av
import numpy as np
import pytest

from sorajax.data.videos.decode import read_clip
from sorajax.data.videos.filters import shots
from sorajax.errors import Note
from sorajax.media.video import Video
from sorajax.media.video_reader import resample
from tests.data.videos.films import encoded_at, frame_of, level, numbers, pictures, track


def test_frames_dropped_at_a_variable_rate_are_reported(tmp_path):
    encoded_at(tmp_path / "uneven.mp4", [*range(0, 500, 40), *range(4000, 4500, 40)])
    with pytest.warns(Note, match=r"has a variable frame rate: \d+ of 26 frames are dropped"):
        Video.load(tmp_path / "uneven.mp4")
    with pytest.warns(Note, match=r"has a variable frame rate: \d+ of 1\d frames are dropped"):
        Video.load(tmp_path / "uneven.mp4", end=0.5)


def test_resampling_takes_the_nearest_frames():
    assert resample(np.array([0.0, 0.1, 0.4]), 10.0).tolist() == [0, 1, 1, 2, 2]
    assert resample(np.arange(5) / 8 + 3, 8.0).tolist() == [0, 1, 2, 3, 4]
    shown = np.sort(np.random.default_rng(0).random(2500)) * 100  # a long film
    chosen = resample(shown, 25.0)
    moments = shown[0] + np.arange(len(chosen)) / 25
    assert np.array_equal(chosen, np.abs(moments[:, None] - shown).argmin(1))


def test_pixels_that_are_not_square_are_resized_to_the_display_width(tmp_path):
    encoded_at(tmp_path / "wide.mp4", range(0, 200, 40), sample_aspect_ratio=Fraction(2, 1))
    with pytest.warns(Note, match="are not square"):
        assert Video.load(tmp_path / "wide.mp4").frames.shape == (5, 32, 96, 3)


def test_a_stated_frame_rate_above_the_real_one_adds_no_frames(tmp_path):
    moments = [round(1000 * number / 30) for number in range(60)]
    path = track(tmp_path / "film.webm", pictures(60), "libvpx", "yuv420p", moments, rate=1000)
    video = Video.load(path)
    assert video.fps == pytest.approx(30, rel=0.02)
    assert numbers(video.frames) == [number % 40 for number in range(60)]
    path = track(tmp_path / "fast.mkv", pictures(500), moments=range(500), rate=1000)
    with pytest.warns(Note, match="has 1000 frames per second: it is read at 120"):
        video = Video.load(path)
    assert (video.fps, len(video.frames)) == (120, pytest.approx(60, abs=2))


def switching(path, shown=range(16)):
    """A film of 16 numbered frames, the second half of them half as large."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for half, (width, height) in enumerate(((96, 64), (48, 32))):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.options = Fraction(1, 8), {"crf": "4", "b": "5M", "auto-alt-ref": "0"}
            packets = []
            for number, index in enumerate(shown[8 * half : 8 * half + 8]):
                frame = frame_of(np.full((height, width, 3), level(index), np.uint8), "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 8)
                packets += encoder.encode(frame)
            for number, packet in enumerate([*packets, *encoder.encode(None)]):
                packet.stream, packet.time_base = stream, Fraction(1, 8)
                packet.pts = packet.dts = 8 * half + number
                out.mux(packet)
    return path


def test_a_track_that_changes_its_frame_size_keeps_the_first_one(tmp_path):
    path = switching(tmp_path / "a.webm")
    with pytest.warns(Note, match=r"a\.webm changes its frame size: .* to the first one's, 96x64"):
        video = Video.load(path)
    assert video.frames.shape == (16, 64, 96, 3)
    assert numbers(video.frames) == list(range(16))
    assert numbers(read_clip(str(path), 0.0, 16, 8.0)) == list(range(16))
    assert read_clip(str(path), 0.0, 16, 8.0, (32, 32)).shape == (16, 32, 32, 3)


def test_shots_are_found_in_a_track_that_changes_its_frame_size(tmp_path):
    path = switching(tmp_path / "a.webm", [0] * 12 + [38] * 4)
    assert shots(str(path), 0.0, 2.0, 3.0) == [(0.0, pytest.approx(1.5)), (pytest.approx(1.5), 2.0)]
