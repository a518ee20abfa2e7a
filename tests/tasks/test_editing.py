"""Strength scales the change of an edit; pixels outside the mask stay."""

from dataclasses import replace

import numpy as np
import pytest

from sorajax import tasks
from sorajax.errors import Note
from sorajax.media.video import Video
from sorajax.sampling.pipeline import Pipeline
from tests.cases import slow_after
from tests.tasks.inputs import PROMPT, clip, one, request


def test_strength_zero_reconstructs_the_clip_and_one_ignores_it(pipeline):
    a, b = clip(5), clip(5)
    kept = one(tasks.edit(pipeline, PROMPT, a, 0.0))
    decoded = pipeline.codec.decode(pipeline.codec.encode(a.frames)[None], 16, 16)[0]
    assert np.abs(kept.astype(int) - decoded).max() <= 2
    assert np.array_equal(one(tasks.edit(pipeline, PROMPT, a, 1.0)), one(tasks.edit(pipeline, PROMPT, b, 1.0)))
    assert np.array_equal(one(tasks.edit(pipeline, PROMPT, a, 1.0)), one(pipeline("a red ball", frames=5)))


def test_an_edit_keeps_its_length_and_the_pixels_outside_the_mask(pipeline):
    a = clip(7)
    mask = np.zeros((16, 16), bool)
    mask[:9, :8] = True
    edited = one(tasks.edit(pipeline, PROMPT, a, 0.8, mask))
    assert edited.shape == a.frames.shape
    assert np.array_equal(edited[:, ~mask], a.frames[:, ~mask])
    assert not np.array_equal(edited[:, mask], a.frames[:, mask])


@pytest.mark.parametrize("window", slow_after(1, [5, 1, 9, 13, 17]))
def test_windows_of_a_long_edit_continue_the_previous_one(pipeline, window, monkeypatch):
    model = Pipeline(replace(pipeline.config, frames=(window,)), pipeline.params, pipeline.tokenizer, "tiny")
    heads, source, mask = [], clip(30), np.zeros((16, 16), bool)
    mask[:, 4:12] = True
    stream = Pipeline.stream

    def watched(self, request, settings, conditioning):
        heads.append((conditioning.head, request.seed))
        return stream(self, request, settings, conditioning=conditioning)

    monkeypatch.setattr(Pipeline, "stream", watched)
    made = one(tasks.edit(model, request(seed=3), source, 0.7, mask))
    assert len(made) == 30
    assert np.array_equal(made[:, ~mask], source.frames[:, ~mask])
    assert len({seed for _, seed in heads}) == len(heads) > 1
    end = window
    for head, _ in heads[1:]:
        if window == 1:
            assert head is None
        else:
            assert len(head) % 4 == 1
            assert np.array_equal(head, made[end - len(head) : end])
            end += window - len(head)


def test_a_blend_of_strength_zero_is_the_crossfade(pipeline):
    first, second = clip(5), clip(9)
    film = one(tasks.blend(pipeline, PROMPT, first, second, 0.0))
    assert len(film) == 5
    (kept,) = tasks.edit(pipeline, PROMPT, Video(np.concatenate([first.frames[:1], second.frames[4:5]]), 8.0), 0.0)
    assert np.abs(film[0].astype(int) - kept.frames[0]).max() <= 2


@pytest.mark.parametrize(("window", "length"), slow_after(1, [(5, 29), (13, 11), (13, 13), (17, 26), (33, 34)]))
def test_a_blend_keeps_both_end_frames(pipeline, window, length):
    model = Pipeline(replace(pipeline.config, frames=(window,)), pipeline.params, pipeline.tokenizer, "tiny")
    first, second = clip(length), clip(40)
    with pytest.warns(Note, match=f"clips of {length} and 40 frames are blended in {length}: use --seconds"):
        film = one(tasks.blend(model, PROMPT, first, second, 0.6))
    assert len(film) == length
    assert np.array_equal(film[0], first.frames[0])
    assert np.array_equal(film[-4:], second.frames[length - 4 : length])
