"""kill -9 of the whole server at random moments: no job is lost, none is made twice, and no half file is served."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import ClassVar

import httpx
import pytest

from sorajax.server.database import connect, prepare
from sorajax.server.jobs import Jobs
from tests import ROOT
from tests.server.toy import job

PROMPT = "a red ball bounces"


class Program:
    """A server in a process group of its own; `close` ends what is left of all of them."""

    started: ClassVar[list] = []

    def __init__(self, module, data, *options):
        command = [sys.executable, "-m", module, "--data", str(data), "--port", "0", *options]
        self.log = (data / "log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True
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
    """The lines of the log, of all starts."""
    lines = (data / "log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def check_served(http):
    """What is completed is served whole; returns the number of videos by status."""
    videos = http.get("/v1/videos?limit=100").json()["data"]
    for video in videos:
        if video["status"] == "completed":
            answer = http.get(f"/v1/videos/{video['id']}/content")
            assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()[:32]}"'
    return Counter(video["status"] for video in videos)


@pytest.fixture(autouse=True)
def closed():
    """No server is left, whatever fails."""
    yield
    Program.close()


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_server_killed_at_random_moments_loses_no_job(tmp_path, kills):
    rng, count = random.Random(kills), 20 * kills if kills < 5 else 100
    jobs = Jobs(connect(tmp_path / "jobs.sqlite"))
    prepare(jobs.engine)
    names = [jobs.add(job(f"video {number}"))["id"] for number in range(count)]
    for _ in range(kills):
        program = Program("tests.server.toy", tmp_path)
        time.sleep(rng.uniform(0.0, 1.5))
        program.kill()
    program = Program("tests.server.toy", tmp_path)
    until = time.monotonic() + 60
    while (counts := check_served(program.http)) != {"completed": min(100, count)}:
        assert time.monotonic() < until, counts
        assert set(counts) <= {"completed", "queued", "in_progress"}
        time.sleep(0.1)
    program.end()
    completed = Counter(event["job"] for event in events(tmp_path) if event["event"] == "job completed")
    assert set(completed) <= set(names)
    assert max(completed.values()) == 1
    assert not [event for event in events(tmp_path) if PROMPT in json.dumps(event)]
    assert not re.findall(r"video \d", (tmp_path / "log").read_text()), "prompts are not logged"


@pytest.mark.slow
def test_the_real_server_resumes_a_film_after_kills(tmp_path):
    """A film of several windows; that it is the same film, tests/server/test_film.py says."""
    body = {"prompt": PROMPT, "seconds": 8, "steps": 2, "seed": 5}
    program = Program("sorajax.serve", tmp_path)
    deadline = time.monotonic() + 300
    while (answer := program.http.post("/v1/videos", json=body)).status_code == 503:
        time.sleep(0.1)
    name = answer.json()["id"]
    for _ in range(2):
        windows = tmp_path / "windows" / name
        before = len(list(windows.glob("*.npy"))) if windows.exists() else 0
        while not windows.exists() or len(list(windows.glob("*.npy"))) <= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            if program.http.get(f"/v1/videos/{name}").json()["status"] == "completed":
                break
        program.kill()
        program = Program("sorajax.serve", tmp_path)
    while (video := program.http.get(f"/v1/videos/{name}").json())["status"] in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert video["status"] == "completed", video["error"]
    while (tmp_path / "windows" / name).exists():  # deleted after the video is completed
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert check_served(program.http) == {"completed": 1}
    program.end()
