"""Several machines, with PostgreSQL and a folder that all see: a worker that dies gives its job back."""

import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from sorajax.server.database import connect
from sorajax.server.jobs import Jobs
from sorajax.server.migrations import prepare
from tests import ROOT
from tests.server.postgres import new_database
from tests.server.test_kill import Program, check_served, closed, events  # noqa: F401
from tests.server.toy import job

pytestmark = pytest.mark.slow


def start_worker(data, *options):
    data.mkdir()
    command = [sys.executable, "-m", "tests.server.toy", "--worker", "--data", str(data), *options]
    environment = {**os.environ, "TOY_STEP": "0.1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=(data / "log").open("wb"))


def test_a_dead_worker_gives_its_job_back_within_30_seconds(postgres_address, tmp_path):
    database = new_database(postgres_address, "machines")
    shared = ("--database", database, "--files", str(tmp_path / "files"))
    (tmp_path / "api").mkdir()
    program = Program("tests.server.toy", tmp_path / "api", "--workers", "0", *shared)
    jobs = Jobs(connect(database))
    prepare(jobs.engine)
    first, second = (start_worker(tmp_path / name, *shared) for name in ("a", "b"))
    names = [jobs.add(job(f"video {number}"))["id"] for number in range(30)]
    while jobs.counts()["in_progress"] < 2:
        time.sleep(0.05)
    first.kill()
    first.wait()
    died = time.monotonic()
    left = {row["id"] for row in jobs.page("local", None, 100, False)[0] if row["status"] == "in_progress"}
    while jobs.counts()["completed"] < len(names):
        assert time.monotonic() < died + 60, jobs.counts()
        assert {row["status"] for row in jobs.page("local", None, 100, False)[0]} <= {
            "queued",
            "in_progress",
            "completed",
        }
        time.sleep(0.1)
    assert check_served(program.http) == {"completed": len(names)}
    taken = {row["id"]: row for row in jobs.page("local", None, 100, False)[0] if row["attempts"] > 1}
    assert taken.keys() <= left
    assert all(row["started_at"] - (time.time() - (time.monotonic() - died)) < 30 for row in taken.values())
    second.terminate()
    assert second.wait(30) == 0
    program.end()
    completed = Counter(
        event["job"] for name in "ab" for event in events(tmp_path / name) if event["event"] == "job completed"
    )
    assert completed == dict.fromkeys(names, 1)
