"""Rows become requests and tasks, and a table says of each figure whether its bar is met."""

from types import SimpleNamespace

import numpy as np
import pytest

from sorajax import tasks
from sorajax.errors import BadRequest
from sorajax.evaluation import asking
from sorajax.evaluation.options import Tasks
from sorajax.evaluation.tasks import Figure


def test_task_tables_state_whether_each_bar_is_met():
    row = {"same": Figure(87.4, "%", 8, 100), "drift": Figure(0.51, "% of range", 8, 1, False)}
    made = asking.table({"extend": row, "cut": {"time": Figure(2.159, "x", 1)}})
    assert made.splitlines()[2:] == [
        "| extend | same | 87% | at least 100, not met |",
        "|  | drift | 0.5 % of range | at most 1, met |",
        "| cut | time | 2.16x |  |",
    ]


def test_fields_of_a_request_go_there_and_other_settings_to_the_task(monkeypatch):
    calls = []

    def extend(pipeline, request, *videos, **settings):
        calls.append((request, videos, settings))
        return iter([SimpleNamespace(whole=lambda: videos[0])])

    monkeypatch.setattr(tasks, "extend", extend)
    frames = np.zeros((5, 8, 8, 3), np.uint8)
    ask = asking.asking(SimpleNamespace(config=SimpleNamespace(fps=8.0)), temperature=0.5)
    assert ask("extend", "a red ball", 3, frames, frames=9, direction="backward") is frames
    ((request, (video,), settings),) = calls
    assert (request.prompts, request.seed, request.frames, request.temperature) == (("a red ball",), 3, 9, 0.5)
    assert video.fps == 8.0
    assert settings == {"direction": "backward"}


def test_an_unknown_row_is_one_line():
    with pytest.raises(BadRequest, match=r"--rows nothing: no such row; use some of "):
        asking.measure(Tasks(rows=("nothing",)))
