"""A database of a former version is opened with all that is in it, and a migrated one has the tables of a new one."""

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from sorajax.commands.serve import main
from sorajax.server.database import FAVOURITES, METADATA, PREVIEWS, USAGE, connect
from sorajax.server.jobs import new_id
from sorajax.server.keys import owner_of
from sorajax.server.migrations import VERSION, prepare
from sorajax.server.options import ServeOptions
from tests import ROOT
from tests.server.postgres import new_database
from tests.server.toy import job, toy_worker

FIRST = (ROOT / "tests" / "server" / "first.sql").read_text()


@pytest.fixture
def former(tmp_path):
    """The file of a server whose tables had no versions."""
    with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
        connection.executescript(FIRST)
    return tmp_path / "jobs.sqlite"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engines(request, tmp_path):
    """A new database, and one whose tables are those of the first version."""
    if request.param == "sqlite":
        addresses = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    else:
        server = request.getfixturevalue("postgres_address")
        addresses = new_database(server, new_id("new")), new_database(server, new_id("former"))
    new, old = map(connect, addresses)
    METADATA.create_all(old)
    for later in (USAGE, FAVOURITES, PREVIEWS):
        later.drop(old)
    yield new, old
    new.dispose()
    old.dispose()


def differences(engine):
    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), METADATA)


def version(engine):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT version_num FROM {VERSION}")).scalar_one()


def test_jobs_keys_and_repeats_of_the_last_version_are_kept(former):
    worker = toy_worker(ServeOptions(data=former.parent))
    jobs = worker.jobs
    assert (jobs.unfinished("local"), jobs.seconds_today("local")) == (2, 0.0), "its jobs are of another day"
    with jobs.engine.connect() as connection:
        usage = {row.video[-1]: row.seconds for row in connection.execute(USAGE.select())}
    assert usage == {"1": 1.0, "3": 1.0, "4": 2.5}
    while found := jobs.claim(worker.name):
        worker.sample(found)
    rows, _ = jobs.page("local", None, 10, False)
    assert [(row["prompt"], row["status"]) for row in rows] == [
        ("completed", "completed"),
        ("failed", "failed"),
        ("in progress", "completed"),
        ("queued", "completed"),
    ]
    assert owner_of(jobs.engine, "sk-sorajax-former") == "key_00000000000000000000000000000007"
    assert jobs.add(job("queued"), ("again", "0" * 64))["id"] == rows[3]["id"]


def test_a_migrated_database_has_the_tables_of_a_new_one(engines, former):
    for engine in (*engines, connect(former)):
        prepare(engine)
        assert not differences(engine)
        prepare(engine)
    assert version(engines[0]) == version(engines[1]) == version(connect(former))


def test_an_interrupted_migration_is_made_again(former, monkeypatch):
    engine = connect(former)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(engine)
    assert sorted(table for table in METADATA.tables if table not in tables(engine)) == [
        "favourites",
        "previews",
        "usage",
    ]
    assert VERSION not in tables(engine)
    prepare(engine)
    assert not differences(engine)


def tables(engine):
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).dialect.get_table_names(connection))


def test_a_database_of_a_later_version_is_refused_in_one_line(tmp_path, capfd):
    engine = connect(tmp_path / "jobs.sqlite")
    prepare(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION} SET version_num = '999'"))
    assert main(["keys", "list", "--data", str(tmp_path)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "999" in line
    assert "update sorajax" in line
