"""A loop is a circle of latents, decoded without a seam."""

import numpy as np
import pytest

from sorajax import tasks
from sorajax.sampling.request import Request
from tests.tasks.inputs import PROMPT, one, request


@pytest.mark.parametrize(("settings", "frames"), [({}, 8), ({"frames": 9}, 8), ({"seconds": 1.5}, 12)])
def test_a_loop_has_whole_latents(pipeline, settings, frames):
    assert one(tasks.loop(pipeline, request(**settings))).shape == (frames, 16, 16, 3)


def test_a_loop_is_decoded_without_a_seam(pipeline, monkeypatch):
    """Its first frames see its last ones, as they do when it is played again."""
    decoded = []
    decode = pipeline.codec.decode
    monkeypatch.setattr(pipeline.codec, "decode", lambda z, *size: decoded.append(np.asarray(z)) or decode(z, *size))
    frames = one(tasks.loop(pipeline, PROMPT))
    *_, latents = decoded
    assert np.array_equal(latents[:, 1:3], latents[:, 3:])
    assert np.array_equal(frames, decode(latents, 16, 16)[0, -8:])


def test_a_batch_of_loops_equals_single_loops(pipeline):
    asked = Request(("a red ball", "a blue box"), num=2)
    videos = list(tasks.loop(pipeline, asked))
    assert [video.metadata["seed"] for video in videos] == [0, 1, 0, 1]
    assert np.array_equal(videos[0].frames, one(tasks.loop(pipeline, PROMPT)))
    assert not np.array_equal(videos[0].frames, videos[2].frames)
