"""Errors and notes are one line."""

import pytest

from sorajax.errors import BadRequest, Note, Refused, note, one_line


def test_an_error_is_one_short_line():
    assert one_line(ValueError("two\nlines  here")) == "two lines here"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(one_line(ValueError("x" * 1000))) == 300


def test_a_refusal_is_a_bad_request_with_a_category():
    with pytest.raises(BadRequest) as caught:
        raise Refused("no", "violence")
    assert caught.value.category == "violence"


def test_a_note_is_a_warning_of_its_caller():
    def meets_a_request():
        note("the prompt is long")

    with pytest.warns(Note, match="the prompt is long") as caught:
        meets_a_request()
    assert caught[0].filename == __file__
