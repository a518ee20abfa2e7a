"""Prompts, models, inputs and outputs at addresses: what a command reads and writes there is what it does here."""

import uuid

import numpy as np
import pytest

from sorajax.commands.sample import main
from sorajax.files import as_path, write_atomically
from sorajax.media.video import Video, sidecar
from sorajax.sampling.denoiser import Denoiser


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return as_path(f"memory://{uuid.uuid4()}")


@pytest.fixture
def remote_model(bucket, tiny_model):
    for path in tiny_model.iterdir():
        copy = path.read_bytes()
        write_atomically(bucket / "tiny" / path.name, lambda temporary, copy=copy: temporary.write_bytes(copy))
    return bucket / "tiny"


def test_a_command_reads_and_writes_at_addresses(bucket, remote_model, tiny_model, tmp_path, capsys, monkeypatch):
    write_atomically(bucket / "prompts.txt", lambda path: path.write_text("a red ball\na blue box\n"))
    command = ["--prompts-file", str(bucket / "prompts.txt"), "--frames", "5"]
    remote = [*command, "--model", str(remote_model), "--out", f"{bucket}/clips/"]
    assert main(remote) == 0
    assert capsys.readouterr().out == f"{bucket}/clips/a-red-ball.mp4\n{bucket}/clips/a-blue-box.mp4\n"
    assert main([*command, "--model", str(tiny_model), "--out", f"{tmp_path}/clips/"]) == 0
    for name in ("a-red-ball.mp4", "a-blue-box.mp4"):
        here, there = (Video.load(folder / "clips" / name) for folder in (tmp_path, bucket))
        assert np.array_equal(here.frames, there.frames)
        assert here.metadata | {"model": "tiny"} == there.metadata | {"model": "tiny"}
        assert sidecar(bucket / "clips" / name).is_file()
    assert not list(tmp_path.glob("memory*")), "nothing is written to a local folder of that name"

    made, sample = [], Denoiser.sample
    monkeypatch.setattr(
        Denoiser,
        "sample",
        lambda self, clips, *rest, **more: (made.extend(clips), sample(self, clips, *rest, **more))[1],
    )
    assert main([*remote, "--out", f"{bucket}/clip.webp"]) == 0
    capsys.readouterr()
    assert main([*remote, "--out", f"{bucket}/clip.webp"]) == 1
    assert "clip-1.webp exists" in capsys.readouterr().err
    from sorajax.files import storage

    with storage(bucket / "clip-2.webp") as (files, name):
        files.rm(name)
    made.clear()
    assert main([*remote, "--out", f"{bucket}/clip.webp", "--resume"]) == 0
    assert made == [("a blue box", 0)], "only the missing file is made"
    assert f"{bucket}/clip-1.webp is finished" in capsys.readouterr().err
    picture = ["--image", str(bucket / "clip-1.webp"), "--out", f"{bucket}/more.png", "--frames", "5"]
    assert main(["a red ball", "--model", str(remote_model), *picture]) == 0
    assert (bucket / "more.png").is_file()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--out", "none://bucket/clips/"], "none://bucket/clips"),
        (["--model", "none://bucket/model"], "none://bucket/model cannot be reached"),
        (["--model", "memory://none/model"], "memory://none/model does not exist"),
        (["--prompts-file", "memory://none/prompts.txt"], "memory://none/prompts.txt"),
        (["--image", "memory://none/a.png"], "memory://none/a.png does not exist"),
    ],
)
def test_an_address_that_cannot_be_read_is_one_line(option, message, tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["a red ball", "--model", str(tiny_model), *option]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
