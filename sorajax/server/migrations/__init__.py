"""Migrations of the database by Alembic: creates its tables, or changes those of an older version.

A change of a table is a file in `versions`, and the table in `database.py` as it is afterwards.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from sorajax.server.database import METADATA, VIDEOS

FOLDER = Path(__file__).parent
VERSION = "alembic_version"
FIRST = "1"  # of databases that do not say their version
LOCK = 29_081_224  # of PostgreSQL, any number


def prepare(engine: Engine) -> None:
    """Creates the tables, or changes those of a former version, in one transaction. Raises OSError for those of a later
    version."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    with engine.begin() as connection:
        lock(connection)
        config.attributes["connection"] = connection
        tables = inspect(connection).get_table_names()
        if VIDEOS.name not in tables:
            METADATA.create_all(connection)
            command.stamp(config, "head")
            return
        if VERSION not in tables:
            command.stamp(config, FIRST)
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            number = connection.execute(text(f"SELECT version_num FROM {VERSION}")).scalar()
            message = f"the database is of a later version of sorajax (tables {number}): update sorajax, or use another"
            raise OSError(f"{message} --data or --database") from error


def lock(connection: Connection) -> None:
    """Lets one process at a time look at the tables and change them, until its transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
