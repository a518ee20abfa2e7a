"""A clip has the frames shown at its times, upright and not stretched; broken files are reported."""

from fractions import Fraction

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.videos.decode import BrokenVideo, EndsEarly, least_waste, probe, read_clip
from tests.data.videos.films import encoded_at, film, numbers


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("films") / "numbered.mp4", 36)


def test_size_rate_and_duration_are_those_of_the_file(clip):
    facts = probe(str(clip))
    assert (facts.height, facts.width, facts.fps) == (32, 48, 8.0)
    assert facts.seconds == pytest.approx(36 / 8)


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (1.0, 8), (1.3, 10), (2.5, 20)])
def test_a_clip_begins_with_the_frame_shown_at_its_start(clip, start, first):
    assert numbers(read_clip(str(clip), start, 5, 8.0)) == list(range(first, first + 5))


def test_another_rate_takes_the_frames_shown_at_each_time(clip):
    assert numbers(read_clip(str(clip), 0.5, 5, 4.0)) == [4, 6, 8, 10, 12]
    assert numbers(read_clip(str(clip), 0.5, 5, 16.0)) == [4, 4, 5, 5, 6]


def test_a_variable_rate_becomes_constant(tmp_path):
    times = [0, 100, 600, 700, 1500, 1600, 2000]
    path = film(tmp_path / "vfr.mkv", len(times), times=times)
    assert numbers(read_clip(str(path), 0.0, 17, 10.0)) == [0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5]


def test_a_rotated_video_is_read_upright(tmp_path):
    pixels = np.zeros((9, 32, 48, 3), np.uint8)
    pixels[:, :, :24] = 200  # bright on the left
    plain, turned = film(tmp_path / "plain.mp4", pixels), tmp_path / "turned.mp4"
    turn(plain, turned)
    facts, frames = probe(str(turned)), read_clip(str(turned), 0, 9, 8.0)
    assert (facts.height, facts.width) == frames.shape[1:3] == (48, 32)
    top, bottom = frames[:, :20].mean(), frames[:, 28:].mean()
    assert abs(top - bottom) > 150
    assert read_clip(str(turned), 0, 9, 8.0, (24, 16)).shape == (9, 24, 16, 3)


def turn(source, target):
    """Sets the display matrix of an mp4 to a quarter turn, without touching its frames: in `tkhd`, after its times."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    assert content[at : at + 4] == (0x10000).to_bytes(4, "big")
    rows = [(0, 0x10000, 0), (-0x10000 & 0xFFFFFFFF, 0, 0), (32 << 16, 0, 0x40000000)]
    content[at : at + 36] = b"".join(x.to_bytes(4, "big") for row in rows for x in row)
    target.write_bytes(content)


def test_a_clip_is_scaled_and_cropped_to_its_bucket(tmp_path):
    pixels = np.zeros((5, 60, 120, 3), np.uint8)
    y, x = np.mgrid[:60, :120]
    pixels[:, (y - 30) ** 2 + (x - 60) ** 2 < 20**2] = 255  # a disc stays a disc
    path = film(tmp_path / "disc.mp4", pixels)
    for size in ((40, 40), (40, 64), (64, 40), (90, 90)):
        frames = read_clip(str(path), 0, 5, 8.0, size)
        assert frames.shape == (5, *size, 3)
        bright = frames[0].mean(-1) > 128
        height, width = bright.any(1).sum(), bright.any(0).sum()
        assert abs(height - width) <= 2
        assert not bright.all()


def test_pixels_that_are_not_square_are_resampled(tmp_path):
    path = tmp_path / "wide.mp4"
    encoded_at(path, range(0, 400, 40), sample_aspect_ratio=Fraction(2, 1))
    facts = probe(str(path))
    assert (facts.height, facts.width) == (32, 96)
    assert read_clip(str(path), 0.0, 2, 25.0).shape == (2, 32, 96, 3)
    whole = read_clip(str(path), 0.0, 1, 25.0, (32, 96))  # from dark to light, from one side to the other
    half = read_clip(str(path), 0.0, 1, 25.0, (16, 48))
    assert np.abs(whole[0, ::2, ::2].astype(int) - half[0]).max() <= 6


@pytest.mark.parametrize("content", [b"", b"no film" * 99, None])
def test_a_broken_file_is_one_line_with_its_name(tmp_path, clip, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(clip.read_bytes()[:900] if content is None else content)
    for reading in (lambda: probe(str(path)), lambda: read_clip(str(path), 0, 5, 8.0)):
        with pytest.raises(BrokenVideo, match=r"^[^\n]*broken\.mp4[^\n]*$"):
            reading()
    with pytest.raises(BrokenVideo, match="gone"):
        probe(str(tmp_path / "gone.mp4"))


def test_a_clip_beyond_the_end_names_the_duration(clip):
    with pytest.raises(EndsEarly, match=r"ends at 4\.375 s, before"):
        read_clip(str(clip), 3.0, 17, 8.0)


B = [Bucket(17, 64, 64), Bucket(17, 64, 96), Bucket(17, 96, 64), Bucket(33, 64, 64), Bucket(1, 64, 64)]


@pytest.mark.parametrize(
    ("seconds", "height", "width", "bucket", "count"),
    [
        (2.125, 480, 480, B[0], 1),
        (2.125, 480, 720, B[1], 1),
        (2.125, 720, 480, B[2], 1),
        (4.125, 480, 480, B[3], 1),
        (8.5, 480, 480, B[0], 4),
        (6.0, 1080, 1920, B[1], 2),
        (1.0, 480, 480, B[4], 1),
    ],
)
def test_the_bucket_that_wastes_least_is_chosen(seconds, height, width, bucket, count):
    assert least_waste(seconds, height, width, B, 8.0) == (bucket, count)


def test_a_video_that_is_too_short_has_no_bucket():
    assert least_waste(1.0, 64, 64, B[:4], 8.0) is None
    assert least_waste(0.0, 64, 64, B, 8.0, still=True) == (B[4], 1)
    large, small = Bucket(17, 128, 128), Bucket(17, 64, 64)
    assert least_waste(2.2, 256, 256, [small, large], 8.0) == (large, 1)
    assert least_waste(2.2, 64, 64, [small, large], 8.0) == (small, 1)
