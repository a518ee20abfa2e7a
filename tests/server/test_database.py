"""The database by its address: readers and a writer of SQLite do not wait for each other."""

import pytest
from sqlalchemy import text

from sorajax.server.database import connect, for_progress


def pragma(engine, name):
    with engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def test_sqlite_writes_ahead_and_progress_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("sorajax.server.database.DURABLE", "FULL")
    engine = connect(tmp_path / "jobs.sqlite")
    assert pragma(engine, "journal_mode") == "wal"
    assert (pragma(engine, "synchronous"), pragma(for_progress(engine), "synchronous")) == (2, 1)


def test_an_address_of_postgresql_has_its_driver():
    pytest.importorskip("psycopg")
    engine = connect("postgresql://user:secret@db.example.org/videos")
    assert (engine.url.drivername, engine.url.host, engine.url.database) == (
        "postgresql+psycopg",
        "db.example.org",
        "videos",
    )
    assert for_progress(engine) is engine
