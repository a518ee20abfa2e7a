"""The processes of a server: one answers requests and starts another, which samples.

Sampling in a process of its own leaves the answers quick. If it dies it is started again, and its jobs are queued
again.
"""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine as Database
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from sorajax.errors import BadRequest, one_line
from sorajax.safety.policy import read_policy
from sorajax.server import logs
from sorajax.server.api import application
from sorajax.server.content import Content
from sorajax.server.database import WORKERS, connect
from sorajax.server.decoding import Limits
from sorajax.server.jobs import Jobs
from sorajax.server.logs import log
from sorajax.server.migrations import prepare
from sorajax.server.options import ServeOptions
from sorajax.server.plays import LONGEST_MESSAGE
from sorajax.server.service import Service
from sorajax.server.studio.previews import Previews
from sorajax.server.webhooks import Webhooks

PROGRAM = (sys.executable, "-m", "sorajax.serve")
PARENT = "SORAJAX_SERVE_PARENT"
SECRET = "SORAJAX_WEBHOOK_SECRET"
NO_MODEL = 3  # exit code of a worker that cannot open its model
PAUSE = 1.0  # seconds before a worker is started again
NICENESS = 10  # of sampling: requests come first


def open_database(data: Path, address: str | None) -> Database:
    """The database, with its tables. Raises OSError if it cannot be opened."""
    data = data.expanduser()
    data.mkdir(parents=True, exist_ok=True)
    engine = connect(address or data / "jobs.sqlite")
    try:
        prepare(engine)
    except SQLAlchemyError as error:
        raise OSError(f"the database cannot be opened ({one_line(error)[:200]}): check its address") from error
    return engine


def content_of(options: ServeOptions) -> Content:
    """The store of videos and uploads."""
    data = options.data.expanduser()
    return Content(options.files or data / "content", data)


def run_server(options: ServeOptions, arguments: Sequence[str], program: Sequence[str] = PROGRAM) -> int:
    """Serves until a signal; returns the exit code. program: the command that its worker is started with. Raises
    BadRequest, OSError."""
    import uvicorn

    logs.SETTINGS["prompts"] = options.log_prompts
    data = options.data.expanduser()
    data.mkdir(parents=True, exist_ok=True)
    with open(data / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadRequest(f"{data} is served by another process: use another --data") from error
        database = open_database(data, options.database)
        service = Service(options, database, content_of(options), webhooks_of(options, database))
        if not service.check_keys():
            raise BadRequest(
                f"--host {options.host} needs API keys: make one with `python -m sorajax.serve keys add NAME`"
            )
        if options.database is None:  # no worker of these jobs can live: the lock is ours
            service.jobs.rescue(everything=True)
            with database.begin() as connection:
                connection.execute(delete(WORKERS))
        listener = listen(options.host, options.port)
        logs.take_over()
        server = uvicorn.Server(uvicorn_config(service))
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn ends by them, then raises them again
            signal.signal(number, lambda *_: None)
        sampling = Sampling([*program, *arguments, "--worker"], server) if options.workers else None
        host, port = listener.getsockname()[:2]
        print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        log("server started", host=host, port=port, data=str(data))
        try:
            server.run(sockets=[listener])
        finally:
            if sampling is not None:
                sampling.stop(options.drain)
        log("server ended")
        return 0 if sampling is None or not sampling.failed else 1


def uvicorn_config(service: Service) -> Any:
    """How uvicorn serves: it believes X-Forwarded headers of the named proxies only."""
    import uvicorn

    return uvicorn.Config(
        application(service),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(service.options.trust_proxy),
        forwarded_allow_ips=list(service.options.trust_proxy),
        timeout_graceful_shutdown=10,
        limit_concurrency=2000,
        ws="wsproto",
        ws_max_size=LONGEST_MESSAGE,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address. Raises OSError, which names it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(f"{host}:{port} cannot be listened on ({error.strerror}): choose another --port") from error
    listener.listen(2048)  # who connects before the server is up waits
    return listener


def webhooks_of(options: ServeOptions, database: Database) -> Webhooks | None:
    """The webhooks, if an address is set. Raises BadRequest without a secret."""
    if options.webhook is None:
        return None
    if not options.webhook.startswith(("http://", "https://")):
        raise BadRequest(f"--webhook {options.webhook} is no address: write https://...")
    try:
        return Webhooks(database, options.webhook, os.environ[SECRET])
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadRequest(f"--webhook needs {SECRET}=whsec_BASE64 in the environment") from error


class Sampling:
    """The worker's process, started again when it dies."""

    def __init__(self, command: Sequence[str], server: Any):
        self.command, self.server, self.stopping, self.failed = command, server, threading.Event(), False
        self.process = self._start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self) -> subprocess.Popen:
        environment = {**os.environ, PARENT: str(os.getpid())}
        return subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL)

    def _watch(self) -> None:
        while not self.stopping.is_set():
            code = self.process.wait()
            if self.stopping.is_set():
                return
            if code == NO_MODEL:
                self.failed = True
                self.server.should_exit = True
                return
            log("the worker died and is started again", level="error", code=code)
            self.stopping.wait(PAUSE)
            if not self.stopping.is_set():
                self.process = self._start()

    def stop(self, drain: float) -> None:
        """Ends the worker after its job, or after `drain` seconds."""
        self.stopping.set()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(drain + 15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def open_model(options: ServeOptions) -> Any:
    """The pipeline that samples. Raises OSError, ValueError."""
    from sorajax.sampling.loading import load

    chosen = options.dtype, options.lora, options.quantize, options.mesh
    return load(options.model, *chosen, policy=read_policy(options.policy), preset=options.preset)


def run_worker(options: ServeOptions) -> int:
    """Samples until a signal; returns the exit code. Raises BadRequest, OSError."""
    from sorajax.server.workers import Worker, end_with_parent, stop_by_signals

    parent = int(os.environ.get(PARENT, "0"))
    if parent:
        end_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the parent ends this one
    elif options.database is None:
        raise BadRequest("--worker needs --database postgresql://...: SQLite is for one machine")
    logs.SETTINGS["prompts"] = options.log_prompts
    logs.take_over()
    begun = time.monotonic()
    os.nice(NICENESS)  # before jax starts the threads that compute: each thread has its own
    try:
        import jax

        from sorajax.server.engine import Engine

        logging.getLogger("jax").setLevel(logging.CRITICAL)  # it logs each cancelled program
        pipeline = open_model(options)
    except (OSError, ValueError) as error:
        print(f"sorajax: the model cannot be opened: {one_line(error)}", file=sys.stderr)
        return NO_MODEL
    on_cpu = jax.default_backend() == "cpu"
    log("model opened", model=pipeline.name, seconds=round(time.monotonic() - begun, 1))
    windows = options.data.expanduser() / "windows" if options.files is None else Path(options.files) / "windows"
    if "://" in str(windows):  # other machines do not see them: a film begins anew there
        windows = options.data.expanduser() / "windows"
    database = open_database(options.data, options.database)
    limits = Limits(bytes=options.max_upload_mb * 2**20)
    model = Engine(pipeline, content_of(options), windows, limits, Previews(database))
    jobs = Jobs(database, options.keep_days, options.webhook is not None)
    worker = Worker(database, jobs, model, options.batch or (1 if on_cpu else 8), options.drain)
    stop_by_signals(worker)
    if parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.serve()
    return 0
