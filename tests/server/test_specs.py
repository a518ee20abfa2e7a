"""From fields to a job: mistakes name their field, and jobs of one shape differ in prompt and seed alone."""

import pytest

from sorajax.server.failures import ApiError
from sorajax.server.jobs import Source
from sorajax.server.specs import Served, row_of, size_of
from sorajax.tasks.table import TASKS
from tests.conftest import TINY

SERVED = Served("tiny", TINY, max_seconds=2.0)
CLIP = Source("c" * 64 + ".mp4", False, 1.0)


def row(task="text", sources=(), **values):
    return row_of(SERVED, {"prompt": "a red ball", **values}, TASKS[task], list(sources), lambda reference, name: CLIP)


def test_a_prompt_becomes_a_job_of_the_models_size():
    found = row(seed=3, frames=5)
    assert (found["model"], found["task"], found["size"], found["seconds"]) == ("tiny", "text", "16x16", 5 / TINY.fps)
    assert found["spec"]["request"]["seed"] == 3
    assert found["shape"] == row(prompt="a blue box", seed=4, frames=5)["shape"] != ""
    assert found["shape"] != row(seed=3, frames=5, steps=1)["shape"]
    assert row("edit", [CLIP])["shape"] == ""
    assert row("edit", [CLIP])["seconds"] == 1.0


def test_a_size_of_the_closed_api_is_the_models_nearest():
    assert size_of(TINY, "1280x720") == (24, 16)
    assert size_of(TINY, "720x1280") == (16, 16)
    assert size_of(TINY, "40x32") == (40, 32)


@pytest.mark.parametrize(
    ("values", "param", "line"),
    [
        ({"model": "other"}, "model", "the model 'other' is not served here: use 'tiny'"),
        ({"prompt": " "}, "prompt", "the prompt is empty"),
        ({"size": "16x16", "width": 16}, "size", "are both set: give one of them"),
        ({"size": "1600x1600"}, "size", "1600x1600 is too large here: the model was trained at 16x16, 24x16"),
        ({"size": "18x16"}, "size", "size 18x16: width 18 is not allowed"),
        ({"seconds": 60}, "seconds", "are not allowed here: use at most 2"),
        ({"strength": 0.5}, "strength", "strength is an option of edit, blend, and this is text: leave it out"),
        ({"trim": "0:1"}, "trim", "text uses its clip as it is: leave trim out"),
    ],
)
def test_a_mistake_names_its_field(values, param, line):
    with pytest.raises(ApiError, match=line) as caught:
        row(**values)
    assert caught.value.body["error"]["param"] == param
