"""A PostgreSQL of its own, from the system's package, in a folder that is deleted."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path

import psycopg

USER = "postgres"


def program(name: str) -> str | None:
    """Path of a program of PostgreSQL, None if it is not installed."""
    found = sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name)


@contextmanager
def postgres() -> Iterator[str]:
    """Starts a server, and yields its address without a database's name. It never runs as root."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    as_user = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="sorajax-postgres-"))
    try:
        if as_user:
            shutil.chown(folder, USER, USER)
        run = {**as_user, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        data = str(folder / "data")
        subprocess.run([program("initdb"), "-D", data, "-U", USER, "--auth", "trust", "-E", "UTF8", "-N"], **run)
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        subprocess.run([program("pg_ctl"), "-D", data, "-w", "-o", settings, "-l", f"{folder}/log", "start"], **run)
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}"
        finally:
            subprocess.run([program("pg_ctl"), "-D", data, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(address: str, name: str) -> str:
    """Creates a database and returns its address."""
    with psycopg.connect(f"{address}/{USER}", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{address}/{name}"
