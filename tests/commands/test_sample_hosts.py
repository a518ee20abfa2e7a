"""Two processes of four devices, as two hosts of a slice: they share clips out or make each together, write the files
of one process, go on with the missing ones, and end with one line."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from sorajax.commands.sample import main
from sorajax.devices.distributed import HEARTBEAT, Processes
from sorajax.media.video import Video
from sorajax.sampling.request import Request
from tests import ROOT
from tests.children import xla_flags

PROMPTS = ("a red ball", "a blue box falls", "the grey floor")
NAMES = ("a-red-ball.webp", "a-blue-box-falls.webp", "the-grey-floor.webp")
PATH = re.compile(r"/\S+")


def launched(module, *commands):
    """Starts one process per command, which find each other."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    environment = os.environ | {
        "XLA_FLAGS": xla_flags(4),
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(len(commands)),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", f"sorajax.{module}", *map(str, command)],
            cwd=ROOT,
            env=environment | {"JAX_PROCESS_ID": str(process)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for process, command in enumerate(commands)
    ]


def ended(processes, timeout=400):
    """(code, the paths on stdout, stderr) of each process. The collectives of the CPU print on stdout too, and threads
    write into each other's lines."""
    found = [process.communicate(timeout=timeout) for process in processes]
    return [
        (process.returncode, "\n".join(PATH.findall(out)), err)
        for process, (out, err) in zip(processes, found, strict=True)
    ]


@pytest.fixture
def command(tiny_model, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    options = ["--prompts-file", tmp_path / "prompts.txt", "--model", tiny_model, "--frames", "5"]

    def out(folder):
        """Each clip's file is named in the folder after its number."""
        return [*options, "--out", tmp_path / folder / "clip.webp"]

    return out


@pytest.fixture
def expected(command, tmp_path):
    """What one process makes."""
    assert main([str(word) for word in command("one")]) == 0
    return [Video.load(tmp_path / "one" / f"clip-{number}.webp") for number in (1, 2, 3)]


@pytest.mark.slow
def test_prompts_are_shared_out_and_missing_files_are_made(command, expected, tmp_path):
    (code, out, err), other = ended(launched("sample", command("two"), command("two")))
    assert code == 0, err
    assert other == (0, "", ""), "only process 0 prints"
    assert sorted(out.split()) == [str(tmp_path / "two" / f"clip-{number}.webp") for number in (1, 2, 3)]
    for number, video in enumerate(expected, 1):
        shared = Video.load(tmp_path / "two" / f"clip-{number}.webp")
        assert np.array_equal(shared.frames, video.frames)
        assert shared.metadata == video.metadata

    kept = (tmp_path / "two" / "clip-2.webp").stat().st_mtime_ns
    (tmp_path / "two" / "clip-3.webp").unlink()
    words = [*command("two"), "--resume"]
    (code, out, err), _ = ended(launched("sample", words, words))
    assert (code, out.split()) == (0, [str(tmp_path / "two" / "clip-3.webp")]), err
    assert "clip-2.webp is finished, and stays as it is" in err
    assert (tmp_path / "two" / "clip-2.webp").stat().st_mtime_ns == kept
    assert np.array_equal(Video.load(tmp_path / "two" / "clip-3.webp").frames, expected[2].frames)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2,seq=4", "data=8"])
def test_a_mesh_makes_each_clip_on_the_devices_of_all_processes(command, expected, tmp_path, mesh):
    words = [*command("two"), "--mesh", mesh]
    (code, out, err), other = ended(launched("sample", words, words))
    assert code == 0, err
    assert other == (0, "", "")
    assert len(out.split()) == 3
    for number, video in enumerate(expected, 1):
        together = Video.load(tmp_path / "two" / f"clip-{number}.webp")
        assert np.abs(together.frames.astype(int) - video.frames).max() <= 1
        assert together.metadata == video.metadata


@pytest.mark.slow
def test_hosts_with_other_weights_or_options_are_told_in_one_line(command, tiny_model, tmp_path):
    other = tmp_path / "other" / tiny_model.name
    shutil.copytree(tiny_model, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    changed = [other if word == tiny_model else word for word in command("two")]
    for words, what in ((changed, "weights"), ([*command("two"), "--steps", "3"], "options")):
        for number, (code, out, err) in enumerate(ended(launched("sample", command("two"), words))):
            assert (code, out) == (1, "")
            assert err.startswith(f"sorajax: process {number}: process 1 has other {what} than process 0 (")
            assert err.count("\n") == 1
    assert not (tmp_path / "two").exists(), "nothing was computed"


@pytest.mark.slow
def test_the_death_of_a_process_ends_the_other(command, tmp_path):
    words = [*command("two"), "--num", "200"]
    first, second = launched("sample", words, words)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("two/*.webp")) and time.monotonic() < deadline:
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ((code, _, err),) = ended([first], 2 * HEARTBEAT)
    second.communicate()
    assert time.monotonic() - killed < 60
    assert code == 1
    assert err.startswith("sorajax: process 0: another process is gone (")
    assert err.endswith("start all processes again with --resume\n")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("two/.*")), "no half-written file"


def test_a_part_of_a_request_is_the_same_clips():
    request = Request(("a", "b"), num=2, seed=7)
    assert request.clips == [("a", 7), ("a", 8), ("b", 7), ("b", 8)]
    assert request.part([1, 2]).clips == [("a", 8), ("b", 7)]
    assert request.part([0, 1, 2, 3]) is request
    shares = [Processes(index, 3).share(request.clips) for index in range(3)]
    assert sorted(clip for share in shares for clip in share) == request.clips
