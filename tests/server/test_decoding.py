"""Users' files are decoded within limits, and only formats that name no other files."""

import numpy as np
import pytest
from PIL import Image

from sorajax.errors import BadRequest
from sorajax.server.decoding import Found, Limits, check_file, read_file, suffix_of


def test_files_are_decoded_within_limits(clip, tmp_path):
    found = check_file(clip, Limits())
    assert (found.frames, found.width, found.height, found.seconds) == (9, 24, 16, 9 / 8)
    assert read_file(clip, Limits(), 0.5, 1.0).frames.shape == (4, 16, 24, 3)
    for limits in (Limits(pixels=100), Limits(frames=8), Limits(seconds=1.0)):
        with pytest.raises(BadRequest, match="too"):
            check_file(clip, limits)
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((8000, 8000), np.uint8)).save(large)
    assert large.stat().st_size < 2**20
    with pytest.raises(BadRequest, match=r"memory|pixels"):
        check_file(large, Limits(memory=400 * 2**20))


def test_a_format_is_known_by_its_first_bytes():
    heads = {".png": b"\x89PNG\r\n\x1a\n", ".mp4": b"\0\0\0\x20ftypisom", ".webp": b"RIFF\0\0\0\0WEBPVP8 "}
    assert {suffix: suffix_of(head) for suffix, head in heads.items()} == {suffix: suffix for suffix in heads}
    for head in (b"#EXTM3U\n", b"", b"<svg>"):
        with pytest.raises(BadRequest, match="is no picture or clip that is read here: use png, jpeg"):
            suffix_of(head)


def test_a_picture_has_no_length():
    assert Found(1, 16, 16, 8.0).seconds == 0
    assert Found(4, 16, 16, 8.0).seconds == 0.5
