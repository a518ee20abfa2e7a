"""Composes the parts of a server: those that requests need, and those that run in the background."""

import threading
import time
from typing import Any

from sqlalchemy import Engine as Database
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from sorajax.errors import one_line
from sorajax.safety.policy import read_policy
from sorajax.server.content import Content
from sorajax.server.database import CHARACTERS, FILES, REPEATS, USAGE, VIDEOS, now
from sorajax.server.decoding import Limits
from sorajax.server.failures import ApiError
from sorajax.server.jobs import DAY, UNFINISHED, Jobs
from sorajax.server.keys import keys_of, owner_of
from sorajax.server.logs import log
from sorajax.server.options import LOOPBACK, ServeOptions
from sorajax.server.uploads import Uploads
from sorajax.server.webhooks import Webhooks
from sorajax.server.workers import living_workers

RETRY = 2  # seconds after which a client asks again while the model opens
SWEEP = 5.0  # seconds between rounds of upkeep
ANYONE = "local"


class Service:
    """The parts from which the API answers."""

    def __init__(self, options: ServeOptions, database: Database, content: Content, webhooks: Webhooks | None = None):
        self.options, self.database, self.content, self.webhooks = options, database, content, webhooks
        self.policy = read_policy(options.policy)
        self.limits = Limits(bytes=options.max_upload_mb * 2**20)
        self.jobs = Jobs(database, options.keep_days, webhooks is not None)
        self.uploads = Uploads(database, content, self.jobs, self.limits, frozenset(options.image_host))
        self.stopping = threading.Event()
        self._served: tuple[str, Any] | None = None
        self.polled_workers: tuple[float, list[dict[str, Any]]] = (0.0, [])

    @property
    def needs_keys(self) -> bool:
        """Whether a request must have a key."""
        return self.options.require_keys or self.options.host not in LOOPBACK

    def owner(self, authorization: str | None) -> str:
        """The owner of a request, from its Authorization header. Raises ApiError, a 401."""
        if not self.needs_keys:
            return ANYONE
        kind, _, key = (authorization or "").partition(" ")
        owner = owner_of(self.database, key.strip()) if kind.lower() == "bearer" and key.strip() else None
        if owner is None:
            message = "the API key is missing or wrong: send Authorization: Bearer KEY"
            raise ApiError(401, message, None, "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        return owner

    def living(self) -> list[dict[str, Any]]:
        """The workers, as of a second ago."""
        if time.monotonic() - self.polled_workers[0] > 1:
            self.polled_workers = time.monotonic(), living_workers(self.database)
        return self.polled_workers[1]

    def served(self) -> Any:
        """The served model, a `specs.Served`. Raises ApiError, a 503, while it is being opened."""
        rows = self.living()
        if rows and (self._served is None or self._served[0] != rows[0]["id"]):
            from sorajax.models.folder import from_json
            from sorajax.models.sora import SoraConfig
            from sorajax.server.specs import Served

            config = from_json(rows[0]["config"], SoraConfig)
            self._served = rows[0]["id"], Served(rows[0]["model"], config, self.options.max_seconds, self.policy)
        if self._served is None:
            message = f"the model is being opened: ask again in {RETRY} seconds"
            raise ApiError(503, message, None, "model_not_ready", {"Retry-After": str(RETRY)})
        return self._served[1]

    def check_room(self) -> None:
        """Raises ApiError, a 507, if the disk is nearly full."""
        if self.content.free_bytes() < self.options.min_free_mb * 2**20:
            raise ApiError(507, "the server's disk is full: try again later", None, "disk_full", {"Retry-After": "60"})

    def check_queue(self, owner: str) -> None:
        """Raises ApiError, a 429, if the key has too many unfinished jobs."""
        jobs = self.jobs.unfinished(owner)
        if jobs >= self.options.max_jobs:
            message = f"{jobs} jobs of this key are unfinished: wait, {self.options.max_jobs} are allowed"
            raise ApiError(429, message, None, "queue_full", {"Retry-After": "10"})

    def check_day(self, owner: str, seconds: float) -> None:
        """Raises ApiError, a 429, if the key has used up its seconds of a day."""
        most = self.options.max_seconds_a_day
        if most is not None and (asked := self.jobs.seconds_today(owner)) + seconds > most:
            message = f"{asked:g} seconds of video in a day, and {seconds:g} more, exceed this key's {most:g}"
            raise ApiError(429, message, "seconds", "daily_limit", {"Retry-After": "3600"})

    def start(self) -> None:
        """Begins the upkeep, and imports what the first request needs."""
        threading.Thread(target=self._keep_up, daemon=True).start()
        threading.Thread(target=self.import_specs, daemon=True).start()

    def import_specs(self) -> None:
        """Imports what turns a request into a job; it takes seconds, as it imports jax."""
        from sorajax.server import specs

        assert specs

    def _keep_up(self) -> None:
        round_number = 0
        while not self.stopping.wait(SWEEP):
            try:
                if rescued := self.jobs.rescue():
                    log("jobs of lost workers are queued again", level="warning", jobs=rescued)
                if expired := self.jobs.expire():
                    log("videos expired", videos=expired)
                if round_number % 12 == 0:
                    self.sweep()
                round_number += 1
            except (OSError, OperationalError) as error:
                log("upkeep failed", level="error", error=one_line(error))

    def sweep(self, older: float = 600.0) -> int:
        """Deletes files that nothing refers to, and idempotency keys and usage of former days; returns the number of
        files."""
        names: set[str] = set()
        with self.database.begin() as connection:
            for former in (REPEATS, USAGE):
                connection.execute(delete(former).where(former.c.created_at < now() - 2 * DAY))
            for table in (FILES, CHARACTERS):
                names |= set(connection.execute(select(table.c.content)).scalars())
            c = VIDEOS.c
            for row in connection.execute(select(c.file, c.thumbnail, c.spritesheet)):
                names |= {name for name in row if name}
            retried = c.status.in_((*UNFINISHED, "failed"))  # a failed job may be tried again
            for spec in connection.execute(select(c.spec).where(retried)).scalars():
                names |= set(contents_of(spec))
        return self.content.delete_others(names, older)

    def check_keys(self) -> bool:
        """Whether there is a key, where one is needed."""
        return not self.needs_keys or any(not key["revoked"] for key in keys_of(self.database))


def contents_of(spec: Any) -> list[str]:
    """The files that a job's spec names."""
    if isinstance(spec, dict):
        own = [spec["content"]] if isinstance(spec.get("content"), str) else []
        return own + [name for value in spec.values() for name in contents_of(value)]
    return [name for value in spec for name in contents_of(value)] if isinstance(spec, list) else []
