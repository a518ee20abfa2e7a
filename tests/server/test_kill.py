"""kill -9 of the whole server at random moments: no job is lost, none is made twice, and no half file is served."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import ClassVar

import httpx
import pytest

from sorajax.server.database import connect
from sorajax.server.jobs import Jobs
from sorajax.server.migrations import prepare
from tests import ROOT
from tests.cases import slow_after
from tests.children import xla_flags
from tests.server.toy import job

PROMPT = "a red ball bounces"
PATIENCE = 600.0  # seconds: the machine may be busy


class Program:
    """A server in a process group of its own; `close` ends what is left of all of them. devices: of its worker, which
    splits a clip over all it has."""

    started: ClassVar[list] = []

    def __init__(self, module, data, *options, devices=1, **environment):
        command = [sys.executable, "-m", module, "--data", str(data), "--port", "0", *options]
        self.log = (data / "log").open("ab")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": xla_flags(devices), **environment},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,
        )
        self.started.append(self.process)
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http"), (data / "log").read_text()[-2000:]
        self.http = httpx.Client(base_url=self.address, timeout=30)

    def kill(self):
        """kill -9 of the server alone: its worker must notice."""
        self.process.kill()
        self.process.wait()

    @classmethod
    def close(cls):
        while cls.started:
            with suppress(ProcessLookupError):
                os.killpg(cls.started.pop().pid, signal.SIGKILL)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)


def events(data):
    """The lines of the log, of all starts; a kill may cut one off."""
    lines = (data / "log").read_text().splitlines()
    assert all(line.startswith("{") for line in lines), "each line is a JSON object"
    return [json.loads(line) for line in lines if line.endswith("}")]


def check_served(http):
    """What is completed is served whole; returns the number of videos by status."""
    videos = http.get("/v1/videos?limit=100").json()["data"]
    for video in videos:
        if video["status"] == "completed":
            answer = http.get(f"/v1/videos/{video['id']}/content")
            assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()[:32]}"'
    return Counter(video["status"] for video in videos)


def times_of_windows(data, name):
    """When each window of a film was stored."""
    return {path.name: path.stat().st_mtime_ns for path in (data / "windows" / name).glob("[!.]*.npy")}


@pytest.fixture(autouse=True)
def closed():
    """No server is left, whatever fails."""
    yield
    Program.close()


def finished(program, count, seconds):
    """Waits until all videos are completed; on the way none is anything but queued or in progress."""
    until = time.monotonic() + seconds
    while (counts := check_served(program.http)) != {"completed": count}:
        assert time.monotonic() < until, counts
        assert set(counts) <= {"completed", "queued", "in_progress"}
        time.sleep(0.2)


def check_log(data, names):
    """No job is completed twice, and no prompt is in the log."""
    completed = Counter(event["job"] for event in events(data) if event["event"] == "job completed")
    assert set(completed) <= set(names)
    assert max(completed.values()) == 1
    assert PROMPT not in (data / "log").read_text()


@pytest.mark.slow
def test_a_server_killed_at_random_moments_loses_no_job(tmp_path):
    rng, count = random.Random(2), 40
    jobs = Jobs(connect(tmp_path / "jobs.sqlite"))
    prepare(jobs.engine)
    names = [jobs.add(job(f"{PROMPT} {number}"))["id"] for number in range(count)]
    for _ in range(2):
        program = Program("tests.server.toy", tmp_path)
        time.sleep(rng.uniform(0.0, 1.5))
        program.kill()
    program = Program("tests.server.toy", tmp_path)
    finished(program, count, 60)
    program.end()
    check_log(tmp_path, names)


@pytest.mark.parametrize(("drain", "status"), slow_after(1, [("10", "completed"), ("0.1", "queued")]))
def test_sigterm_lets_the_job_in_progress_end_and_keeps_the_others(tmp_path, drain, status):
    """A job that takes longer than `--drain` is queued again, and its worker is not to blame."""
    jobs = Jobs(connect(tmp_path / "jobs.sqlite"))
    prepare(jobs.engine)
    first, second = (jobs.add(job(prompt))["id"] for prompt in "ab")
    program = Program("tests.server.toy", tmp_path, "--drain", drain, TOY_STEP="0.2")
    with socket.create_connection(program.address.removeprefix("http://").split(":")) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        assert connection.recv(100)
    while jobs.counts()["in_progress"] < 1:
        time.sleep(0.01)
    program.end()
    rows = [jobs.get(name, "local") for name in (first, second)]
    assert [row["status"] for row in rows] == [status, "queued"]
    assert [row["attempts"] for row in rows] == [1 if status == "completed" else 0, 0]
    assert not [event for event in events(tmp_path) if event["level"] == "error"]
    assert [event["library"] for event in events(tmp_path) if event["event"] == "library"] == ["uvicorn.error"]


@pytest.mark.slow
def test_the_real_program_survives_random_kills(tmp_path):
    """The bundled model, 2 steps. The first kill comes when a film has its first window, which the next start keeps
    (that the film is the same, tests/server/test_film.py says); of the others, half come soon after a start, and half
    while a video is sampled. The environment variable SORAJAX_KILLS says how many; 3 where it is not set."""
    kills = int(os.environ.get("SORAJAX_KILLS", "3"))
    rng, count = random.Random(kills), kills + 4
    program = Program("sorajax.serve", tmp_path)
    while program.http.get("/readyz").status_code != 200:
        time.sleep(0.1)
    names = []
    for number in range(count):
        length = {"seconds": 5} if number == 0 else {"frames": 17 if number % 2 else 1}
        body = {"prompt": f"{PROMPT} on {number} floors", "steps": 2, "seed": number, **length}
        names.append(program.http.post("/v1/videos", json=body).json()["id"])
    while not (kept := times_of_windows(tmp_path, names[0])):
        assert check_served(program.http)["completed"] == 0
        time.sleep(0.02)
    for number in range(kills):
        if number % 2:
            time.sleep(rng.uniform(0.0, 3.0))
        else:
            until = time.monotonic() + PATIENCE
            while not check_served(program.http)["in_progress"]:
                assert time.monotonic() < until
                time.sleep(0.1)
            time.sleep(rng.uniform(0.0, 1.0) if number else 0.0)
        assert set(check_served(program.http)) <= {"completed", "queued", "in_progress"}
        now = times_of_windows(tmp_path, names[0])
        if program.http.get(f"/v1/videos/{names[0]}").json()["status"] != "completed":
            assert kept.items() <= now.items(), "a window is sampled once"
            kept = now
        program.kill()
        program = Program("sorajax.serve", tmp_path)
    finished(program, count, PATIENCE)
    program.end()
    assert not times_of_windows(tmp_path, names[0])
    check_log(tmp_path, names)
