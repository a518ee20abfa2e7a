"""The queue: every job is a row of `VIDEOS`, from its request to its result.

    queued -> in_progress -> completed or failed        (back to queued when its worker is lost or ends)

A worker owns a job while its lease lasts, which its heartbeat renews. Each change of a state is one UPDATE that names
the state before it, so two workers never own the same job, and a result is stored once. Idle workers of one PostgreSQL
skip rows that another one is taking (SKIP LOCKED).

The queue and the API's records are one table, so that no job is in one and not in the other. Queue libraries keep a
table of their own; what they add, these UPDATEs by SQLAlchemy do.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from sorajax.server.database import EVENTS, REPEATS, USAGE, VIDEOS, as_dict, for_progress, now
from sorajax.server.failures import ApiError, missing

LEASE = 20.0  # seconds for which a worker that is not heard of keeps its job
HEARTBEAT = 4.0  # seconds between renewals
ATTEMPTS = 5  # a job that has lost so many workers is the reason
UNFINISHED = ("queued", "in_progress")
DAY = 86400.0


@dataclass(frozen=True)
class Job:
    """A job as a worker samples it.

    spec, as JSON values: "request", the fields of `Request`; "inputs", a list of {"content", "own"}, files of the
    content store, which are our own or a user's; "scenes" of a storyboard, whose "image" is such an entry; "options" of
    the task, whose "mask" is one; "trim", a span; "frames_only", whether a clip stands for its first picture.
    """

    id: str
    task: str
    prompt: str
    shape: str
    spec: dict[str, Any]
    attempts: int = 0


@dataclass(frozen=True)
class Result:
    """A finished video: names in the content store, and what was made."""

    file: str
    thumbnail: str
    spritesheet: str
    seconds: float
    size: str


@dataclass(frozen=True)
class Source:
    """A picture or clip of a request. content: its name in the store. own: made by this server. seconds: 0 for a
    picture."""

    content: str
    own: bool
    seconds: float
    video: str | None = None

    @property
    def entry(self) -> dict[str, Any]:
        """As a job's spec has it."""
        return {"content": self.content, "own": self.own}


def new_id(kind: str) -> str:
    """An id that cannot be guessed, e.g. video_5f..."""
    return f"{kind}_{secrets.token_hex(16)}"


class Jobs:
    """The jobs in a database."""

    def __init__(self, engine: Engine, keep_days: float | None = None, webhooks: bool = False):
        """keep_days: finished videos are kept so long, None for ever. webhooks: whether events are recorded."""
        self.engine, self.keep_days, self.webhooks = engine, keep_days, webhooks
        self.for_progress = for_progress(engine)

    # requests

    def add(self, values: dict[str, Any], repeat: tuple[str, str] | None = None) -> dict[str, Any]:
        """Queues a job, a row of `VIDEOS` without id and times, and returns its row. repeat: idempotency key and hash
        of the request; a known key returns the job that it made. Raises ApiError if it made that of another request."""
        row = {"id": new_id("video"), "created_at": now(), "status": "queued", **values}
        try:
            with self.engine.begin() as connection:
                if repeat is not None:
                    key, request = repeat
                    entry = {"owner": row["owner"], "key": key, "request": request, "video": row["id"]}
                    connection.execute(insert(REPEATS).values(created_at=row["created_at"], **entry))
                connection.execute(insert(VIDEOS).values(row))
                count_usage(connection, row)
        except IntegrityError:
            if repeat is None:
                raise
            return self.repeated(row["owner"], *repeat)
        return self.get(row["id"], row["owner"])

    def add_finished(self, values: dict[str, Any], result: Result) -> dict[str, Any]:
        """Adds a video that is made already, a row as for `add`, and returns its row."""
        time = now()
        expires = None if self.keep_days is None else time + self.keep_days * DAY
        state = {"status": "completed", "created_at": time, "completed_at": time, "expires_at": expires}
        row = {"id": new_id("video"), **values, **state, **columns_of(result)}
        with self.engine.begin() as connection:
            connection.execute(insert(VIDEOS).values(row))
            count_usage(connection, row)
            self._record(connection, row["id"], "video.completed", time)
        return self.get(row["id"], row["owner"])

    def repeated(self, owner: str, key: str, request: str) -> dict[str, Any]:
        """The job that a request with this idempotency key has made. Raises ApiError, 404 if there is none."""
        with self.engine.connect() as connection:
            found = connection.execute(select(REPEATS).where(REPEATS.c.owner == owner, REPEATS.c.key == key)).first()
        if found is None:
            raise missing("request with this Idempotency-Key", key, "Idempotency-Key")
        if found.request != request:
            message = "this Idempotency-Key came with another request: send a new key, or the same request"
            raise ApiError(409, message, "Idempotency-Key", "idempotency_key_reused")
        return self.get(found.video, owner)

    def get(self, name: str, owner: str | None) -> dict[str, Any]:
        """A job of this owner; None stands for any. Raises ApiError, a 404."""
        query = select(VIDEOS).where(VIDEOS.c.id == name)
        with self.engine.connect() as connection:
            row = connection.execute(query if owner is None else query.where(VIDEOS.c.owner == owner)).first()
        if row is None:
            raise missing("video", name, "video_id")
        return as_dict(row)

    def page(self, owner: str, after: str | None, limit: int, newest_first: bool) -> tuple[list[dict[str, Any]], bool]:
        """Jobs of an owner after the one named `after`, and whether there are more. Raises ApiError."""
        number = VIDEOS.c.number
        query = select(VIDEOS).where(VIDEOS.c.owner == owner).order_by(number.desc() if newest_first else number)
        if after is not None:
            last = self.get(after, owner)["number"]
            query = query.where(number < last if newest_first else number > last)
        with self.engine.connect() as connection:
            rows = [as_dict(row) for row in connection.execute(query.limit(limit + 1))]
        return rows[:limit], len(rows) > limit

    def delete(self, name: str, owner: str) -> None:
        """Deletes a job; one in progress is cancelled. Raises ApiError, a 404."""
        own = VIDEOS.c.id == name, VIDEOS.c.owner == owner
        with self.engine.begin() as connection:
            if connection.execute(delete(VIDEOS).where(*own, VIDEOS.c.status == "queued")).rowcount:
                connection.execute(delete(USAGE).where(USAGE.c.video == name))
            elif not connection.execute(delete(VIDEOS).where(*own)).rowcount:
                raise missing("video", name, "video_id")

    def cancel(self, name: str, owner: str) -> dict[str, Any]:
        """Ends a queued job, or one in progress within a step. Raises ApiError: a 404, or a 409 if it has ended."""
        row = self.get(name, owner)
        error = {"code": "cancelled", "message": "the job was cancelled", "param": None, "type": "cancelled"}
        if not self._move(name, UNFINISHED, "failed", error=error, completed_at=now(), worker=None, lease=None):
            raise ApiError(409, f"the video is {row['status']} and cannot be cancelled", "video_id", "not_cancellable")
        return self.get(name, owner)

    def retry(self, name: str, owner: str) -> dict[str, Any]:
        """Queues a failed job again. Raises ApiError: a 404, or a 409 if it has not failed."""
        row = self.get(name, owner)
        reset = {"error": None, "completed_at": None, "started_at": None, "progress": 0, "attempts": 0}
        if not self._move(name, ("failed",), "queued", **reset):
            raise ApiError(
                409, f"the video is {row['status']}: only a failed one is tried again", "video_id", "not_failed"
            )
        return self.get(name, owner)

    def prioritise(self, name: str, owner: str, priority: int) -> dict[str, Any]:
        """Moves a queued job before those of lower priority. Raises ApiError: a 404, or a 409 if it has begun."""
        row = self.get(name, owner)
        if not self._move(name, ("queued",), "queued", priority=priority):
            raise ApiError(409, f"the video is {row['status']}: only a queued one is moved", "video_id", "not_queued")
        return self.get(name, owner)

    def unfinished(self, owner: str) -> int:
        """Number of an owner's jobs that are queued or in progress."""
        c = VIDEOS.c
        with self.engine.connect() as connection:
            query = select(func.count()).where(c.owner == owner, c.status.in_(UNFINISHED))
            return connection.execute(query).scalar_one()

    def seconds_today(self, owner: str) -> float:
        """Seconds of video that an owner requested within the last day, without those of failed jobs."""
        c = USAGE.c
        with self.engine.connect() as connection:
            query = select(func.coalesce(func.sum(c.seconds), 0.0)).where(c.owner == owner, c.created_at > now() - DAY)
            return connection.execute(query).scalar_one()

    def counts(self) -> dict[str, int]:
        """Number of jobs by status."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(VIDEOS.c.status, func.count()).group_by(VIDEOS.c.status)).all()
        return dict.fromkeys(("queued", "in_progress", "completed", "failed"), 0) | {row[0]: row[1] for row in rows}

    # workers

    def claim(self, worker: str, most: int = 1) -> list[Job]:
        """Takes the next job, and others of its shape: 1, 2, 4, ... in all, at most `most`, as each number is a program
        that is compiled. [] if none is queued."""
        self.rescue()
        order = VIDEOS.c.priority.desc(), VIDEOS.c.number
        query = select(VIDEOS).where(VIDEOS.c.status == "queued").order_by(*order)
        with self.engine.begin() as connection:
            first = connection.execute(query.limit(1).with_for_update(skip_locked=True)).first()
            if first is None:
                return []
            rows = [first]
            if most > 1 and first.shape:
                same = query.where(VIDEOS.c.shape == first.shape, VIDEOS.c.id != first.id).limit(most - 1)
                rows += connection.execute(same.with_for_update(skip_locked=True)).all()
                rows = rows[: 1 << len(rows).bit_length() - 1]
            return [job_of(row) for row in rows if self._take(connection, row.id, worker)]

    def _take(self, connection: Connection, name: str, worker: str) -> bool:
        values = {"worker": worker, "lease": now() + LEASE, "started_at": now(), "attempts": VIDEOS.c.attempts + 1}
        query = update(VIDEOS).where(VIDEOS.c.id == name, VIDEOS.c.status == "queued")
        return connection.execute(query.values(status="in_progress", **values)).rowcount == 1

    def renew(self, worker: str, names: Sequence[str], progress: dict[str, int] | None = None) -> set[str]:
        """Renews a worker's leases and records progress; returns the jobs that it still owns. The others were
        cancelled, deleted, or given to another worker."""
        owned = set()
        with self.for_progress.begin() as connection:
            for name in names:
                values: dict[str, Any] = {"lease": now() + LEASE}
                if progress and name in progress:
                    values["progress"] = progress[name]
                query = update(VIDEOS).where(*owned_by(worker, name)).values(values)
                if connection.execute(query).rowcount:
                    owned.add(name)
        return owned

    def owned(self, worker: str, names: Sequence[str]) -> set[str]:
        """The jobs that a worker still owns."""
        c = VIDEOS.c
        query = select(c.id).where(c.id.in_(names), c.worker == worker, c.status == "in_progress")
        with self.engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def complete(self, worker: str, name: str, result: Result) -> bool:
        """Stores a result; false if the worker does not own the job any more."""
        return self._end(worker, name, "completed", columns_of(result))

    def fail(self, worker: str, name: str, code: str, message: str, param: str | None = None) -> bool:
        """Ends a job with an error; false if the worker does not own it any more."""
        error = {"code": code, "message": message, "param": param, "type": "video_generation_error"}
        return self._end(worker, name, "failed", {"error": error})

    def _end(self, worker: str, name: str, status: str, values: dict[str, Any]) -> bool:
        time = now()
        expires = None if self.keep_days is None else time + self.keep_days * DAY
        values = {**values, "completed_at": time, "expires_at": expires, "worker": None, "lease": None}
        with self.engine.begin() as connection:
            query = update(VIDEOS).where(*owned_by(worker, name)).values(status=status, **values)
            if not connection.execute(query).rowcount:
                return False
            self._record(connection, name, f"video.{status}", time)
        return True

    def release(self, worker: str) -> int:
        """Queues a worker's jobs again, without counting an attempt; returns how many."""
        values = {"status": "queued", "worker": None, "lease": None, "attempts": VIDEOS.c.attempts - 1}
        query = update(VIDEOS).where(VIDEOS.c.worker == worker, VIDEOS.c.status == "in_progress").values(values)
        with self.engine.begin() as connection:
            return connection.execute(query).rowcount

    def rescue(self, everything: bool = False) -> int:
        """Queues the jobs of lost workers again, in their former places; returns how many. everything: no worker is
        running, so all jobs in progress are lost, and no attempt is counted."""
        c, time = VIDEOS.c, now()
        lost = and_(c.status == "in_progress", or_(c.lease.is_(None), c.lease < (time + DAY if everything else time)))
        message = f"{ATTEMPTS} workers were lost while they sampled this video: use a smaller size or fewer seconds"
        error = {"code": "worker_lost", "message": message, "param": None, "type": "server_error"}
        ended = {"status": "failed", "error": error, "completed_at": time, "worker": None, "lease": None}
        with self.engine.begin() as connection:
            if not connection.execute(select(c.id).where(lost).limit(1)).first():
                return 0
            hopeless = select(c.id).where(lost, c.attempts >= ATTEMPTS)
            for name in () if everything else connection.execute(hopeless).scalars().all():
                if connection.execute(update(VIDEOS).where(c.id == name, lost).values(ended)).rowcount:
                    self._record(connection, name, "video.failed", time)
            values = {"worker": None, "lease": None, "attempts": c.attempts - (1 if everything else 0)}
            back = update(VIDEOS).where(lost).values(status="queued", **values)
            return connection.execute(back).rowcount

    def expire(self) -> int:
        """Forgets the files of expired videos; returns how many."""
        c = VIDEOS.c
        query = update(VIDEOS).where(c.expires_at < now(), c.file.is_not(None))
        with self.engine.begin() as connection:
            return connection.execute(query.values(file=None, thumbnail=None, spritesheet=None)).rowcount

    def _record(self, connection: Connection, name: str, kind: str, time: float) -> None:
        """Notes the end of a job: for webhooks, and for the usage, which does not count failed jobs."""
        if kind == "video.failed":
            connection.execute(delete(USAGE).where(USAGE.c.video == name))
        if self.webhooks:
            values = {"id": new_id("evt"), "type": kind, "video": name, "created_at": time, "next_attempt": time}
            connection.execute(insert(EVENTS).values(values))

    def _move(self, name: str, before: Sequence[str], after: str, **values: Any) -> bool:
        """Changes a job's state, if it is one of `before`."""
        query = update(VIDEOS).where(VIDEOS.c.id == name, VIDEOS.c.status.in_(before))
        with self.engine.begin() as connection:
            moved = connection.execute(query.values(status=after, **values)).rowcount == 1
            if moved and after == "failed":
                self._record(connection, name, "video.failed", now())
            if moved and "failed" in before and after == "queued":
                row = connection.execute(select(VIDEOS).where(VIDEOS.c.id == name)).one()
                count_usage(connection, {**as_dict(row), "created_at": now()})
        return moved


def columns_of(result: Result) -> dict[str, Any]:
    """The columns of a finished video's result."""
    return {"progress": 100, **asdict(result)}


def count_usage(connection: Connection, row: dict[str, Any]) -> None:
    """Counts the seconds of a job that is queued."""
    values = {"video": row["id"], **{name: row[name] for name in ("owner", "created_at", "seconds")}}
    connection.execute(insert(USAGE).values(values))


def owned_by(worker: str, name: str) -> tuple[Any, ...]:
    """Conditions: the job is in progress, and the worker's."""
    return VIDEOS.c.id == name, VIDEOS.c.worker == worker, VIDEOS.c.status == "in_progress"


def job_of(row: Any) -> Job:
    """The job of a row."""
    return Job(row.id, row.task, row.prompt, row.shape, row.spec, row.attempts)
