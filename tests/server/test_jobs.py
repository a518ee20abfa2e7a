"""The queue: order, leases, cancelling, limits, events; and a worker that does not sample, but sleeps."""

import threading
import time

import pytest

from sorajax.server import jobs as queue
from sorajax.server.database import EVENTS, connect
from sorajax.server.failures import ApiError
from sorajax.server.jobs import ATTEMPTS, Jobs, Result, new_id
from sorajax.server.migrations import prepare
from sorajax.server.options import ServeOptions
from sorajax.server.workers import Worker
from tests.server.postgres import new_database
from tests.server.toy import Toy, job, toy_worker

DONE = Result("a", "b", "c", 1.0, "16x16")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request, tmp_path):
    address = tmp_path / "jobs.sqlite"
    if request.param == "postgresql":
        address = new_database(request.getfixturevalue("postgres_address"), new_id("test"))
    engine = connect(address)
    prepare(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def jobs(database):
    return Jobs(database, webhooks=True)


def names(rows):
    return [row["id"] for row in rows]


def test_jobs_come_in_order_and_higher_priority_first(jobs):
    rows = [jobs.add(job("a")), jobs.add(job("b")), jobs.add(job("c", priority=1)), jobs.add(job("d"))]
    jobs.prioritise(rows[3]["id"], "local", 2)
    taken = [jobs.claim("w")[0].prompt for _ in rows]
    assert taken == ["d", "c", "a", "b"]
    assert jobs.claim("w") == []


def test_jobs_of_equal_shape_are_batched(jobs):
    for prompt, shape in zip("abcdef", ("x", "y", "x", "", "x", "x"), strict=True):
        jobs.add(job(prompt, shape=shape))
    assert [[one.prompt for one in jobs.claim("w", 3)] for _ in range(4)] == [["a", "c"], ["b"], ["d"], ["e", "f"]]


def test_a_job_is_taken_once_by_many_workers(jobs):
    for number in range(40):
        jobs.add(job(str(number)))
    taken, lock = [], threading.Lock()

    def take(worker):
        while found := jobs.claim(worker, 2):
            with lock:
                taken.extend(one.prompt for one in found)

    threads = [threading.Thread(target=take, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(40)]


def test_a_lost_workers_job_returns_to_its_place_in_the_queue(jobs, monkeypatch):
    first, _ = jobs.add(job("a")), jobs.add(job("b"))
    assert jobs.claim("lost")[0].id == first["id"]
    assert jobs.rescue() == 0  # its lease lasts
    monkeypatch.setattr(queue, "now", lambda: time.time() + queue.LEASE + 1)
    (again,) = jobs.claim("other")
    assert (again.id, again.attempts) == (first["id"], 1)
    assert not jobs.complete("lost", first["id"], DONE), "a result is stored once, by the owner"
    assert jobs.complete("other", first["id"], DONE)
    assert queue.LEASE + queue.HEARTBEAT < 30


def test_a_job_that_kills_its_workers_fails_after_some_tries(jobs, monkeypatch):
    row, clock = jobs.add(job("a")), [time.time()]
    monkeypatch.setattr(queue, "now", lambda: clock[0])
    for number in range(ATTEMPTS):
        assert jobs.claim(f"w{number}")
        clock[0] += queue.LEASE + 1
    assert jobs.claim("w") == []
    assert jobs.get(row["id"], "local")["error"]["code"] == "worker_lost"


def test_a_restarted_server_requeues_all_jobs_without_counting_a_try(jobs):
    row = jobs.add(job("a"))
    for _ in range(3 * ATTEMPTS):
        assert jobs.claim("w")
        assert jobs.rescue(everything=True) == 1
    assert jobs.get(row["id"], "local")["attempts"] == 0


def test_heartbeats_keep_a_jobs_lease_and_report_cancelling(jobs):
    first, second = names([jobs.add(job("a", shape="x")), jobs.add(job("b", shape="x"))])
    jobs.claim("w", 2)
    jobs.cancel(first, "local")
    assert jobs.renew("w", [first, second], {second: 40}) == {second}
    assert jobs.get(second, "local")["progress"] == 40
    jobs.delete(second, "local")
    assert jobs.owned("w", [first, second]) == set()


def test_an_owner_sees_only_its_own_jobs(jobs):
    name = jobs.add(job("a", owner="alice"))["id"]
    for act in (jobs.get, jobs.cancel, jobs.retry, jobs.delete):
        with pytest.raises(ApiError, match=name):
            act(name, "bob")
    assert jobs.page("bob", None, 10, True) == ([], False)
    assert (jobs.unfinished("alice"), jobs.seconds_today("alice")) == (1, 1.0)


def test_finished_videos_expire(jobs, monkeypatch):
    jobs.keep_days = 2
    row = jobs.add(job("a"))
    jobs.claim("w")
    jobs.complete("w", row["id"], DONE)
    assert jobs.expire() == 0
    monkeypatch.setattr(queue, "now", lambda: time.time() + 2 * 86400 + 1)
    assert jobs.expire() == 1
    found = jobs.get(row["id"], "local")
    assert (found["status"], found["file"]) == ("completed", None)


def test_every_finished_job_sends_an_event(jobs, database):
    first, second, third = names([jobs.add(job(prompt)) for prompt in "abc"])
    jobs.claim("w")
    jobs.complete("w", first, DONE)
    jobs.claim("w")
    jobs.fail("w", second, "server_error", "no")
    jobs.cancel(third, "local")
    with database.connect() as connection:
        events = {row.video: row.type for row in connection.execute(EVENTS.select())}
    assert events == {first: "video.completed", second: "video.failed", third: "video.failed"}


class Failing(Toy):
    """Raises the errors in turn, then works."""

    errors: tuple = ()

    def run(self, jobs, report):
        if self.errors:
            error, *self.errors = self.errors
            raise error
        return super().run(jobs, report)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 GB"), "out_of_memory"),
        (KeyError("x"), "server_error"),
        (OSError("no such file"), "server_error"),
    ],
)
def test_a_failure_ends_its_job_and_nothing_else(database, jobs, tmp_path, error, code):
    model = Failing(toy_worker(ServeOptions(data=tmp_path)).model.content, tmp_path / "windows")
    model.errors, worker = (error,), Worker(database, jobs, model)
    first, second = names([jobs.add(job("a")), jobs.add(job("b"))])
    for _ in range(2):
        worker.sample(jobs.claim(worker.name))
    assert jobs.get(first, "local")["error"]["code"] == code
    assert jobs.get(second, "local")["status"] == "completed"


def test_a_full_disk_loses_no_job(database, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("sorajax.server.workers.FULL", 0.01)
    model = Failing(toy_worker(ServeOptions(data=tmp_path)).model.content, tmp_path / "windows")
    model.errors, worker = (OSError(28, "No space left on device"),), Worker(database, jobs, model)
    name = jobs.add(job("a"))["id"]
    worker.sample(jobs.claim(worker.name))
    assert jobs.get(name, "local")["status"] == "queued"
    worker.sample(jobs.claim(worker.name))
    assert jobs.get(name, "local")["status"] == "completed"


def test_seconds_are_counted_until_a_job_fails(jobs):
    """A video that is deleted stays counted if it was begun; else a limit of seconds a day would not be one."""
    made, failing, waiting = names([jobs.add(job(prompt)) for prompt in "abc"])
    jobs.claim("w")
    jobs.complete("w", made, DONE)
    jobs.claim("w")
    assert jobs.seconds_today("local") == 3.0
    jobs.delete(made, "local")
    assert jobs.seconds_today("local") == 3.0
    jobs.fail("w", failing, "server_error", "no")
    assert jobs.seconds_today("local") == 2.0
    jobs.retry(failing, "local")
    assert jobs.seconds_today("local") == 3.0
    jobs.delete(waiting, "local")
    jobs.cancel(failing, "local")
    assert jobs.seconds_today("local") == 1.0
