"""Animated images become videos without loss, over white where they are transparent."""

import io

import numpy as np
import pytest
from PIL import Image

from sorajax.data.videos.animations import film_of, is_animated
from sorajax.data.videos.decode import probe, read_clip

SHADES = (0, 120, 250)


def animation(kind, frames=SHADES, transparent=False):
    """The bytes of an image of grey frames, 100 ms each; the left half may be transparent."""
    pictures = []
    for shade in frames:
        pixels = np.full((16, 24, 4), (shade, shade, shade, 255), np.uint8)
        pixels[:, :12, 3] = 0 if transparent else 255
        pictures.append(Image.fromarray(pixels))
    file = io.BytesIO()
    options = {"lossless": True} if kind == "webp" else {}
    pictures[0].save(file, kind, save_all=len(frames) > 1, append_images=pictures[1:], duration=100, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_a_film_has_the_frames_and_their_time(tmp_path, kind):
    path = tmp_path / "a.mkv"
    path.write_bytes(film_of(animation(kind, transparent=True), f".{kind}"))
    facts = probe(str(path))
    assert facts.fps == pytest.approx(10)
    assert (facts.height, facts.width) == (16, 24)
    frames = read_clip(str(path), 0, 3, 10.0, (16, 24))
    np.testing.assert_allclose(frames[:, 8, 20], np.array(SHADES)[:, None] * np.ones(3), atol=2)
    np.testing.assert_allclose(frames[:, 8, 4], 255, atol=2)


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_image_is_animated_where_it_has_several_frames(kind):
    assert is_animated(io.BytesIO(animation(kind)))
    assert not is_animated(io.BytesIO(animation(kind, SHADES[:1])))


def test_what_cannot_be_read_is_no_animation_and_no_film():
    assert not is_animated(io.BytesIO(b"GIF89a junk"))
    with pytest.raises(OSError, match="no readable picture"):
        film_of(b"GIF89a junk", ".gif")
