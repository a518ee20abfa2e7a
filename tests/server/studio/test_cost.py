"""The cost of a video grows with its steps, frames and pixels, at the price of its task."""

import pytest

from sorajax.server.studio.cost import Cost, measured, work
from tests.server.conftest import PROMPT

ROW = {"task": "text", "spec": {"request": {}}, "seconds": 1.0, "size": "16x24"}


def test_the_cost_is_the_median_of_what_videos_took(server):
    for seconds in (1.0, 1.0):
        server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "seconds": seconds}))
    config = server.service.served().config
    cost = measured(server.service.database, server.service.served().name, config.steps, config.fps)
    row = {"task": "text", "spec": {"request": {}}, "seconds": 1.0, "size": "16x16"}
    assert cost.seconds(row) > 0
    assert cost.seconds({**row, "spec": {"request": {"steps": 4}}}) == pytest.approx(2 * cost.seconds(row))
    assert cost.seconds({**row, "task": "a new one"}) == pytest.approx(cost.prices[""] * 2 * 16 * 16 * config.fps)
    assert Cost({}, 2, 8.0).seconds(row) is None


def test_work_is_steps_times_frames_times_pixels():
    assert work(ROW, 5, 8.0) == 5 * 8 * 16 * 24
    assert work({**ROW, "spec": {"request": {"steps": 3, "fps": 4}}}, 5, 8.0) == 3 * 4 * 16 * 24
    assert work({**ROW, "seconds": 0.0}, 5, 8.0) == 5 * 16 * 24  # a picture is one frame


def test_a_task_has_its_own_price_once_it_has_run():
    cost = Cost({"text": 1.0, "": 2.0}, 5, 8.0)
    assert cost.seconds({**ROW, "task": "edit"}) == 2 * cost.seconds(ROW)
