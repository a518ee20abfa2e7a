"""The studio in a notebook: server and worker are threads of the notebook's process, so that they use its devices."""

import fcntl
import threading
from html import escape
from pathlib import Path
from typing import IO, Any

from sorajax.errors import BadRequest
from sorajax.sampling.pipeline import Pipeline
from sorajax.server import logs
from sorajax.server.engine import Engine
from sorajax.server.options import ServeOptions
from sorajax.server.processes import content_of, listen, open_database, uvicorn_config
from sorajax.server.service import Service
from sorajax.server.studio.previews import Previews
from sorajax.server.workers import Worker

LOCAL = ("http://localhost:*", "http://127.0.0.1:*")
COLAB = ("https://colab.research.google.com", "https://*.googleusercontent.com", "https://*.colab.dev")
"""Origins whose pages may show the studio in a frame."""
OPEN: dict[Path, "Studio"] = {}


class Studio:
    """A studio that runs. A notebook shows it in a cell; `stop` ends it, and its clips stay in the folder `data`."""

    def __init__(self, pipeline: Pipeline, data: Path, port: int, height: int):
        import uvicorn

        logs.SETTINGS["quiet"] = True
        self.data, self.height, self.lock = data, height, locked(data)
        listener = listen("127.0.0.1", port)
        self.port: int = listener.getsockname()[1]
        self.proxy = colab_address(self.port)
        options = ServeOptions(data=data, port=self.port, **reached_through(self.proxy))
        database = open_database(data, None)
        service = Service(options, database, content_of(options))
        service.jobs.rescue(everything=True)
        engine = Engine(pipeline, service.content, data / "windows", service.limits, Previews(database))
        self.worker = Worker(database, service.jobs, engine, drain=0.0)
        self.server = uvicorn.Server(uvicorn_config(service))
        self.threads = [
            threading.Thread(target=self.worker.serve, daemon=True),
            threading.Thread(target=self.server.run, args=([listener],), daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    @property
    def address(self) -> str:
        """The studio's address for a browser."""
        return self.proxy or f"http://127.0.0.1:{self.port}/"

    def stop(self) -> None:
        """Ends it. A video in progress is queued again, and continues when the studio is opened again."""
        self.server.should_exit = True
        self.worker.stop()
        for thread in self.threads:
            thread.join(30)
        self.lock.close()
        OPEN.pop(self.data, None)

    def _repr_html_(self) -> str:
        frame = f'width="100%" height="{self.height}" style="border:0" allow="clipboard-write; fullscreen"'
        return f'<iframe src="{escape(self.address)}" {frame}></iframe>'


def studio(model: str | Pipeline = "world", *, data: str | Path = "serve", port: int = 0, height: int = 860) -> Studio:
    """Opens the studio, which a notebook shows below the cell.

    model: a name or folder as for `sorajax.load`, or what that returned. data: folder of the videos. port: 0 takes a
    free one. height: of the frame, in pixels. Raises BadRequest if another process serves the folder.
    """
    folder = Path(data).expanduser().resolve()
    if folder in OPEN:
        return OPEN[folder]
    if not isinstance(model, Pipeline):
        from sorajax.sampling.loading import load

        model = load(model)
    folder.mkdir(parents=True, exist_ok=True)
    OPEN[folder] = Studio(model, folder, port, height)
    return OPEN[folder]


def locked(data: Path) -> IO[str]:
    """The folder's lock, which is released when the file is closed. Raises BadRequest if another process has it."""
    lock = open(data / "lock", "w")  # noqa: SIM115 (it stays open)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise BadRequest(f"{data} is served by another process: use another folder, data=...") from error
    return lock


def colab_address(port: int) -> str | None:
    """The address by which Colab's proxy reaches a port; None elsewhere."""
    try:
        from google.colab.output import eval_js
    except ImportError:
        return None
    address: str = eval_js(f"google.colab.kernel.proxyPort({port})")
    return address


def reached_through(proxy: str | None) -> dict[str, Any]:
    """The server's options behind a proxy, or on this machine."""
    if proxy is None:
        return {"allow_origin": LOCAL}
    origin = proxy.rstrip("/")
    host = origin.partition("://")[2].partition("/")[0].partition(":")[0]
    return {"allow_origin": (*COLAB, origin), "allow_host": (host,)}
