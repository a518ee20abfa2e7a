"""Whatever ends a run, it goes on from its last whole checkpoint and comes out to the bit as if nothing had happened.

SORAJAX_KILLS=20 kills that many times; the suite does it a few times, to stay short.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from tests import ROOT
from tests.children import xla_flags

KILLS = int(os.environ.get("SORAJAX_KILLS", "3"))
STEPS = 100 + 60 * KILLS


def start(directory, save_every=7, **how):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags()}
    command = [
        sys.executable,
        "-m",
        "sorajax.train",
        "tests/configs/toy.py",
        "--directory",
        str(directory),
        "--resume",
        "--loop.steps",
        str(STEPS),
        "--loop.save-every",
        str(save_every),
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how
    )


def fingerprints(directory):
    """One number for each leaf of the last state: equal where every bit is."""
    found = next((directory / "checkpoints" / str(STEPS) / "meta").glob("*"))
    return json.loads(found.read_text())["fingerprints"]


def steps_of(directory):
    return sorted(int(path.name) for path in (directory / "checkpoints").glob("[0-9]*") if path.name.isdecimal())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    process = start(directory, STEPS)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return fingerprints(directory)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_parameters(whole, tmp_path):
    """Steps take a millisecond and every seventh saves, so most moments are in the middle of saving."""
    moments = random.Random(0)
    for _ in range(KILLS):
        process, before = start(tmp_path), max(steps_of(tmp_path), default=0)
        deadline = time.monotonic() + 120
        while max(steps_of(tmp_path), default=0) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert max(steps_of(tmp_path)) < STEPS, "the run ended before it was killed: give it more steps"
    process = start(tmp_path, STEPS)
    output = process.communicate(timeout=300)[0]
    assert "resumed" in output
    assert fingerprints(tmp_path) == whole


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint_whole(whole, tmp_path):
    """A limit on the size of files fails the writes of a save as a full disk does."""
    process, deadline = start(tmp_path), time.monotonic() + 120
    while not steps_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()  # saves and stops
    process.communicate(timeout=120)
    kept = steps_of(tmp_path)
    full = start(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)))
    output = full.communicate(timeout=300)[0]
    assert full.returncode == 1, output
    told = [line for line in output.splitlines() if line.startswith("sorajax: a checkpoint could not be written to")]
    assert len(told) == 1, output  # threads of TensorStore may print after it
    assert f"the last whole one is step {kept[-1]}; make room and continue with --resume" in told[0]
    assert set(steps_of(tmp_path)) >= set(kept[-1:])
    process = start(tmp_path, STEPS)
    output = process.communicate(timeout=300)[0]
    assert f"resumed {tmp_path} at step" in output
    assert fingerprints(tmp_path) == whole
