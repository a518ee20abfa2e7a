"""What a film shows does not depend on how its file says it: `Video.load` and training read the same, right frames."""

import tracemalloc
import warnings
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from sorajax.data.filters import shots
from sorajax.data.videos import probe, read_clip
from sorajax.decoding import in_order
from sorajax.formats import is_still
from sorajax.given import fitted
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
        assert probe(str(path)).seconds == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", [".mkv", ".png"])
def test_a_clip_is_not_held_twice(tmp_path, suffix):
    clip = np.random.default_rng(0).integers(0, 255, (100, 96, 128, 3)).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    _ = track(path, list(clip)) if suffix == ".mkv" else Video(clip, 8.0).save(path)
    Video.load(path)  # what is imported meanwhile does not count
    tracemalloc.start()
    video = Video.load(path)
    most = tracemalloc.get_traced_memory()[1]
    fitted_clip = fitted(video, 128, 96, 8.0)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert most < 1.5 * clip.nbytes
    assert np.shares_memory(fitted_clip, video.frames)
    assert after < 1.5 * clip.nbytes


def test_an_animation_of_a_thousand_frames_a_second_is_not_read_so(tmp_path):
    first, *rest = map(Image.fromarray, pictures(6))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, duration=[1, 1, 1, 1, 1, 900], lossless=True)
    video = Video.load(tmp_path / "a.webp")
    assert video.fps == 120
    assert len(video.frames) <= 110


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


# transparency


def half_transparent(h=24, w=36):
    """Its left half is transparent over red, its right half opaque."""
    picture = np.zeros((h, w, 4), np.uint8)
    picture[:, : w // 2], picture[:, w // 2 :] = (200, 0, 0, 0), (40, 60, 210, 255)
    return picture


def seen_over_white(path, w=36):
    expected = half_transparent(w=w)[..., :3].copy()
    expected[:, : w // 2] = 255
    for clip in (Video.load(path).frames, *(read_clip(str(path), 0.0, 1, 8.0, size) for size in (None, (24, w)))):
        difference = np.abs(clip[0].astype(int) - expected)
        assert difference[:, : w // 2 - 2].max() <= 4
        assert difference[:, w // 2 + 2 :].max() <= 24
    assert Video.load(path, behind="black").frames[0, :, : w // 2 - 2].max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_transparent_in_a_picture_is_white(tmp_path, suffix, count):
    first, *rest = [Image.fromarray(half_transparent())] * count
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=rest, lossless=True, duration=125)
    seen_over_white(tmp_path / f"a{suffix}")


def test_what_is_transparent_in_a_gif_is_white(tmp_path):
    pixels = half_transparent()
    frames = [Image.fromarray(np.roll(pixels, shift, 0)) for shift in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=120, disposal=2)
    assert (Video.load(tmp_path / "a.gif").frames[:, :, :18] == 255).all()


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".mov", "qtrle", "argb"),
        (".mov", "prores_ks", "yuva444p10le"),
        (".mov", "png", "rgba"),
        (".webm", "libvpx-vp9", "yuva420p"),
        (".webm", "libvpx", "yuva420p"),
        (".mkv", "ffv1", "bgra"),
        (".avi", "ffv1", "bgra"),
    ],
)
def test_what_is_transparent_in_a_film_is_white(tmp_path, suffix, codec, pix_fmt):
    options = {"b": "2M", "crf": "4", "auto-alt-ref": "0"} if codec.startswith("libvpx") else {}
    w = 48 if codec == "prores_ks" else 36  # FFmpeg's ProRes spoils other widths in some versions
    seen_over_white(track(tmp_path / f"a{suffix}", [half_transparent(w=w)] * 4, codec, pix_fmt, options=options), w)


def test_a_palette_has_its_colours(tmp_path):
    image = Image.fromarray(corners()).quantize(4)
    palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    palette[:4, 1:] = np.array(image.getpalette()[:12]).reshape(4, 3)
    palette[:4, 0] = 255
    frame = av.VideoFrame.from_ndarray((np.asarray(image), palette), format="pal8")
    seen_alike(track(tmp_path / "a.mov", [frame], "png", "pal8"), corners())


def test_the_fourth_byte_of_an_uncompressed_avi_is_not_used(tmp_path):
    pixels = half_transparent()
    pixels[..., 3] = 0
    path = track(tmp_path / "a.avi", [pixels] * 4, "rawvideo", "bgra")
    assert np.array_equal(Video.load(path).frames[0], pixels[..., :3])


# colours


def of_light(code, transfer, primaries=9, matrix=9, size=(64, 64)):
    """A grey frame of 10 bits whose signal is `code`, in [0, 1]."""
    frame = av.VideoFrame(size[1], size[0], "yuv420p10le")
    for plane, value in zip(frame.planes, (round(64 + 876 * code), 512, 512), strict=True):
        plane.update(np.full((plane.height, plane.line_size // 2), value, np.uint16).tobytes())
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = matrix, 1, transfer, primaries
    return frame


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_high_dynamic_range_becomes_standard(tmp_path, transfer, white):
    """Black is black, the white of a page (203 cd/m2) is light, what is brighter is not cut: ITU-R BT.2408, BT.2390."""
    codes = (0.0, white / 2, white, 0.85, 1.0)
    path = track(tmp_path / "a.mkv", [of_light(code, transfer) for code in codes], "ffv1", "yuv420p10le")
    for clip in (Video.load(path).frames, *(read_clip(str(path), 0.0, 5, 8.0, size) for size in (None, (32, 32)))):
        levels = clip.mean((1, 2, 3))
        assert levels[0] <= 2
        assert levels[1] <= 255 * white / 2 - 10  # as the signal it was, it would be too light
        assert 140 <= levels[2] <= 235
        assert (np.diff(levels) > 10).all()
        assert levels[4] >= 250
        assert clip.std((1, 2)).max() <= 2


@pytest.mark.parametrize(("size", "standard"), [((720, 64), "ITU709"), ((64, 1280), "ITU709"), ((480, 64), "ITU601")])
@pytest.mark.parametrize("tagged", [True, False])
def test_colours_without_a_tag_are_those_of_the_size(tmp_path, size, standard, tagged):
    """A tag counts before it."""
    colour = np.full((*size, 3), (200, 40, 90), np.uint8)
    frame = av.VideoFrame.from_ndarray(colour, format="rgb24")
    standard, code = ("ITU601", 6) if tagged else (standard, 2)
    frame = frame.reformat(format="yuv444p", dst_colorspace=standard)
    frame.colorspace = code
    frame.color_range, frame.color_trc, frame.color_primaries = 1, 2, 2
    path = track(tmp_path / "a.mkv", [frame], "ffv1", "yuv444p")
    for clip in (Video.load(path).frames, read_clip(str(path), 0.0, 1, 8.0), read_clip(str(path), 0, 1, 8.0, (32, 32))):
        assert np.abs(clip.astype(int) - colour[0, 0]).max() <= 3


def test_bt2020_without_high_range_keeps_its_colours(tmp_path):
    """Grey is grey on every version of PyAV, and its wider red is the reddest there is."""
    path = track(tmp_path / "a.mkv", [of_light(0.5, 1)], "ffv1", "yuv420p10le")
    assert np.abs(Video.load(path).frames.astype(int) - 128).max() <= 8


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


def test_interlaced_frames_are_made_whole(tmp_path):
    path = interlaced(tmp_path / "a.mkv")
    with av.open(str(path)) as container:
        raw = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    clip = Video.load(path).frames
    assert clip.shape == raw.shape
    assert combed(clip) < combed(raw) / 4
    assert np.array_equal(clip, read_clip(str(path), 0.0, 10, 8.0))
    assert probe(str(path)).seconds == pytest.approx(1.25)
    assert np.abs(read_clip(str(path), 0.5, 4, 8.0).astype(int) - clip[4:8]).mean() < 3


# sizes


def test_of_a_phones_picture_with_previews_the_first_is_read(tmp_path):
    photo, preview = Image.fromarray(corners()), Image.fromarray(np.zeros((12, 18, 3), np.uint8))
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview], quality=95)
    with pytest.warns(Note, match=r"a\.jpg holds pictures besides the first, which are no animation"):
        assert len(Video.load(tmp_path / "a.jpg").frames) == 1
    seen_alike(tmp_path / "a.jpg", corners())
    assert is_still(tmp_path / "a.jpg")


def test_of_pages_of_several_sizes_the_first_is_read(tmp_path):
    pages = [Image.fromarray(np.full((h, w, 3), 90, np.uint8)) for h, w in ((24, 36), (12, 18))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(Note, match=r"a\.tif holds pictures besides the first"):
        assert Video.load(tmp_path / "a.tif").frames.shape == (1, 24, 36, 3)
    assert is_still(tmp_path / "a.tif")
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[0], pages[0]])
    assert Video.load(tmp_path / "b.tif").frames.shape == (3, 24, 36, 3)


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


def test_a_track_that_changes_its_size_keeps_the_first(tmp_path):
    path = switching(tmp_path / "a.webm")
    with pytest.warns(Note, match=r"a\.webm changes its size on the way: .* as large as the first, 96x64"):
        video = Video.load(path)
    assert video.frames.shape == (16, 64, 96, 3)
    assert numbers(video.frames) == list(range(16))
    assert numbers(read_clip(str(path), 0.0, 16, 8.0)) == list(range(16))
    assert read_clip(str(path), 0.0, 16, 8.0, (32, 32)).shape == (16, 32, 32, 3)


def test_a_shot_ends_where_it_does_in_a_track_that_changes_its_size(tmp_path):
    path = switching(tmp_path / "a.webm", [0] * 12 + [38] * 4)
    assert shots(str(path), 0.0, 2.0, 3.0) == [(0.0, pytest.approx(1.5)), (pytest.approx(1.5), 2.0)]
