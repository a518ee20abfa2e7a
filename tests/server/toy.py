"""A server whose model takes no time to open: its videos are a few bytes. It is a program, to be killed.

python -m tests.server.toy --data DIR
"""

import os
import sys
import time
from pathlib import Path

from sorajax.commands.serve import parse
from sorajax.server.content import Content
from sorajax.server.jobs import Jobs, Result
from sorajax.server.processes import content_of, open_database, run_server
from sorajax.server.service import Service
from sorajax.server.workers import Worker, end_with_parent, stop_by_signals

STEPS, STEP = 5, float(os.environ.get("TOY_STEP", "0.01"))


class Toy:
    """Steps that sleep, then a file with the job's prompt."""

    name, config = "toy", {}

    def __init__(self, content: Content, windows: Path, step: float = STEP):
        self.content, self.windows, self.step, self.made = content, windows, step, []

    def run(self, jobs, report):
        for number in range(STEPS):
            time.sleep(self.step)
            report(number / STEPS)
        for job in jobs:
            path = self.windows.parent / f"{job.id}.mp4"
            path.write_bytes(job.prompt.encode() * 10_000)
            name = self.content.put(path, ".mp4")
            path.unlink()
            self.made.append(job.id)
            yield job, Result(name, name, name, 1.0, "16x16")


def toy_worker(options, database=None):
    data = options.data
    database = database or open_database(data, options.database)
    jobs = Jobs(database, options.keep_days)
    return Worker(database, jobs, Toy(content_of(options), data / "windows"), options.batch or 1, options.drain)


def job(prompt: str, **more) -> dict:
    """The row of a job."""
    row = {"owner": "local", "model": "toy", "prompt": prompt, "task": "text", "spec": {}, "seconds": 1.0}
    return row | {"size": "16x16", "shape": "", "priority": 0, **more}


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    Service.import_specs = lambda self: None  # the database has the jobs, and jax is not needed
    if not options.worker:
        return run_server(options, arguments, (sys.executable, "-m", "tests.server.toy"))
    if parent := int(os.environ.get("SORAJAX_SERVE_PARENT", "0")):
        end_with_parent(parent)
    worker = toy_worker(options)
    stop_by_signals(worker)
    worker.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
