"""Forms with brackets, JSON, and errors that name the field."""

import pytest
from pydantic import BaseModel, ConfigDict

from sorajax.server.bodies import checked, nested, read_message
from sorajax.server.failures import ApiError


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int
    name: str = ""


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ([("a", 1), ("a", 2)], {"a": [1, 2]}),
        ([("video[id]", "v")], {"video": {"id": "v"}}),
        ([("between[]", 1), ("between[]", 2)], {"between": [1, 2]}),
        ([("s[][p]", 1), ("s[][q]", 2), ("s[][p]", 3)], {"s": [{"p": 1, "q": 2}, {"p": 3}]}),
        ([("s[0][p]", 1), ("s[1][p]", 2), ("s[0][q]", 3)], {"s": [{"p": 1, "q": 3}, {"p": 2}]}),
    ],
)
def test_names_with_brackets_describe_an_object(items, found):
    assert nested(items) == found


@pytest.mark.parametrize(
    "items", [[("[a]", 1)], [("a[b", 1)], [("a", 1), ("a[b]", 2)], [("a[b]", 1), ("a", 2)], [("a" + "[b]" * 7, 1)]]
)
def test_names_that_describe_none_are_refused(items):
    with pytest.raises(ApiError) as caught:
        nested(items)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("values", "param", "message"),
    [
        ({}, "x", "x is missing: give it"),
        ({"x": 1, "y": 2}, "y", "'y' is not a field of this request"),
        ({"x": "one"}, "x", "x: input should be a valid integer"),
        ({"x": 1, "name": "\0"}, "name", "has a zero byte"),
        ([], None, "not a JSON object"),
    ],
)
def test_an_error_names_the_field(values, param, message):
    with pytest.raises(ApiError, match=message) as caught:
        checked(values, Point)
    assert caught.value.body["error"]["param"] == param


def test_a_message_is_strict_json():
    assert read_message('{"x": 3}', Point).x == 3
    for text in ('{"x": NaN}', "{", "[" * 100_000):
        with pytest.raises(ApiError, match="is not JSON"):
            read_message(text, Point)
