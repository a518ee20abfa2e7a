"""A prompt becomes shots: their words, lengths and cuts."""

import numpy as np
import pytest

from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.sampling.shots import Shot, check_first_frames, runs, shots_metadata, shots_of

IMAGE = Video(np.zeros((1, 4, 4, 3), np.uint8), 8.0)


def test_cuts_divide_the_frames_evenly():
    shots = shots_of("a red ball. Cut to: the same ball falls. Cut to: a box", 10, IMAGE)
    assert [(shot.prompt, shot.frames, shot.cut) for shot in shots] == [
        ("a red ball", 3, False),
        ("a ball falls", 4, True),
        ("a box", 3, True),
    ]
    assert [shot.image for shot in shots] == [IMAGE, None, None]


def test_a_style_that_is_stated_at_the_end_holds_for_every_shot():
    first, second = shots_of("a ball. Cut to: a box. The style is film.", 8)
    assert first.prompt == "a ball. The style is film."
    assert second.prompt == "a box. The style is film."


def test_no_shot_is_without_a_frame():
    assert [shot.frames for shot in shots_of("a. Cut to: b. Cut to: c", 2)] == [1, 1]


def test_a_run_goes_from_one_cut_to_the_next():
    a, b, c = Shot("a", 1), Shot("b", 1), Shot("c", 1, cut=True)
    assert runs([a, b, c]) == [[a, b], [c]]
    assert shots_metadata([a]) == {}
    assert shots_metadata([a, c])["shots"][1] == {"prompt": "c", "frames": 1, "cut": True}


def test_each_run_begins_with_a_picture_where_the_model_needs_one():
    check_first_frames([Shot("a", 1), Shot("b", 1, True, IMAGE)], IMAGE.frames, "a model")
    with pytest.raises(BadRequest, match="a model needs a first frame, and shot 1 has none: give --image"):
        check_first_frames([Shot("a", 1)], None, "a model")
    with pytest.raises(BadRequest, match="shot 2 has none: leave out 'Cut to:'"):
        check_first_frames([Shot("a", 1), Shot("b", 1, cut=True)], IMAGE.frames, "a model")
