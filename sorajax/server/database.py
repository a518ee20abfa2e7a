"""The database: SQLite in a file, or PostgreSQL by its address. All times are seconds since 1970.

The tables are created and changed by `migrations.prepare`.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)

METADATA = MetaData()
DURABLE = "FULL"  # what SQLite has committed is on the disk
THREADS = 40  # that answer requests: opening a connection takes longer than a query
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself only in an Integer

VIDEOS = Table(
    "videos",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False, default=0),
    Column("progress", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("completed_at", Float),
    Column("expires_at", Float),
    Column("model", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("task", String(32), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("shape", Text, nullable=False, default=""),
    Column("seconds", Float, nullable=False),
    Column("size", String(32), nullable=False),
    Column("remixed_from", String(64)),
    Column("error", JSON),
    Column("worker", String(64)),
    Column("lease", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("file", String(96)),
    Column("thumbnail", String(96)),
    Column("spritesheet", String(96)),
    Index("videos_by_owner", "owner", "number"),
    Index("videos_by_status", "status", "priority", "number"),
)
"""Jobs and their results. spec: see `jobs.Job`. shape: jobs of equal shape, not "", may be sampled together. worker,
lease: who samples the job, and until when the lease holds. file, thumbnail, spritesheet: names in the store."""

USAGE = Table(
    "usage",
    METADATA,
    Column("video", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Index("usage_by_owner", "owner", "created_at"),
)
"""Requested seconds of video, including videos that were deleted since."""

FAVOURITES = Table(
    "favourites",
    METADATA,
    Column("owner", String(64), nullable=False),
    Column("video", String(64), nullable=False),
    UniqueConstraint("owner", "video"),
)
"""Videos that a user has marked in the studio."""

PREVIEWS = Table(
    "previews",
    METADATA,
    Column("video", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("image", LargeBinary, nullable=False),
    Column("made_at", Float, nullable=False),
)
"""The last preview of each video that is being sampled. number: counts them. image: webp, animated."""

FILES = Table(
    "files",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("content", String(96), nullable=False),
    Column("seconds", Float, nullable=False),
    Index("files_by_owner", "owner", "number"),
)
"""Uploaded pictures and clips. seconds: length of a clip, 0 for a picture."""

CHARACTERS = Table(
    "characters",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("owner", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("content", String(96), nullable=False),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), unique=True, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked", Boolean, nullable=False, default=False),
)
"""API keys, by their SHA-256: a key is 32 random bytes, so no slow hash is needed."""

REPEATS = Table(
    "repeats",
    METADATA,
    Column("owner", String(64), nullable=False),
    Column("key", String(255), nullable=False),
    Column("request", String(64), nullable=False),
    Column("video", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("owner", "key"),
)
"""Requests with an Idempotency-Key. request: SHA-256 of the request."""

EVENTS = Table(
    "events",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("type", String(32), nullable=False),
    Column("video", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_attempt", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
)
"""Webhooks that are to be delivered."""

WORKERS = Table(
    "workers",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("model", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)
"""Workers, each with its model's name and config, by which requests are checked."""


def connect(address: str | Path) -> Engine:
    """The database at an address: a file of SQLite, or postgresql://USER:PASSWORD@HOST/NAME."""
    text = str(address)
    if "://" not in text:
        settings = {"pool_size": THREADS, "max_overflow": THREADS, "pool_use_lifo": True}
        engine = create_engine(f"sqlite:///{text}", connect_args={"timeout": 30}, **settings)
        event.listen(engine, "connect", partial(_prepare_sqlite, DURABLE))
        return engine
    if text.startswith("postgresql://"):
        text = text.replace("postgresql://", "postgresql+psycopg://", 1)
    return create_engine(text, pool_size=20, max_overflow=40, pool_pre_ping=True)


def for_progress(engine: Engine) -> Engine:
    """The same database for what may be lost with the machine's power: SQLite does not wait for the disk."""
    if engine.dialect.name != "sqlite":
        return engine
    other = create_engine(engine.url, pool_size=2, connect_args={"timeout": 30})
    event.listen(other, "connect", partial(_prepare_sqlite, "NORMAL"))
    return other


def _prepare_sqlite(synchronous: str, connection: Any, record: Any) -> None:
    """Readers and a writer do not wait for each other."""
    for setting in ("journal_mode=WAL", f"synchronous={synchronous}"):
        connection.execute(f"PRAGMA {setting}")


def now() -> float:
    return time.time()


def as_dict(row: Any) -> dict[str, Any]:
    """A row as a dictionary."""
    mapping: Mapping[str, Any] = row._mapping
    return dict(mapping)
