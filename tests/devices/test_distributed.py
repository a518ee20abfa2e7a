"""Two processes of four devices train as one; one of them dies, the other says so and stops, and both go on."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from sorajax.commands.train import main
from sorajax.devices.distributed import HEARTBEAT, DistributedConfig
from tests import ROOT
from tests.children import xla_flags

STEPS, SAVE = 60, 20


def launched(directory, *more):
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": xla_flags(4), "JAX_PLATFORMS": "cpu"}
    command = [
        sys.executable,
        "-m",
        "sorajax.train",
        "tests/configs/toy.py",
        "--directory",
        str(directory),
        "--loop.steps",
        str(STEPS),
        "--loop.save-every",
        str(SAVE),
        "--mesh",
        "data=2,fsdp=4",
        "--coordinator",
        f"localhost:{port}",
        "--processes",
        "2",
        *more,
    ]
    return [
        subprocess.Popen(
            [*command, "--process", str(i)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for i in range(2)
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_and_survive_the_death_of_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    outputs = [process.communicate(timeout=400)[0] for process in launched(whole)]
    assert f"step {STEPS}/{STEPS}" in outputs[0]
    assert "step" not in outputs[1], "only the first process prints"

    first, second = launched(broken)
    deadline = time.monotonic() + 300
    while not (broken / "checkpoints" / str(SAVE)).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    output = first.communicate(timeout=2 * HEARTBEAT)[0]
    assert time.monotonic() - killed < 60
    assert first.returncode != 0
    assert re.search(r"another process is gone .* start all processes again|another task died", output), output
    second.communicate()

    outputs = [process.communicate(timeout=400)[0] for process in launched(broken, "--resume")]
    assert re.search(r"resumed .* at step \d+", outputs[0]), outputs
    assert fingerprints(broken) == fingerprints(whole)


def fingerprints(directory):
    """One number for each leaf of the last state: equal where every bit is."""
    found = next((directory / "checkpoints" / str(STEPS) / "meta").glob("*"))
    return json.loads(found.read_text())["fingerprints"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"coordinator": "here:1"}, "--coordinator, --processes and --process belong together"),
        ({"coordinator": "here", "processes": 2, "process": 0}, "--coordinator here is not HOST:PORT"),
        ({"coordinator": "here:1", "processes": 2, "process": 2}, "--process 2 is not among 2 processes: count from 0"),
    ],
)
def test_wrong_distributed_options_are_one_line(said, message):
    with pytest.raises(ValueError, match=message):
        DistributedConfig(**said)


def test_incomplete_distributed_options_are_refused(capsys):
    assert main(["tests/configs/toy.py", "--processes", "2"]) == 2
    assert "give all three or none" in capsys.readouterr().err
