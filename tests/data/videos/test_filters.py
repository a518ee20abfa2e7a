"""Filters: cuts, duplicates and text in frames are found; wrong limits are one line."""

import numpy as np
import pytest

from sorajax.data.videos.filters import BITS, Filters, duplicates, measure, shots, text_coverage
from tests.data.videos.films import film, moving


def test_of_duplicates_the_first_is_kept():
    rng = np.random.default_rng(0)
    base = [int.from_bytes(rng.bytes(BITS // 8), "big") for _ in range(20)]

    def flipped(value, count):
        for bit in rng.choice(BITS, count, replace=False):
            value ^= 1 << int(bit)
        return value

    prints = [*base, *[flipped(x, 6) for x in base[:8]], *[flipped(x, 7) for x in base[8:12]]]
    assert duplicates(prints, 6) == {20 + i: i for i in range(8)}
    assert duplicates(prints, -1) == {}


def test_shots_end_at_cuts(tmp_path):
    path = film(tmp_path / "cut.mp4", np.concatenate([moving(1, 14), moving(2, 10), moving(3, 16)]))
    found = shots(str(path), 0.0, 5.0, 3.0)
    np.testing.assert_allclose(found, [(0.0, 1.75), (1.75, 3.0), (3.0, 5.0)])
    assert shots(str(path), 0.5, 1.5, 3.0) == [(0.5, 1.5)]
    assert shots(str(path), 0.0, 5.0, 0.0) == [(0.0, 5.0)]


def test_text_in_frames_is_detected():
    from PIL import Image, ImageDraw

    plain = Image.fromarray(np.full((120, 240, 3), 90, np.uint8))
    lettered = plain.copy()
    draw = ImageDraw.Draw(lettered)
    for row in range(4):
        draw.text((10, 5 + 28 * row), "a subtitle in the way of it", fill=(255, 255, 255), font_size=20)
    assert text_coverage(np.asarray(plain)) == 0
    assert text_coverage(np.asarray(lettered)) > 0.2
    assert text_coverage(moving(5, 1, (120, 240))[0]) < 0.1
    clip = np.stack([np.asarray(lettered)] * 9)
    assert measure(clip, True).text > 0.2
    assert measure(clip).text == 0


@pytest.mark.parametrize("wrong", [{"dark": 2}, {"duplicate": 500}, {"cuts": -1}])
def test_wrong_filters_are_one_line(wrong):
    with pytest.raises(ValueError, match=f"filters.{next(iter(wrong))}"):
        Filters(**wrong)
