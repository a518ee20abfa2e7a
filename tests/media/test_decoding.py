"""`Video.load` and training read the right frames, whatever a file states about its times."""

import tracemalloc
import warnings
from types import SimpleNamespace

import av
import numpy as np
import pytest

from sorajax.data.videos.decode import probe, read_clip
from sorajax.errors import Note
from sorajax.media.decoding import in_order
from sorajax.media.video import Video
from sorajax.sampling.pixels import fit_clip
from tests.data.videos.films import numbers, pictures, track

# how long a film lasts


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
@pytest.mark.parametrize("case", ["sound", "late", "late sound", "unsaid"])
def test_a_videos_duration_is_that_of_its_frames(tmp_path, suffix, case):
    if suffix == ".mp4" and case == "unsaid":
        pytest.skip("every mp4 says it")
    moments = range(2000 * case.startswith("late"), 2000 * case.startswith("late") + 2000, 125)
    codec, settings = "libvpx" if suffix == ".webm" else "libx264", {"live": "1"} if case == "unsaid" else {}
    sound = 5.0 * case.endswith("sound")
    path = track(tmp_path / f"film{suffix}", pictures(16), codec, "yuv420p", moments, sound, container=settings)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        assert numbers(Video.load(path).frames) == list(range(16))
    assert not [str(given.message) for given in notes if "cut short" in str(given.message)]
    assert probe(str(path)).seconds == pytest.approx(2.0, abs=0.02)
    assert numbers(read_clip(str(path), 1.0, 8, 8.0)) == list(range(8, 16))


def test_a_truncated_video_is_reported(tmp_path):
    path = track(tmp_path / "film.mkv", pictures(64), "libx264", "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(Note, match="states a duration of 8 s, and ends after .*: perhaps cut short"):
        Video.load(path)


# time stamps


def moments_of(stamps, step=1.0):
    """What `in_order` makes of these stamps; the frames are their numbers."""
    frames = [SimpleNamespace(time=stamp, number=number) for number, stamp in enumerate(stamps)]
    found = list(in_order(frames, step))
    assert [frame.number for _, frame in found] == list(range(len(stamps)))
    return [moment for moment, _ in found]


@pytest.mark.parametrize(
    ("stamps", "moments"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([5, 6, 9, 10], [5, 6, 9, 10]),
        ([0, 0, 2, 2, 4, 4], [0, 1, 2, 3, 4, 5]),
        ([0, 0, 0, 3, 3, 3, 6], [0, 1, 2, 3, 4, 5, 6]),
        ([0, 1, 2, 1, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 2, 95000, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, None, 3, None], [0, 1, 2, 3, 4]),
        ([None, None, None], [0, 1, 2]),
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([7, 8, 9, 0, 1, 2], [7, 8, 9, 10, 11, 12]),
    ],
)
def test_presentation_times_increase_in_decoding_order(stamps, moments):
    assert moments_of(stamps) == pytest.approx(moments)


@pytest.mark.parametrize("codec", ["ffv1", "libvpx"])
@pytest.mark.parametrize(
    "moments",
    [
        [0, 0, 250, 250, 500, 500, 750, 750, 1000, 1000],
        [0, 125, 250, 200, 500, 625, 750, 875, 1000, 1125],
        [0, 125, 250, 375, 375, 375, 750, 875, 1000, 1125],
    ],
)
def test_frames_with_time_stamps_out_of_order_are_all_read(tmp_path, codec, moments):
    pix_fmt = "yuv444p" if codec == "ffv1" else "yuv420p"
    path = track(tmp_path / "film.mkv", pictures(10), codec, pix_fmt, moments)
    assert numbers(Video.load(path).frames) == list(range(10))
    assert numbers(read_clip(str(path), 0.0, 10, 8.0)) == list(range(10))


def test_one_wrong_time_stamp_adds_no_thousands_of_frames(tmp_path):
    jump = [*range(0, 1000, 125), *range(3_600_000, 3_601_000, 125)]  # an hour
    path = track(tmp_path / "hole.mkv", pictures(16), moments=jump)
    with pytest.warns(Note, match="shows one frame for 3599.12 s: it is shortened to 10 s"):
        video = Video.load(path)
    assert video.fps == pytest.approx(8)
    assert len(video.frames) == pytest.approx(8 + 79 + 8, abs=1)
    assert sorted(set(numbers(video.frames))) == list(range(16))
    odd = [0, 125, 250, 3_600_000, 500, 625, 750, 875]
    for suffix in (".mkv", ".mp4"):
        path = track(tmp_path / f"odd{suffix}", pictures(8), "libx264", "yuv420p", odd)
        assert numbers(Video.load(path).frames) == list(range(8))
        assert probe(str(path)).seconds == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", [".mkv", ".png"])
def test_a_loaded_clip_is_in_memory_once(tmp_path, suffix):
    clip = np.random.default_rng(0).integers(0, 255, (100, 96, 128, 3)).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    _ = track(path, list(clip)) if suffix == ".mkv" else Video(clip, 8.0).save(path)
    Video.load(path)  # what is imported meanwhile does not count
    tracemalloc.start()
    video = Video.load(path)
    most = tracemalloc.get_traced_memory()[1]
    fitted_clip = fit_clip(video, 128, 96, 8.0)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert most < 1.5 * clip.nbytes
    assert np.shares_memory(fitted_clip, video.frames)
    assert after < 1.5 * clip.nbytes


# interlacing


def interlaced(path):
    """A white bar that moves 4 columns from frame to frame, 2 from field to field."""
    fields = []
    for number in range(10):
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[0::2, 4 * number : 4 * number + 24] = 255
        picture[1::2, 4 * number + 2 : 4 * number + 26] = 255
        fields.append(picture)
    return track(path, fields, "libx264", "yuv420p", options={"crf": "1", "bf": "0", "x264-params": "tff=1"})


def combed(clip):
    """How much neighbouring rows differ."""
    return float(np.abs(np.diff(clip.astype(int), axis=1)).mean())


def test_interlaced_frames_are_deinterlaced(tmp_path):
    path = interlaced(tmp_path / "a.mkv")
    with av.open(str(path)) as container:
        raw = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    clip = Video.load(path).frames
    assert clip.shape == raw.shape
    assert combed(clip) < combed(raw) / 4
    assert np.array_equal(clip, read_clip(str(path), 0.0, 10, 8.0))
    assert probe(str(path)).seconds == pytest.approx(1.25)
    assert np.abs(read_clip(str(path), 0.5, 4, 8.0).astype(int) - clip[4:8]).mean() < 3
