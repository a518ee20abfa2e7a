"""The process of plays: a frame is a file, and a play that is not there is named."""

import io

import numpy as np
import pytest
from PIL import Image

from sorajax.errors import BadRequest
from sorajax.server import players


def test_a_frame_is_a_file_of_its_pixels():
    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(players.png(frame)))), frame)


def test_a_play_of_a_former_process_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(players, "ONLY", [])
    players.prepare(players.Setting({}, str(tmp_path), tmp_path, None))
    players.ONLY[0].plays["play_1"] = "a recording"
    assert players.found("play_1") == "a recording"
    players.end("play_1")
    for act in (players.found, players.keep):
        with pytest.raises(BadRequest, match="was started again: begin a new play"):
            act("play_1")
