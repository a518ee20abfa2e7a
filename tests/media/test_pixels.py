"""Pictures and frames are upright, over white, in sRGB and of one size, in `Video.load` and in training."""

import av
import numpy as np
import pytest
from PIL import Image

from sorajax.data.videos.decode import read_clip
from sorajax.media import decoding
from sorajax.media.video import Video
from tests.cases import slow_after
from tests.data.videos.films import corners, film, seen_alike, track

# mirrors and turns

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
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_every_exif_orientation_is_applied(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](corners())))
    image.save(tmp_path / f"photo{suffix}", exif=exif, quality=95)
    seen_alike(tmp_path / f"photo{suffix}", corners())


@pytest.mark.parametrize("orientation", MATRICES)
def test_every_display_matrix_is_applied(tmp_path, orientation):
    stored = np.ascontiguousarray(STORED[orientation](corners()))
    path = film(tmp_path / "film.mp4", np.stack([stored] * 3))
    a, b, c, d = (round(part * 0x10000) & 0xFFFFFFFF for part in MATRICES[orientation])
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = b"".join(x.to_bytes(4, "big") for x in (a, b, 0, c, d, 0, 0, 0, 0x40000000))
    path.write_bytes(content)
    seen_alike(path, corners())


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
def test_transparent_images_are_composited_over_white(tmp_path, suffix, count):
    first, *rest = [Image.fromarray(half_transparent())] * count
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=rest, lossless=True, duration=125)
    seen_over_white(tmp_path / f"a{suffix}")


def test_transparent_gifs_are_composited_over_white(tmp_path):
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
def test_transparent_videos_are_composited_over_white(tmp_path, suffix, codec, pix_fmt):
    options = {"b": "2M", "crf": "4", "auto-alt-ref": "0"} if codec.startswith("libvpx") else {}
    w = 48 if codec == "prores_ks" else 36  # FFmpeg's ProRes spoils other widths in some versions
    seen_over_white(track(tmp_path / f"a{suffix}", [half_transparent(w=w)] * 4, codec, pix_fmt, options=options), w)


def test_palette_videos_keep_their_colours(tmp_path):
    image = Image.fromarray(corners()).quantize(4)
    palette = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    palette[:4, 1:] = np.array(image.getpalette()[:12]).reshape(4, 3)
    palette[:4, 0] = 255
    frame = av.VideoFrame.from_ndarray((np.asarray(image), palette), format="pal8")
    seen_alike(track(tmp_path / "a.mov", [frame], "png", "pal8"), corners())


def test_the_fourth_byte_of_an_uncompressed_avi_is_ignored(tmp_path):
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


@pytest.mark.parametrize(("transfer", "white"), slow_after(1, [(18, 0.75), (16, 0.58)]))
def test_pq_and_hlg_are_tone_mapped_to_sdr(tmp_path, transfer, white):
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


def test_a_tone_map_is_made_once_a_thread(monkeypatch):
    """And not kept where it failed."""
    made = []

    class Graph:
        def __init__(self, frame, *_):
            made.append(frame.height)

        def push(self, frame):
            self.frame = frame

        def pull(self):
            if self.frame.height == 32:
                raise ValueError("32 rows")
            return self.frame

    monkeypatch.setattr(decoding, "filters_for", Graph)
    monkeypatch.setattr(decoding, "TONE_MAPS", decoding.ToneMaps())
    frames = [of_light(0.5, 18, size=(size, 64)) for size in (64, 48, 64, 32, 32)]
    for frame in frames[:3]:
        assert next(decoding.to_standard([frame])) is frame
    for frame in frames[3:]:
        with pytest.raises(ValueError, match="32 rows"):
            next(decoding.to_standard([frame]))
    assert next(decoding.to_standard([wider := of_light(0.5, 1)])) is wider  # BT.2020 without HDR
    assert made == [64, 48, 32, 32, 64]
    assert next(decoding.to_standard([standard := of_light(0.5, 1, 1, 1)])) is standard
    assert len(made) == 5


@pytest.mark.parametrize(("size", "standard"), [((720, 64), "ITU709"), ((64, 1280), "ITU709"), ((480, 64), "ITU601")])
@pytest.mark.parametrize("tagged", [True, False])
def test_untagged_videos_use_bt601_or_bt709_by_size(tmp_path, size, standard, tagged):
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


@pytest.mark.slow
def test_bt2020_without_hdr_keeps_its_colours(tmp_path):
    """Grey is grey on every version of PyAV, and its wider red is the reddest there is."""
    path = track(tmp_path / "a.mkv", [of_light(0.5, 1)], "ffv1", "yuv420p10le")
    assert np.abs(Video.load(path).frames.astype(int) - 128).max() <= 8
