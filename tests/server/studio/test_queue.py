"""The queue is in the order of sampling, and the time left is by progress once that says more."""

import time

from sorajax.server.jobs import Jobs
from sorajax.server.studio.cost import Cost
from sorajax.server.studio.queue import seconds_left
from tests.server.conftest import PROMPT
from tests.server.toy import job


def test_the_queue_is_in_the_order_of_sampling_and_is_sorted(idle):
    names = [idle.http.post("/v1/videos", json={"prompt": f"{PROMPT} {n}"}).json()["id"] for n in range(3)]
    entries = idle.http.get("/v1/queue").json()["data"]
    assert [entry["id"] for entry in entries] == names
    assert [entry["seconds_left"] for entry in entries] == [None] * 3
    wanted = [names[2], names[0], names[1]]
    assert [entry["id"] for entry in idle.http.post("/v1/queue", json={"ids": wanted}).json()["data"]] == wanted
    last = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    assert [entry["id"] for entry in idle.http.get("/v1/queue").json()["data"]] == [*wanted, last]
    assert Jobs(idle.service.database).claim("a worker")[0].id == names[2]
    answer = idle.http.post("/v1/queue", json={"ids": [names[0], "video_none"]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "ids")
    assert idle.http.post("/v1/queue", json={"ids": []}).status_code == 400


def test_a_long_queue_is_sorted_whole(idle):
    names = [idle.service.jobs.add(job(str(number)))["id"] for number in range(120)]
    entries = idle.http.post("/v1/queue", json={"ids": names[::-1]}).json()["data"]
    assert [entry["id"] for entry in entries] == names[::-1]


def test_the_time_left_is_by_the_price_and_then_by_progress():
    cost, row = Cost({"text": 1.0}, 1, 1.0), {"task": "text", "spec": {}, "seconds": 10.0, "size": "2x2", "progress": 0}
    assert seconds_left({**row, "status": "queued"}, cost) == 40
    running = {**row, "status": "in_progress", "started_at": time.time() - 30}
    assert 9 < seconds_left(running, cost) <= 10
    assert 29 < seconds_left({**running, "progress": 50}, cost) < 31
    assert seconds_left(running, Cost({}, 1, 1.0)) is None
