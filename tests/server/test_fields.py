"""Fields of requests: references by id, file or address, numbers that are none, and at most one task."""

import pytest
from pydantic import ValidationError

from sorajax.server.failures import ApiError
from sorajax.server.fields import Create, Extend, chosen_task, video_answer
from sorajax.tasks.table import TASKS


@pytest.mark.parametrize(
    ("value", "field"),
    [("video_1", "id"), ("file_1", "file_id"), ("data:image/png;base64,AAAA", "image_url"), ({"id": "video_1"}, "id")],
)
def test_a_reference_is_by_id_or_address(value, field):
    reference = Create(prompt="a", image=value).image
    wanted = value if isinstance(value, str) else value["id"]
    assert getattr(reference, field) == wanted
    assert [name for name, found in reference if found is not None] == [field]


def test_a_task_is_the_one_whose_field_is_set():
    assert chosen_task(Create(prompt="a")) is TASKS["text"]
    assert chosen_task(Create(prompt="a", input_reference="file_1")) is TASKS["image"]
    assert chosen_task(Create(prompt="a", characters=[{"id": "char_1"}])) is TASKS["image"]
    with pytest.raises(ApiError, match="extend and loop are different tasks: give one of them") as caught:
        chosen_task(Create(prompt="a", loop=True, extend="video_1"))
    assert caught.value.body["error"]["param"] == "loop"


@pytest.mark.parametrize(
    "values", [{"seconds": True}, {"steps": False}, {"seconds": "nan"}, {"between": ["file_1"]}, {"upload": "a"}]
)
def test_what_is_no_field_is_refused(values):
    with pytest.raises(ValidationError):
        Create(prompt="a", **values)
    with pytest.raises(ValidationError):
        Extend(prompt="a", video="video_1")


def test_an_answer_has_whole_seconds_and_a_short_length():
    row = dict.fromkeys(("id", "model", "status", "progress", "prompt", "size", "remixed_from", "error", "task"))
    row |= {"created_at": 7.9, "completed_at": None, "expires_at": 8.2, "seconds": 4.0, "priority": 0}
    found = video_answer(row)
    assert (found["created_at"], found["completed_at"], found["expires_at"], found["seconds"]) == (7, None, 8, "4")
