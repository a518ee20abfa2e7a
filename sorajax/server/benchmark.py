"""Measures a server of the embedded model from outside: it is started as a program, and receives requests over HTTP."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sorajax.evaluation import markdown
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.shell import PROMPT, run_sample, settings
from sorajax.models.folder import WORLD

CREATED, POLLERS = 200, 50
POLL = 0.25  # seconds between questions for a queue's last video: more of them would be measured, too
QUEUE = 100  # equal jobs
MANY = 500  # jobs of one frame and one step
BARS = {"p99": 50.0, "throughput": 0.95}
"""Targets of the project: milliseconds, and the share of `sorajax.sample --num`."""


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server that is ready: its address and its process."""
    import httpx

    command = [sys.executable, "-m", "sorajax.serve", "--port", "0", "--data", str(folder), "--max-jobs", "100000"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the server did not start: {(folder / 'log').read_text()[-300:]}")
        while httpx.get(f"{address}/readyz").status_code != 200:
            time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        process.wait(90)


def measure(options: Benchmark) -> Measured:
    """Latency of creating a video, clips per second, and memory."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (address, process):
        latency = latencies(address)
        print(f"create, while a film is sampled: {latency['p50']:.1f} ms median, {latency['p99']:.1f} ms of 99 %")
        seconds = queue_seconds(address)
        first, last = memory_over(address, process)
        print(f"memory after {MANY // 10} jobs {first / 2**20:.0f} MiB, after {MANY} {last / 2**20:.0f} MiB")
    with tempfile.TemporaryDirectory() as cache:
        run_sample(Path(cache))
        one, many = (run_sample(Path(cache), "--num", str(num)).seconds for num in (1, QUEUE))
    clip = (many - one) / (QUEUE - 1)
    print(f"a clip takes {seconds:.3f} s in a queue of {QUEUE}, {clip:.3f} s with `sorajax.sample --num {QUEUE}`")
    found = {**latency, "seconds": seconds, "sample_seconds": clip, "throughput": clip / seconds}
    found |= {"memory_first": first, "memory_last": last}
    rows = [
        ["creating a video, median", f"{latency['p50']:.1f} ms", "-"],
        ["creating a video, 99th percentile", f"{latency['p99']:.1f} ms", f"at most {BARS['p99']:g} ms"],
        [
            f"clips per second of a queue of {QUEUE}, relative to `--num {QUEUE}`",
            f"{found['throughput']:.2f}",
            f"at least {BARS['throughput']}",
        ],
        [f"memory after {MANY // 10} jobs", f"{first / 2**20:,.0f} MiB", "-"],
        [f"memory after {MANY} jobs", f"{last / 2**20:,.0f} MiB", "about the same"],
    ]
    tables = {"serve": markdown.table(["server", "measured", "bar"], rows)}
    return Measured({"serve": found}, tables, f"{POLLERS} polling clients, {settings(WORLD)}", WORLD)


@contextmanager
def polling(address: str, video: str) -> Iterator[None]:
    """Other clients ask for a video's state. They are a process of their own, or their work would be measured."""
    command = [sys.executable, "-m", "sorajax.server.polling", address, video, str(POLLERS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError("the polling clients ended")
        yield
    finally:
        process.kill()
        process.wait()


def latencies(address: str) -> dict[str, float]:
    """Milliseconds of creating a video, median and 99th percentile, while a film is sampled and clients poll."""
    import httpx

    taken = []
    with httpx.Client(base_url=f"{address}/v1", timeout=60) as client:
        film = client.post("/videos", json={"prompt": PROMPT, "seconds": 600}).json()["id"]
        while client.get(f"/videos/{film}").json()["progress"] < 1:
            time.sleep(0.1)
        with polling(address, film):
            for _ in range(CREATED):
                begun = time.perf_counter()
                answer = client.post("/videos", json={"prompt": PROMPT, "frames": 1})
                taken.append(1000 * (time.perf_counter() - begun))
                client.delete(f"/videos/{answer.json()['id']}")
                time.sleep(0.02)
        client.delete(f"/videos/{film}")
    taken.sort()
    return {"p50": statistics.median(taken), "p99": taken[int(0.99 * len(taken))]}


def queue_seconds(address: str) -> float:
    """Seconds per clip of a queue of equal jobs, from the first one's end to the last one's."""
    import httpx

    with httpx.Client(base_url=f"{address}/v1", timeout=60) as client:
        names = [client.post("/videos", json={"prompt": PROMPT, "seed": seed}).json()["id"] for seed in range(QUEUE)]
        wait(client, names[0])
        begun = time.perf_counter()
        wait(client, names[-1])
        return (time.perf_counter() - begun) / (QUEUE - 1)


def memory_over(address: str, process: subprocess.Popen) -> tuple[int, int]:
    """Bytes of the server and its worker, after a tenth of many jobs and after all."""
    import httpx

    found = []
    with httpx.Client(base_url=f"{address}/v1", timeout=60) as client:
        for count in (MANY // 10, MANY - MANY // 10):
            for _ in range(count):
                last = client.post("/videos", json={"prompt": PROMPT, "frames": 1, "steps": 1}).json()["id"]
            wait(client, last)
            found.append(memory_of(process))
    return found[0], found[1]


def memory_of(process: subprocess.Popen) -> int:
    import psutil

    one = psutil.Process(process.pid)
    return sum(each.memory_info().rss for each in (one, *one.children(recursive=True)))


def wait(client: Any, name: str) -> None:
    """Returns when a video is finished. Raises RuntimeError if it failed."""
    while (status := client.get(f"/videos/{name}").json()["status"]) != "completed":
        if status == "failed":
            raise RuntimeError(f"the server could not make {name}")
        time.sleep(POLL)
