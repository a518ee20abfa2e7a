"""Training with its directory and inputs at addresses: memory:// is fsspec's storage in this process."""

import uuid
from dataclasses import replace

import jax
import numpy as np
import pytest

from sorajax.commands.train import main
from sorajax.data.contexts import Contexts, encode_captions
from sorajax.data.videos.clips import BrokenFiles, Source, VideoData
from sorajax.files import as_path, write_atomically
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.hub import resolve_model
from sorajax.training.experiments import load_experiment, with_local_inputs
from tests import CONFIGS
from tests.training.toy import on_devices

DIT = str(CONFIGS / "tiny_dit.py")


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return as_path(f"memory://{uuid.uuid4()}")


def put(address, text):
    write_atomically(address, lambda path: path.write_text(text))


@pytest.mark.slow
def test_a_run_at_an_address_is_that_of_a_folder(bucket, tiny_model, tmp_path, monkeypatch, capsys):
    on_devices(monkeypatch, 1)
    monkeypatch.chdir(tmp_path)
    for path in tiny_model.iterdir():
        content = path.read_bytes()
        write_atomically(bucket / "vae" / path.name, lambda file, content=content: file.write_bytes(content))
    here = ["--vae", tiny_model, "--directory", "run", "--loop.steps", "4", "--latents", "latents", "--encoded", "8"]
    there = ["--vae", bucket / "vae", "--directory", bucket / "run", "--latents", bucket / "latents", "--encoded", "8"]
    for words in (here, [*there, "--loop.steps", "2"], [*there, "--loop.steps", "4", "--resume"]):
        assert main([DIT, *map(str, words)]) == 0
    assert f"resumed {bucket}/run at step 2" in capsys.readouterr().out
    run = bucket / "run"
    for name in ("previews/00000002.png", "tokenizer.json", "model/config.json", "checkpoints/4/_CHECKPOINT_METADATA"):
        assert (run / name).is_file()
    assert (run / "events").is_dir()
    assert (bucket / "latents/latents.json").is_file()
    here, there = (load_model(resolve_model(folder), SoraConfig) for folder in ("run", run))
    assert (here[0], here[2]) == (there[0], there[2])
    jax.tree.map(np.testing.assert_array_equal, here[1], there[1])
    assert not list(tmp_path.glob("memory*")), "nothing is written to a local folder of that name"
    assert main([DIT, "--vae", str(bucket / "vae"), "--directory", str(run)]) == 1
    assert f"{run} holds a run" in capsys.readouterr().err


def test_a_directory_where_processes_cannot_write_checkpoints_is_one_line(bucket, capsys, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert main([str(CONFIGS / "toy.py"), "--directory", str(bucket / "run")]) == 1
    error = capsys.readouterr().err
    assert f"--directory {bucket}/run: 2 processes write checkpoints to a folder that all see, or to gs://" in error
    assert error.count("\n") == 1


def test_models_and_videos_at_addresses_are_copied(bucket, monkeypatch):
    for name in ("vae/model/config.json", "vae/checkpoints/large", "one/a.mp4", "two/b.mp4"):
        put(bucket / name, name)
    data = VideoData(folder=bucket / "one", more=(Source(bucket / "two", 2.0),))
    config = replace(load_experiment(DIT), vae=bucket / "vae", data=data)
    here = with_local_inputs(config)
    assert [path.name for path in here.vae.iterdir()] == ["config.json"], "of a training directory the model alone"
    assert [(source.folder / name).is_file() for source, name in zip(here.data.sources, ("a.mp4", "b.mp4"))] == [
        True
    ] * 2
    assert here.data.more[0].weight == 2.0
    assert with_local_inputs(here) == here
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="2 processes need a folder that all hosts see"):
        with_local_inputs(replace(config, latents=bucket / "latents"))


def test_captions_and_broken_files_at_an_address(bucket):
    def embed(captions):
        return [np.full((2, 3), len(caption), np.float32) for caption in captions]

    for _ in range(2):
        encode_captions(bucket, ["a ball", "a box"], lambda: embed, "signature", lambda text: None)
    found = Contexts([bucket], "signature", 4)(["a box", ""])["context"]
    assert (found[:, 0, 0].tolist(), found[0, 2].tolist()) == ([5, 0], [0, 0, 0])
    with pytest.raises(FileNotFoundError, match="has no captions"):
        Contexts([bucket / "none"], "signature", 4)
    for name in ("a.mp4", "b.mp4", "a.mp4"):
        BrokenFiles(bucket / "broken.jsonl", 100, 0.5).add(name, "cut short")
    assert BrokenFiles(bucket / "broken.jsonl", 100, 0.5).names == {"a.mp4", "b.mp4"}
    assert len((bucket / "broken.jsonl").read_text().splitlines()) == 2
