"""A request with a model's defaults: lengths are rounded to the stride, and what was assumed is a note."""

import dataclasses

import numpy as np
import pytest

from sorajax.errors import BadRequest
from sorajax.models.text import Tokenizer
from sorajax.sampling.request import Request
from sorajax.sampling.settings import latents_for, notes_on, settings_for, tokenize
from tests.conftest import TINY, tiny_tokenizer

TOKENIZER = Tokenizer(tiny_tokenizer(), TINY.text.tokens)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.01, 1), (0.5, 5), (0.7, 5), (1.0, 9), (2.0, 17), (4.0, 33), (60.0, 481)]
)
def test_seconds_become_the_nearest_length(seconds, frames):
    settings = settings_for(Request(("a",), seconds=seconds), TINY)
    assert settings.frames == frames
    assert "is rounded to" in settings.notes[0]


def test_a_long_prompt_is_cut_with_a_note_for_models_whose_reference_does_so():
    long = "ball " * 20
    with pytest.raises(ValueError, match=r"the prompt has 20 tokens, the model reads 12: shorten"):
        notes_on(TOKENIZER, TINY, (long,), "")
    cutting = dataclasses.replace(TINY, clean_prompts=True)  # as the open models' reference does
    notes = notes_on(TOKENIZER, cutting, (long,), "")
    assert notes[0].endswith("shorten it to about 59 characters, as the rest is not read")
    ids, _ = tokenize(TOKENIZER, cutting, [long], cut=True)
    assert ids.shape == (1, 12)


def test_the_negative_prompt_is_named():
    with pytest.raises(ValueError, match=r"^the negative prompt has 20 tokens"):
        notes_on(TOKENIZER, TINY, ("a ball",), "ball " * 20)


def test_a_window_of_a_film_has_the_models_length():
    film = settings_for(Request(("a",), frames=33), TINY)
    assert film.in_windows
    assert any("33 frames are more than the model's window of 5" in note for note in film.notes)
    window = film.of_window()
    assert (window.frames, window.latent[0], window.in_windows) == (5, 2, False)
    assert not settings_for(Request(("a",), frames=33), TINY, at_once=True).in_windows


@pytest.mark.parametrize(("start", "steps"), [(1.0, 10), (0.5, 5), (0.01, 1)])
def test_an_edit_that_starts_later_takes_fewer_steps(start, steps):
    times = settings_for(Request(("a",), steps=10), TINY).times(start)
    assert len(times) == steps + 1
    assert times[-1] == 0
    assert (np.diff(times) < 0).all()
    assert times[0] <= 1


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 2), (5, 2), (6, 3), (9, 3)])
def test_a_last_group_of_frames_is_filled_up(frames, latents):
    assert latents_for(frames, 4) == latents


def test_settings_of_distilled_models_are_refused_for_others():
    with pytest.raises(BadRequest, match="sampler flow_map is for distilled models, and this is none: leave out"):
        settings_for(Request(("a",), sampler="flow_map"), TINY)
