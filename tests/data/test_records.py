"""Records hold exact pixels, and damage is detected."""

import numpy as np
import pytest

from sorajax.data.records import Records, decode_frames, encode_frames, write_records
from tests.data.videos.films import moving


def test_a_flipped_byte_on_disk_is_an_error(tmp_path):
    path = tmp_path / "x.arrayrecord"
    rng = np.random.default_rng(0)
    write_records(path, ({"latent": rng.normal(size=(200,)).astype(np.float16), "n": i} for i in range(5)))
    assert Records([path], [5])[3]["n"] == 3
    content = bytearray(path.read_bytes())
    written_to = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))  # the rest is padding
    for share in (0.3, 0.5, 0.7):
        content[written_to[int(share * len(written_to))]] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.arrayrecord"):
        list(map(Records([path], [5]).__getitem__, range(5)))


def test_pixels_of_a_picture_are_exact():
    picture = moving(3, 1)
    np.testing.assert_array_equal(decode_frames(encode_frames(picture)), picture)
