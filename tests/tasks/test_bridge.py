"""What lies between clips: both ends stay, and the length is the requested one."""

import numpy as np
import pytest

from sorajax import tasks
from sorajax.errors import BadRequest, Note
from sorajax.models.conditioning import fixed_latents
from sorajax.tasks.bridge import CROSSFADE_STRENGTH, crossfade_conditioning
from tests.tasks.inputs import clip, one, request


def test_between_fixes_both_ends(pipeline):
    first, last = clip(1), clip(1)
    with pytest.warns(Note, match="9 frames with both pictures are rounded to 10: the model makes 4n"):
        assert len(one(tasks.between(pipeline, request(frames=9), first, last))) == 10
    film = one(tasks.between(pipeline, request(frames=6), first, last))
    assert len(film) == 6
    assert np.array_equal(film[0], first.frames[0])
    assert np.array_equal(film[-1], last.frames[0])


def test_connect_keeps_both_clips(pipeline):
    a, b = clip(7), clip(6)
    film = one(tasks.connect(pipeline, request(frames=8), a, b))
    assert len(film) == 7 + 8 + 6
    assert np.array_equal(film[:7], a.frames)
    assert np.array_equal(film[-6:], b.frames)


def test_frames_before_a_clip_begin_from_an_approximation(pipeline):
    dark, light = np.full((5, 16, 16, 3), 40, np.uint8), np.full((4, 16, 16, 3), 200, np.uint8)
    conditioning = crossfade_conditioning(pipeline, dark, light, 8)
    levels = conditioning.source_clip[:, 0, 0, 0].astype(int)
    assert levels.tolist() == sorted(levels)
    assert levels[4] == 40
    assert 40 < levels[5] < levels[12] < levels[13] == 200
    assert np.array_equal(conditioning.source_clip[[0, -1]], [dark[0], light[0]])
    assert (crossfade_conditioning(pipeline, None, light, 5).source_clip == 200).all()
    known = fixed_latents(conditioning, (1, 5, 4, 4, 4), 4, pipeline.codec.encode)
    assert known.mask[0].tolist() == [True, True, False, False, True]
    assert float(known.start) == pytest.approx(CROSSFADE_STRENGTH)
    np.testing.assert_allclose(known.latent[0, 2:4], pipeline.codec.encode(conditioning.source_clip)[2:4], atol=1e-5)


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 9])
def test_connect_and_fill_have_the_requested_length(pipeline, wanted):
    a, b = clip(7), clip(6)
    assert len(one(tasks.connect(pipeline, request(frames=wanted), a, b))) == 7 + wanted + 6
    whole = clip(20)
    film = one(tasks.fill(pipeline, request(), whole, (7 / 8, (7 + wanted) / 8)))
    assert len(film) == 20
    changed = np.abs(film.astype(int) - whole.frames).max((1, 2, 3)) > 0
    assert changed.nonzero()[0].tolist() == list(range(7, 7 + wanted))


def test_a_gap_outside_its_clip_is_refused(pipeline):
    for start, end in ((0.0, 1.0), (0.5, 9.0), (0.5, 0.51)):
        with pytest.raises(BadRequest, match=r"is not within the clip, which lasts 1.25 s: leave a frame or more"):
            one(tasks.fill(pipeline, request(), clip(10), (start, end)))
