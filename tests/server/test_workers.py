"""A worker ends cancelled jobs within a step, and its own within its time; it does not sample here, but sleeps."""

import errno
import threading
import time

import pytest

from sorajax.server import logs
from sorajax.server.options import ServeOptions
from sorajax.server.workers import is_full
from tests.server.toy import job, toy_worker


@pytest.fixture
def worker(tmp_path):
    logs.SETTINGS["quiet"] = True
    worker = toy_worker(ServeOptions(data=tmp_path))
    yield worker
    worker.stop()


def started(worker):
    thread = threading.Thread(target=worker.serve, daemon=True)
    thread.start()
    return thread


def wait(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_cancelled_job_ends_within_a_step(worker):
    worker.model.step = 0.2
    name = worker.jobs.add(job("a"))["id"]
    started(worker)
    wait(lambda: worker.progress)
    worker.jobs.cancel(name, "local")
    begun = time.monotonic()
    wait(lambda: not worker.progress)
    assert time.monotonic() - begun < 0.2 + 0.2
    assert not worker.model.made
    assert worker.jobs.get(name, "local")["error"]["code"] == "cancelled"


def test_a_worker_that_is_stopped_finishes_its_job_and_takes_no_other(worker):
    first, second = (worker.jobs.add(job(prompt))["id"] for prompt in "ab")
    thread = started(worker)
    wait(lambda: worker.progress)
    worker.stop()
    thread.join(10)
    assert worker.model.made == [first]
    assert [worker.jobs.get(name, "local")["status"] for name in (first, second)] == ["completed", "queued"]


def test_windows_of_films_that_ended_are_deleted(worker):
    waiting, ended = (worker.jobs.add(job(prompt))["id"] for prompt in "ab")
    worker.jobs.cancel(ended, "local")
    for name in (waiting, ended, "video_deleted"):
        (worker.model.windows / name).mkdir(parents=True)
    worker.forget_ended()
    assert [path.name for path in worker.model.windows.iterdir()] == [waiting]


def test_a_job_that_takes_too_long_is_queued_again(worker):
    worker.drain, worker.model.step = 0.0, 0.2
    name = worker.jobs.add(job("a"))["id"]
    thread = started(worker)
    wait(lambda: worker.progress)
    worker.stop()
    thread.join(10)
    found = worker.jobs.get(name, "local")
    assert (found["status"], found["attempts"], worker.model.made) == ("queued", 0, [])


def test_a_full_disk_is_told_from_other_errors():
    assert is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_full(RuntimeError("database or disk is full"))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
