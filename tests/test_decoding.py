"""What a film shows does not depend on how its file says it: `Video.load` and training read the same, right frames."""

import warnings
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from sorajax.data.videos import probe, read_clip
from sorajax.decoding import in_order
from sorajax.request import Note
from sorajax.video import Video
from tests.data.films import film, level, numbers

THOUSANDTHS = Fraction(1, 1000)
CODECS = {"libx264": {"crf": "8", "bf": "0"}, "libvpx": {"crf": "4", "b": "5M", "auto-alt-ref": "0"}}


def pictures(count, size=(32, 48)):
    """Numbered grey frames."""
    return [np.full((*size, 3), level(number), np.uint8) for number in range(count)]


def frame_of(pixels, pix_fmt, **settings):
    """A frame with these pixels, RGB or RGBA, and attributes."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[-1] == 4 else "rgb24")
    frame = frame.reformat(format=pix_fmt, dst_colorspace="ITU709") if settings.get("colorspace") == 1 else frame
    frame = frame.reformat(format=pix_fmt)
    for name, value in settings.items():
        setattr(frame, name, value)
    return frame


def track(path, frames, codec="ffv1", pix_fmt="yuv444p", moments=None, sound=0.0, options=None, container=None,
          rate=8):  # fmt: skip
    """A film of one encoded track: frames or pixels at `moments` (ms; every 125 without), and seconds of silence."""
    moments = range(0, 125 * len(frames), 125) if moments is None else moments
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or CODECS.get(codec, {}))
        first = frames[0]
        stream.height, stream.width = first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = THOUSANDTHS
        if not isinstance(first, np.ndarray):
            for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
                setattr(stream.codec_context, name, int(getattr(first, name)))
        silence = out.add_stream("libopus", rate=48000) if sound else None
        packets, increasing = list[av.Packet](), all(np.diff(moments) > 0)
        for number, picture in enumerate(frames):
            frame = frame_of(picture, pix_fmt) if isinstance(picture, np.ndarray) else picture
            frame.pts, frame.time_base = 125 * number, THOUSANDTHS
            packets += stream.encode(frame)
        for place, packet in enumerate([*packets, *stream.encode()]):
            packet.pts = moments[place]
            packet.dts = moments[place] if increasing else place - len(frames)
            out.mux(packet)
        for number in range(round(sound * 50) if silence else 0):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            heard.sample_rate, heard.pts = 48000, 960 * number
            out.mux(silence.encode(heard))
        if silence:
            out.mux(silence.encode())
    return path


# how long a film lasts


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
@pytest.mark.parametrize("case", ["sound", "late", "late sound", "unsaid"])
def test_a_film_lasts_as_long_as_its_frames_are_shown(tmp_path, suffix, case):
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


def test_a_film_that_is_cut_short_is_still_noted(tmp_path):
    path = track(tmp_path / "film.mkv", pictures(64), "libx264", "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(Note, match="says that it lasts 8 s, and ends after .*: perhaps cut short"):
        Video.load(path)


# mirrors and turns


def corners(h=24, w=36):
    """A picture whose four quarters differ, so that it looks like none of its mirrors."""
    picture = np.zeros((h, w, 3), np.uint8)
    picture[: h // 2, : w // 2], picture[: h // 2, w // 2 :] = (220, 30, 30), (30, 200, 40)
    picture[h // 2 :, : w // 2], picture[h // 2 :, w // 2 :] = (40, 60, 210), (230, 230, 230)
    return picture


STORED = {  # by Exif orientation: how an upright picture lies in the file
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}
MATRICES = {  # the same as display matrices: x' = a x + c y, y' = b x + d y
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


def seen_alike(path, expected, closeness=12, still=False):
    """Both doors show the expected picture, in full and in a bucket of half the size."""
    h, w = expected.shape[:2]
    facts = probe(str(path))
    assert (facts.height, facts.width) == (h, w)
    for clip in (Video.load(path).frames, read_clip(str(path), 0.0, 1, 8.0)):
        assert clip.shape[1:] == expected.shape
        assert np.abs(clip[0].astype(int) - expected).mean() <= closeness
    small = read_clip(str(path), 0.0, 1, 8.0, (h // 2, w // 2))
    assert np.abs(small[0].astype(int) - expected[::2, ::2]).mean() <= closeness + 6


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_picture_is_mirrored_and_turned_as_its_exif_says(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](corners())))
    image.save(tmp_path / f"photo{suffix}", exif=exif, quality=95)
    seen_alike(tmp_path / f"photo{suffix}", corners())


@pytest.mark.parametrize("orientation", MATRICES)
def test_a_film_is_mirrored_and_turned_as_its_matrix_says(tmp_path, orientation):
    stored = np.ascontiguousarray(STORED[orientation](corners()))
    path = film(tmp_path / "film.mp4", np.stack([stored] * 3))
    a, b, c, d = (round(part * 0x10000) & 0xFFFFFFFF for part in MATRICES[orientation])
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = b"".join(x.to_bytes(4, "big") for x in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
    path.write_bytes(content)
    seen_alike(path, corners())


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
def test_times_grow_in_the_order_of_the_frames(stamps, moments):
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
def test_frames_with_stamps_out_of_order_are_all_shown(tmp_path, codec, moments):
    pix_fmt = "yuv444p" if codec == "ffv1" else "yuv420p"
    path = track(tmp_path / "film.mkv", pictures(10), codec, pix_fmt, moments)
    assert numbers(Video.load(path).frames) == list(range(10))
    assert numbers(read_clip(str(path), 0.0, 10, 8.0)) == list(range(10))


def test_an_odd_time_stamp_makes_no_thousands_of_frames(tmp_path):
    jump = [*range(0, 1000, 125), *range(3_600_000, 3_601_000, 125)]  # an hour
    path = track(tmp_path / "hole.mkv", pictures(16), moments=jump)
    with pytest.warns(Note, match="holds a frame for 3599.12 s: it is made 10 s"):
        video = Video.load(path)
    assert video.fps == pytest.approx(8)
    assert len(video.frames) == pytest.approx(8 + 79 + 8, abs=1)
    assert sorted(set(numbers(video.frames))) == list(range(16))
    odd = [0, 125, 250, 3_600_000, 500, 625, 750, 875]
    for suffix in (".mkv", ".mp4"):
        path = track(tmp_path / f"odd{suffix}", pictures(8), "libx264", "yuv420p", odd)
        assert numbers(Video.load(path).frames) == list(range(8))


def test_a_rate_that_is_not_that_of_the_frames_makes_no_thousands(tmp_path):
    moments = [round(1000 * number / 30) for number in range(60)]
    path = track(tmp_path / "film.webm", pictures(60), "libvpx", "yuv420p", moments, rate=1000)
    video = Video.load(path)
    assert video.fps == pytest.approx(30, rel=0.02)
    assert numbers(video.frames) == [number % 40 for number in range(60)]
    path = track(tmp_path / "fast.mkv", pictures(500), moments=range(500), rate=1000)
    with pytest.warns(Note, match="has 1000 frames a second: it is read at 120"):
        video = Video.load(path)
    assert (video.fps, len(video.frames)) == (120, pytest.approx(60, abs=2))
