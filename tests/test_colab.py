"""The notebooks run, cell by cell, and make nothing twice; those that train get smaller values for their settings."""

import importlib.util
import json
import re
import subprocess

import jax
import pytest

from sorajax.devices.sharding import make_mesh
from sorajax.training import experiments, loop
from tests import CONFIGS, ROOT
from tests.data.videos.films import film, moving

TRAINING = ("train_videos", "lora_wan")
WAN = """
from pathlib import Path
from dataclasses import replace
from sorajax.data.buckets import Bucket
from sorajax.training.experiments import load_experiment

real = load_experiment({real!r})
config = replace(
    real,
    dtype="float32",
    objective=replace(real.objective, sample_steps=1),
    data=replace(real.data, buckets=(Bucket(5, 16, 16, batch_size=2),), tokens=0, phases=(), held_out=0.3),
    validation=1,
    loop=replace(real.loop, steps=2, validate_every=2),
)
"""
"""The experiment of the real notebook, at a size that random weights take."""


def run(notebook: str, names: dict, cells: int | None = None, settings: dict | None = None) -> dict:
    """Runs the cells, without IPython's own lines. `settings` are typed over those of the first cell of code."""
    path = ROOT / "colab" / f"{notebook}.ipynb"
    for cell in json.loads(path.read_text())["cells"][:cells]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            source = "\n".join(re.sub(r"^(\s*)%.*", r"\1pass", line) for line in lines)
            exec(compile(source, str(path), "exec"), names)
            if settings is not None:
                assert source.startswith("# Settings")
                assert settings.keys() <= names.keys()
                names |= settings
                settings = None
    return names


@pytest.fixture
def one_device(monkeypatch):
    """As on the runtimes that notebooks have."""
    for module in (loop, experiments, importlib.import_module("sorajax.devices.sharding")):
        monkeypatch.setattr(module, "make_mesh", lambda shape="", devices=None: make_mesh(shape, jax.devices()[:1]))


@pytest.fixture
def videos(tmp_path):
    """A folder of films with captions."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed in range(8):
        film(folder / f"{seed}.mp4", moving(seed, 12, (40, 40)))
        (folder / f"{seed}.txt").write_text(f"a square moves over ground number {seed}")
    return folder


def times(folder, pattern):
    """When each file was written."""
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob(pattern)}


@pytest.mark.slow
def test_the_sampling_notebook_runs_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SORAJAX_MODEL", "world")
    names = run("sample", {})
    assert len(names["longer"].frames) == len(names["video"].frames) + 16
    assert names["edited"].frames.shape == names["video"].frames.shape
    made = times(tmp_path / "clips", "*.mp4")
    assert set(map(str, made)) == {"first.mp4", "several.mp4", "longer.mp4", "edited.mp4"}
    (tmp_path / "clips" / "edited.mp4").unlink()
    (tmp_path / "clips" / "edited.mp4.json").unlink()
    run("sample", {})
    again = times(tmp_path / "clips", "*.mp4")
    assert again.keys() == made.keys()
    assert {str(name) for name in made if again[name] != made[name]} == {"edited.mp4"}


@pytest.mark.slow
def test_the_training_notebook_runs_and_resumes(tmp_path, monkeypatch, one_device, videos, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {
        "SOURCE": str(ROOT),
        "FOLDER": tmp_path / "made",
        "VIDEOS": str(videos),
        "PROMPT": "a square moves",
        "AUTOENCODER": str(CONFIGS / "tiny_videos_vae.py"),
        "TRANSFORMER": f"{CONFIGS / 'tiny_videos_dit.py'} --loop.steps 3",
    }
    names = run("train_videos", {}, settings=settings)
    assert names["video"].frames.shape == (9, 32, 32, 3)
    assert (tmp_path / "made" / "first.mp4").exists()
    encoded = times(tmp_path / "made" / "prepared", "*.arrayrecord")
    assert encoded
    capsys.readouterr()
    settings["TRANSFORMER"] = settings["TRANSFORMER"].replace("3", "4")
    run("train_videos", {}, settings=settings)
    assert times(tmp_path / "made" / "prepared", "*.arrayrecord") == encoded
    out = capsys.readouterr().out
    assert "autoencoder at step 2" in out
    assert "transformer at step 3" in out


@pytest.mark.slow
@pytest.mark.parity
def test_the_wan_notebook_runs(tmp_path, monkeypatch, one_device, videos):
    pytest.importorskip("torch", reason="the parity extra is not installed")
    diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
    from tests.pretrained import reference

    diffusers.WanPipeline(
        tokenizer=reference.tokenizer(),
        text_encoder=reference.text_encoder(),
        transformer=reference.transformer(),
        vae=reference.autoencoder(),
        scheduler=reference.scheduler(),
    ).save_pretrained(tmp_path / "Wan")
    (tmp_path / "small.py").write_text(WAN.format(real=str(ROOT / "configs" / "wan_lora.py")))
    monkeypatch.chdir(tmp_path)
    settings = {
        "SOURCE": str(ROOT),
        "FOLDER": tmp_path / "made",
        "VIDEOS": str(videos),
        "MODEL": str(tmp_path / "Wan"),
        "TRAINING": str(tmp_path / "small.py"),
        "PROMPT": "a red ball",
        "SETTINGS": {"width": 16, "height": 16, "frames": 5, "steps": 1},
    }
    names = run("lora_wan", {}, settings=settings)
    assert names["video"].frames.shape == (5, 16, 16, 3)
    assert names["video"].metadata["adapters"] == [f"{tmp_path / 'made/adapter/model/lora.safetensors'}:1.0"]


def test_a_notebook_finds_or_requests_the_package(tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    for folder in ("colab", "sorajax"):
        (copy / folder).mkdir(parents=True)
    (copy / "sorajax" / "sample.py").touch()
    monkeypatch.delenv("SORAJAX_SOURCE", raising=False)
    for notebook, cells in (("sample", 2), *((name, 3) for name in TRAINING)):
        monkeypatch.chdir(copy / "colab")
        assert run(notebook, {}, cells)["SOURCE"] == str(copy)
    for notebook, cells in (("sample", 2), *((name, 3) for name in TRAINING)):
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name: None)
            with pytest.raises(SystemExit, match="sorajax is not here: set SOURCE to its folder or git address"):
                run(notebook, {}, cells)
    monkeypatch.setenv("SORAJAX_SOURCE", "git+https://somewhere")
    assert run("sample", {}, 2)["PACKAGE"].endswith(" @ git+https://somewhere")


@pytest.mark.parametrize("notebook", TRAINING)
def test_training_names_experiments_that_exist(tmp_path, monkeypatch, notebook):
    monkeypatch.setenv("SORAJAX_SOURCE", str(ROOT))
    monkeypatch.chdir(tmp_path)
    names = run(notebook, {}, 4)
    commands = [value for value in names.values() if isinstance(value, str) and value.startswith("configs/")]
    assert commands
    assert all(names["read"](f"{command} --loop.steps 7").loop.steps == 7 for command in commands)


@pytest.mark.parametrize("notebook", TRAINING)
def test_training_clones_a_git_address(tmp_path, monkeypatch, notebook):
    origin = tmp_path / "origin"
    (origin / "configs").mkdir(parents=True)
    (origin / "configs" / "one.py").touch()
    git = ["git", "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setenv("SORAJAX_SOURCE", f"git+file://{origin}")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time it is there already
        names = run(notebook, {}, 3)
    assert (names["COPY"] / "configs" / "one.py").exists()
    assert names["COPY"] == tmp_path / "sorajax-copy"
    assert names["PACKAGE"].startswith(f"{names['COPY']}[data")
