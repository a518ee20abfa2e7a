"""A worker: takes jobs from the queue and samples them with one model."""

import errno
import os
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine as Database
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import OperationalError

from sorajax.errors import BadRequest, Refused, one_line
from sorajax.server.database import WORKERS, as_dict, now
from sorajax.server.failures import BLOCKED, ApiError
from sorajax.server.jobs import HEARTBEAT, LEASE, UNFINISHED, Job, Jobs, Result, new_id
from sorajax.server.logs import log

IDLE = 0.2  # seconds between looks at an empty queue
CHECKED = 0.1  # seconds between looks at whether a job is still wanted
FULL = 10.0  # seconds to wait when the disk is full
LOST = 60.0  # seconds after which a worker is forgotten


class Cancelled(Exception):
    """The job was cancelled or deleted."""


class Model(Protocol):
    """The model that a worker samples with; `engine.Engine` implements it."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def windows(self) -> Path: ...

    def run(self, jobs: Sequence[Job], report: Any) -> Iterator[tuple[Job, Result]]: ...


class Worker:
    """One worker. `serve` runs until `stop`."""

    def __init__(self, database: Database, jobs: Jobs, model: Model, batch: int = 1, drain: float = 60.0):
        """batch: jobs of equal shape that are sampled together. drain: seconds that a job may take after `stop`."""
        self.database, self.jobs, self.model, self.batch, self.drain = database, jobs, model, batch, drain
        self.name = f"{socket.gethostname()[:20]}-{os.getpid()}-{new_id('w')[2:10]}"
        self.stopping = threading.Event()
        self.deadline = float("inf")
        self.progress: dict[str, int] = {}
        self.owned: set[str] = set()
        self.checked_at = 0.0

    def stop(self) -> None:
        """Ends the worker: after its job, or when `drain` seconds have passed; the job is then queued again."""
        self.deadline = min(self.deadline, time.monotonic() + self.drain)
        self.stopping.set()

    def serve(self) -> None:
        """Samples jobs until `stop`."""
        self.register()
        self.forget_ended()
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        log("worker ready", worker=self.name, model=self.model.name)
        try:
            while not self.stopping.is_set():
                try:
                    found = self.jobs.claim(self.name, self.batch)
                except OperationalError as error:  # a full disk, or a database that restarts
                    log("the database does not answer", level="error", error=one_line(error))
                    self.stopping.wait(FULL)
                    continue
                if not found:
                    self.stopping.wait(IDLE)
                    continue
                self.sample(found)
        finally:
            self.jobs.release(self.name)
            with self.database.begin() as connection:
                connection.execute(delete(WORKERS).where(WORKERS.c.id == self.name))
            log("worker ended", worker=self.name)

    def sample(self, jobs: Sequence[Job]) -> None:
        """Samples jobs of one shape; each ends as completed or failed, or is queued again."""
        begun = time.monotonic()
        left = {job.id: job for job in jobs}
        self.progress, self.owned = dict.fromkeys(left, 0), set(left)
        for job in jobs:
            log("job started", job=job.id, task=job.task, attempt=job.attempts + 1, prompt=job.prompt)
        try:
            for job, result in self.model.run(jobs, self.report):
                if self.jobs.complete(self.name, job.id, result):
                    log("job completed", job=job.id, seconds=round(time.monotonic() - begun, 3))
                del left[job.id]
                self.owned.discard(job.id)
                self.forget_windows(job.id)
        except Cancelled:
            for name in left:
                log("job ended early", job=name)
                if name not in self.jobs.owned(self.name, [name]):
                    self.forget_windows(name)
            self.jobs.release(self.name)
        except BadRequest as error:
            if len(jobs) > 1:
                self._singly(left)
                return
            self._fail(left, BLOCKED if isinstance(error, Refused) else "invalid_request", one_line(error))
        except (OSError, OperationalError) as error:
            if not is_full(error):
                self._failed_inside(left, error)
                return
            log("the disk is full: its jobs wait", level="error", error=one_line(error))
            self.progress = {}
            self.stopping.wait(FULL)
            self.jobs.release(self.name)
        except Exception as error:
            self._failed_inside(left, error)
        finally:
            self.progress, self.owned = {}, set()

    def _singly(self, left: dict[str, Job]) -> None:
        """Samples each of several jobs by itself, after one of them failed."""
        for job in left.values():
            self.sample([job])

    def _failed_inside(self, left: dict[str, Job], error: Exception) -> None:
        memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        code = "out_of_memory" if memory else "server_error"
        message = "the memory is full: use fewer frames or a smaller size" if memory else "the video could not be made"
        log("job failed", level="error", jobs=sorted(left), error="".join(traceback.format_exception(error))[-4000:])
        self._fail(left, code, message)

    def _fail(self, left: dict[str, Job], code: str, message: str) -> None:
        for name in left:
            if self.jobs.fail(self.name, name, code, message):
                log("job failed", level="warning", job=name, code=code)
            self.forget_windows(name)

    def report(self, share: float) -> None:
        """Notes progress, 0 to 1. Raises Cancelled if all jobs in progress were cancelled, or if the worker must
        end."""
        for name in self.progress:
            self.progress[name] = max(self.progress[name], min(99, int(100 * share)))
        if time.monotonic() > self.deadline:
            raise Cancelled
        if time.monotonic() - self.checked_at < CHECKED:
            return
        self.checked_at = time.monotonic()
        try:
            self.owned = self.jobs.renew(self.name, sorted(self.owned), self.progress)
        except OperationalError:  # it is tried again
            return
        if not self.owned:
            raise Cancelled

    def _beat(self) -> None:
        """Renews leases while nothing is reported, as during compilation."""
        while not (self.stopping.is_set() and not self.progress):
            time.sleep(HEARTBEAT)
            try:
                self.jobs.renew(self.name, sorted(self.progress))
                self.register()
            except OperationalError as error:
                log("the database does not answer", level="error", error=one_line(error))

    def register(self) -> None:
        """Records that the worker is alive, and which model it serves."""
        seen = update(WORKERS).where(WORKERS.c.id == self.name).values(seen_at=now())
        with self.database.begin() as connection:
            if not connection.execute(seen).rowcount and not self.stopping.is_set():
                row = {"id": self.name, "model": self.model.name, "config": self.model.config}
                connection.execute(insert(WORKERS).values(started_at=now(), seen_at=now(), **row))
            connection.execute(delete(WORKERS).where(WORKERS.c.seen_at < now() - LOST))

    def forget_ended(self) -> None:
        """Deletes the windows of films that ended when a worker was killed."""
        folders = list(self.model.windows.glob("video_*"))
        for folder in folders:
            try:
                ended = self.jobs.get(folder.name, None)["status"] not in UNFINISHED
            except ApiError:  # deleted
                ended = True
            if ended:
                self.forget_windows(folder.name)

    def forget_windows(self, name: str) -> None:
        """Deletes the windows of a film that is not continued."""
        shutil.rmtree(self.model.windows / name, ignore_errors=True)


def living_workers(database: Database) -> list[dict[str, Any]]:
    """Workers that were heard of lately."""
    with database.connect() as connection:
        query = select(WORKERS).where(WORKERS.c.seen_at > now() - LEASE).order_by(WORKERS.c.started_at.desc())
        return [as_dict(row) for row in connection.execute(query)]


def is_full(error: BaseException) -> bool:
    """Whether an error is that of a full disk."""
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in str(error) or "No space left" in str(error)


def stop_by_signals(worker: Worker) -> None:
    """SIGTERM and Ctrl-C end the worker, after its job."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())


def end_with_parent(parent: int) -> None:
    """Ends this process at once when the one that started it has ended, as after kill -9."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
