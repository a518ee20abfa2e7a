"""A server on a free port, with the tiny model: the API in one thread, its worker in another."""

import io
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import uvicorn
from openai import OpenAI
from PIL import Image

from sorajax.media.video import Video
from sorajax.sampling.loading import load
from sorajax.server import logs
from sorajax.server.engine import Engine
from sorajax.server.options import ServeOptions
from sorajax.server.processes import content_of, listen, open_database, uvicorn_config, webhooks_of
from sorajax.server.service import Service
from sorajax.server.workers import Worker
from tests.server.postgres import postgres, program

PROMPT = "a red ball bounces"


class Running:
    """A server that runs."""

    def __init__(self, options, service, worker, port):
        self.options, self.service, self.worker = options, service, worker
        self.address = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.address, timeout=30)

    def client(self, key="any", **settings):
        return OpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=0, **settings)

    def finished(self, answer):
        """The video of an answer when it is finished."""
        name = answer.json()["id"]
        while (video := self.http.get(f"/v1/videos/{name}").json())["status"] in ("queued", "in_progress"):
            time.sleep(0.02)
        return video


@contextmanager
def running(options, model=None):
    """A server with these options, and a worker if there is a model."""
    logs.SETTINGS["quiet"] = True
    database = open_database(options.data, options.database)
    service = Service(options, database, content_of(options), webhooks_of(options, database))
    worker = None
    if model is not None:
        worker = Worker(database, service.jobs, model(service), options.batch or 1, drain=1.0)
        threading.Thread(target=worker.serve, daemon=True).start()
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn_config(service))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    one = Running(options, service, worker, listener.getsockname()[1])
    until = time.monotonic() + 20
    while not server.started or (worker and one.http.get("/readyz").status_code != 200):
        assert time.monotonic() < until
        time.sleep(0.02)
        service.polled_workers = (0.0, [])
    try:
        yield one
    finally:
        server.should_exit = True
        if worker is not None:
            worker.stop()
        thread.join(10)


@pytest.fixture(autouse=True, scope="session")
def quick():
    """Clients ask again after 20 ms, and the database does not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sorajax.server.videos.POLL_MS", "20")
        patch.setattr("sorajax.server.database.DURABLE", "OFF")
        yield


@pytest.fixture(scope="session")
def pipeline(tiny_model):
    return load(tiny_model)


@pytest.fixture(scope="session")
def tiny_engine(pipeline):
    """Makes the tiny model's engine for a service."""

    def engine(service):
        return Engine(pipeline, service.content, service.options.data / "windows", service.limits)

    return engine


@pytest.fixture(scope="session")
def server(tiny_engine, tmp_path_factory):
    options = ServeOptions(data=tmp_path_factory.mktemp("serve"))
    with running(options, tiny_engine) as one:
        yield one


@pytest.fixture
def idle(tmp_path, tiny_engine):
    """A server whose worker has registered and takes no jobs: they stay queued."""

    def still(service):
        engine = tiny_engine(service)
        service.jobs.claim = lambda *_: []
        return engine

    with running(ServeOptions(data=tmp_path, max_jobs=4), still) as one:
        yield one


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """An mp4 of 9 moving frames of 24x16."""
    frames = np.zeros((9, 16, 24, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[4:10, number : number + 6] = 200, 30, 30
    return Video(frames, 8.0).save(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def picture():
    """The bytes of a bright png."""
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="session")
def postgres_address():
    """The address of a PostgreSQL server; the test is skipped where it is not installed."""
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres() as address:
        yield address
