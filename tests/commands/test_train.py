"""The command line from an experiment file to a model folder; mistakes are one line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.commands.train import main
from sorajax.models.folder import export_model, load_model
from sorajax.models.sora import SoraConfig, init_vae
from sorajax.models.vae import VAEConfig
from sorajax.training import loop
from sorajax.training.experiments import flow, load_experiment
from sorajax.training.objectives.vae import VAEStage
from tests import CONFIGS, ROOT
from tests.training.toy import on_devices

EXPERIMENTS = ROOT / "configs"
VAE, DIT = str(CONFIGS / "tiny_vae.py"), str(CONFIGS / "tiny_dit.py")


@pytest.fixture(scope="module", autouse=True)
def _one_device():
    """Sharding is the business of other tests; here it would only be compiled for longer."""
    with pytest.MonkeyPatch.context() as patch:
        on_devices(patch, 1)
        yield


@pytest.fixture(scope="module")
def trained_vae(tmp_path_factory):
    """A training directory of a tiny autoencoder."""
    directory = tmp_path_factory.mktemp("vae")
    assert main([VAE, "--directory", str(directory)]) == 0
    return directory


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """The same autoencoder, untrained."""
    config = load_experiment(VAE).model
    return export_model(tmp_path_factory.mktemp("vae"), {"vae": init_vae(config, jax.random.key(0))}, config)


@pytest.fixture(scope="module")
def dit(vae, tmp_path_factory):
    """A training directory of a tiny transformer, trained on cached latents of the world."""
    directory = tmp_path_factory.mktemp("dit")
    latents = ["--latents", str(directory / "latents"), "--encoded", "16"]
    assert main([DIT, "--vae", str(vae), "--directory", str(directory), *latents, "--model.depth", "3"]) == 0
    return directory


@pytest.mark.slow
def test_an_autoencoder_is_trained_exported_and_its_latent_statistics_measured(trained_vae):
    config, params, tokenizer = load_model(trained_vae, VAEConfig)
    assert len(config.mean) == len(config.std) == 4
    assert min(config.std) > 0
    assert set(params) == {"vae"}
    assert tokenizer is None
    assert (trained_vae / "previews" / "00000002.png").exists()


def test_a_training_directory_holds_the_whole_model(dit):
    config, params, tokenizer = load_model(dit, SoraConfig)
    assert set(params) == {"text", "dit", "vae"}
    assert (config.dit.depth, config.frames, config.sizes) == (3, (5,), ((32, 32),))
    assert json.loads(tokenizer)["model"]["type"] == "BPE"
    assert params["dit"]["blocks"]["feed_forward"]["up"]["kernel"].shape == (3, 16, 32)


def test_a_resumed_run_reports_changed_fields(vae, dit, capsys):
    latents = ["--latents", str(dit / "latents"), "--model.depth", "3"]
    command = [DIT, "--vae", str(vae), "--directory", str(dit), *latents]
    assert main(command) == 1
    assert "say --resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--loop.keep", "3"]) == 0
    out = capsys.readouterr().out
    assert "at step 2, with" in out
    assert "loop.keep 2 -> 3" in out


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another(dit, tmp_path, capsys):
    """And takes the autoencoder from that model, too, so that nothing else is needed to go on from it."""
    common = [DIT, "--vae", str(dit), "--loop.start", str(dit), "--latents", str(dit / "latents")]
    assert main([*common, "--directory", str(tmp_path / "fits"), "--model.depth", "3"]) == 0
    before, after = (load_model(folder, SoraConfig)[1]["text"]["embedding"] for folder in (dit, tmp_path / "fits"))
    assert np.abs(before - after).max() < 0.05
    once, again = (load_model(folder, SoraConfig)[1]["vae"] for folder in (dit, tmp_path / "fits"))
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert main([*common, "--directory", str(tmp_path / "deeper"), "--model.depth", "4"]) == 0
    assert main([*common, "--directory", str(tmp_path / "shallower"), "--model.depth", "2"]) == 1
    assert "does not fit: dit/blocks/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["configs/no_such.py"], 2, "is no experiment file"),
        ([DIT, "--model.dept", "24"], 2, "--model.depth"),
        ([DIT, "--loop.steps", "0"], 2, "it must be 1 or more"),
        ([DIT, "--vae", "no/such/folder"], 1, "no/such/folder does not exist"),
        ([VAE, "--loop.mesh", "data=3"], 1, "does not fill 1 devices"),
        ([VAE, "--model.pixel-patch", "5"], 1, "height 16 cannot be encoded"),
    ],
)
def test_a_mistake_is_one_line_without_a_traceback(arguments, code, said, tmp_path, capsys):
    returned = main([*arguments, "--directory", str(tmp_path)] if len(arguments) > 1 else arguments)
    error = capsys.readouterr().err
    assert returned == code
    assert said in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = 3\n", "defines no `config`"),
        ("config = {'steps': 3}\n", "its `config` is of type dict and no experiment"),
        ("from sorajax.training.loop import LoopConfig\nconfig = LoopConfig()\n", "of type LoopConfig and no exp"),
        ("import os\nconfig = (\n", "experiment.py, line 2: SyntaxError: "),
        ("\nimport no_such_module\n", "experiment.py, line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n\nconfig = Flow()\n", "experiment.py, line 3: NameError: name 'Flow' is not defined"),
        ("\0\0", "Error: "),
    ],
)
def test_a_file_without_an_experiment_is_one_line(text, said, tmp_path, capsys):
    path = tmp_path / "experiment.py"
    path.write_text(text)
    assert main([str(path), "--directory", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_impossible_mesh_or_batch_is_refused_before_encoding(tmp_path, monkeypatch, capsys):
    on_devices(monkeypatch, None)
    config = load_experiment(VAE).model
    export_model(tmp_path / "vae", {"vae": init_vae(config, jax.random.key(0))}, config)
    said = [DIT, "--vae", str(tmp_path / "vae"), "--latents", str(tmp_path / "latents"), "--encoded", "64"]
    said += ["--directory", str(tmp_path / "run")]
    count = jax.device_count()
    for mesh, refusal in ((f"data={count + 1}", "does not fill"), ("fsdp=-1", "does not divide over")):
        monkeypatch.setattr(flow, "write_latents", None)
        assert main([*said, "--loop.mesh", mesh, "--data.buckets.0.batch-size", str(count + 1)]) == 1
        error = capsys.readouterr().err
        assert refusal in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()
        assert not (tmp_path / "latents").exists()


def test_a_refused_run_leaves_no_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        (tmp_path / "run" / "events.out").touch()
        raise ValueError("the model does not fit")

    monkeypatch.setattr(loop, "fit", refuse)
    assert main([VAE, "--directory", str(tmp_path / "run")]) == 1
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()  # of somebody else
    assert main([VAE, "--directory", str(tmp_path / "run")]) == 1
    assert (tmp_path / "run" / "events.out").exists()


def test_a_run_that_diverged_exits_with_one_line(tmp_path, monkeypatch, capsys):
    def diverge(*_, **__):
        raise loop.DivergedError("step 7: loss nan")

    monkeypatch.setattr(loop, "fit", diverge)
    assert main([VAE, "--directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "sorajax: step 7: loss nan\n"


def test_every_shipped_experiment_constructs():
    for path in EXPERIMENTS.glob("*.py"):
        assert load_experiment(path).loop.steps > 0


def test_the_video_experiments_fit_the_bundled_weights():
    """Their autoencoder can begin from it, and their transformer and text encoder have its shapes."""
    recipe = load_experiment(EXPERIMENTS / "videos_vae.py")
    stage = VAEStage(recipe.model)
    found, wanted = stage.load(recipe.loop.start), jax.eval_shape(stage.init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, wanted)
    recipe = load_experiment(EXPERIMENTS / "videos_dit.py")
    config, _, _ = load_model(recipe.loop.start, SoraConfig)
    assert (config.dit, config.text) == (recipe.model, recipe.text)
