"""Images and animations are read at their frame rates, upright, in 8 bits; previews and pages are left out."""

import numpy as np
import pytest
from PIL import Image

from sorajax.errors import Note
from sorajax.media.image_reader import is_still
from sorajax.media.video import Video
from tests.data.videos.films import corners, pictures, seen_alike, smooth


def test_an_animation_is_read_at_its_most_common_frame_rate(tmp_path):
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


def test_transparency_palettes_and_16_bits_become_rgb(tmp_path):
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


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.new("RGB", (6, 4)).save(tmp_path / "photo.jpg", exif=exif)
    assert Video.load(tmp_path / "photo.jpg").frames.shape == (1, 6, 4, 3)


def test_an_animation_without_durations_keeps_all_frames(tmp_path):
    from PIL import Image

    first, *rest = (Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (0, 90, 180, 250))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    found = Video.load(tmp_path / "a.gif")
    assert found.fps == 10
    assert [int(frame.mean()) for frame in found.frames] == pytest.approx([0, 90, 180, 250], abs=3)


@pytest.mark.parametrize(
    "said", ['{"frames": null}', '{"frames": 10000000, "fps": 8}', '{"fps": 0}', '{"frames": 32, "fps": 8}']
)
def test_metadata_that_contradicts_the_image_is_ignored(tmp_path, said):
    from PIL import Image

    Image.fromarray(smooth(1)[0]).save(tmp_path / "a.gif", comment=said.encode())
    assert Video.load(tmp_path / "a.gif").frames.shape == (1, 32, 48, 3)


def test_float_images_are_intensities_from_0_to_1(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5], [1.0, 2.0]], np.float32)).save(tmp_path / "a.tiff")
    assert Video.load(tmp_path / "a.tiff").frames[0, :, :, 0].tolist() == [[0, 128], [255, 255]]


def test_an_animation_is_read_at_120_fps_at_most(tmp_path):
    first, *rest = map(Image.fromarray, pictures(6))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, duration=[1, 1, 1, 1, 1, 900], lossless=True)
    video = Video.load(tmp_path / "a.webp")
    assert video.fps == 120
    assert len(video.frames) <= 110


def test_the_previews_of_an_mpo_are_not_read(tmp_path):
    photo, preview = Image.fromarray(corners()), Image.fromarray(np.zeros((12, 18, 3), np.uint8))
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview], quality=95)
    with pytest.warns(Note, match=r"a\.jpg has further images, which are no animation"):
        assert len(Video.load(tmp_path / "a.jpg").frames) == 1
    seen_alike(tmp_path / "a.jpg", corners())
    assert is_still(tmp_path / "a.jpg")


def test_tiff_pages_of_other_sizes_are_not_read(tmp_path):
    pages = [Image.fromarray(np.full((h, w, 3), 90, np.uint8)) for h, w in ((24, 36), (12, 18))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(Note, match=r"a\.tif has further images"):
        assert Video.load(tmp_path / "a.tif").frames.shape == (1, 24, 36, 3)
    assert is_still(tmp_path / "a.tif")
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[0], pages[0]])
    assert Video.load(tmp_path / "b.tif").frames.shape == (3, 24, 36, 3)
