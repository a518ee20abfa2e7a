"""An interrupted film is continued from its last window, and equals an uninterrupted one."""

import threading
import time

from sorajax.media.video import Video
from sorajax.sampling.loading import load
from sorajax.server import logs
from sorajax.server.content import Content
from sorajax.server.decoding import Limits
from sorajax.server.engine import Engine
from sorajax.server.jobs import Jobs
from sorajax.server.processes import open_database
from sorajax.server.workers import Worker
from tests.server.toy import job

REQUEST = {"prompts": ["a red ball bounces"], "seed": 3, "frames": 41, "steps": 2}


def test_an_interrupted_film_is_continued(tiny_model, tmp_path):
    logs.SETTINGS["quiet"] = True
    jobs = Jobs(open_database(tmp_path, None))
    engine = Engine(load(tiny_model), Content(tmp_path / "content"), tmp_path / "windows", Limits())

    def film():
        return jobs.add(job("a red ball bounces", spec={"request": REQUEST, "inputs": [], "options": {}}))["id"]

    def windows(name):
        return sorted((tmp_path / "windows" / name).glob("*.npy"))

    first = film()
    worker = Worker(jobs.engine, jobs, engine, drain=0.0)
    thread = threading.Thread(target=worker.serve)
    report = worker.report

    def stop_after_a_window(share):
        if len(windows(first)) >= 2:
            worker.stop()
            time.sleep(0.01)
        report(share)

    worker.report = stop_after_a_window
    thread.start()
    thread.join(120)
    worker.stop()
    assert jobs.get(first, "local")["status"] == "queued"
    before = {path.name: path.stat().st_mtime_ns for path in windows(first)}
    assert len(before) >= 2
    other, seen = Worker(jobs.engine, jobs, engine), {}
    continue_report = other.report

    def look(share):
        seen.update({path.name: path.stat().st_mtime_ns for path in windows(first)})
        continue_report(share)

    other.report, kept = look, {}
    forget = other.forget_windows

    def keep(name):
        kept[name] = [path.read_bytes() for path in windows(name)]
        forget(name)

    other.forget_windows = keep
    other.sample(jobs.claim(other.name))
    assert {name: seen[name] for name in before} == before, "finished windows are not sampled again"
    assert len(seen) > len(before)
    assert not windows(first)
    second = film()
    other.sample(jobs.claim(other.name))
    rows = [jobs.get(name, "local") for name in (first, second)]
    assert [row["status"] for row in rows] == ["completed"] * 2
    one, again = (Video.load(engine.content.path(row["file"])) for row in rows)
    assert one.metadata == again.metadata
    assert one.frames.shape == again.frames.shape == (41, 16, 16, 3)
    assert kept[first] == kept[second], "latents of all windows"
    assert rows[0]["seconds"] == 41 / 8
