"""The command line that averages a run: a model folder of its own, and one line for every mistake."""

import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.commands.average import main
from sorajax.models.folder import export_model, load_model
from sorajax.models.play import PlayConfig
from sorajax.models.sora import SoraConfig
from sorajax.training import posthoc
from tests.interactive.worlds import play_model

SIGMAS = (0.05, 0.1)


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """A training directory whose transformer and text encoder grew in proportion to time."""
    directory = tmp_path_factory.mktemp("run")
    shutil.copytree(tiny_model, directory / "model")
    _, params, _ = load_model(tiny_model, SoraConfig)
    learned = {"text": params["text"], "dit": params["dit"], "critic": {"kernel": np.ones(3, np.float32)}}
    for updates in range(10, 201, 10):
        trees = tuple(grown(learned, sigma, updates) for sigma in SIGMAS)
        averages = posthoc.PowerAverages(jnp.int32(updates), trees)
        posthoc.write_snapshot(directory, updates, averages, SIGMAS, "float32")
    return directory, params


def grown(tree, sigma, updates):
    """The average of `tree` * tau / 200: a power function's mean is (gamma + 1) / (gamma + 2) of the time."""
    gamma = posthoc.exponent(sigma)
    factor = np.float32((gamma + 1) / (gamma + 2) * updates / 200)
    return jax.tree.map(lambda leaf: leaf * factor, tree)


@pytest.mark.parametrize(("sigma", "step", "updates"), [("0.08", None, 200), ("0.05", "105", 100)])
def test_an_average_is_a_model_folder(run, tmp_path, capsys, sigma, step, updates):
    directory, params = run
    options = [] if step is None else ["--step", step]
    assert main([str(directory), "--sigma", sigma, "--out", str(tmp_path / "out"), *options]) == 0
    assert f"sigma {sigma} at {updates} updates" in capsys.readouterr().out
    _, found, _ = load_model(tmp_path / "out", SoraConfig)
    expected = grown(params, float(sigma), updates)
    for part in ("text", "dit"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), found[part], expected[part])
    jax.tree.map(np.testing.assert_array_equal, found["vae"], params["vae"])
    assert sorajax.load(tmp_path / "out").config == load_model(directory, SoraConfig)[0]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--sigma", "0.4"], 1, "sigma is 0.4: a relative width must be in [0.005, 0.28]"),
        (["--sigma", "0.01"], 1, "sigma 0.01 cannot be made of 40 snapshots of widths 0.05 and 0.1: its profile"),
        (["--sigma", "0.08", "--step", "3"], 1, "no averages as early as step 3"),
        (["--sigma", "0.08", "--out", "."], 2, "exists and is not empty"),
    ],
)
def test_a_mistake_is_one_line(run, tmp_path, capsys, arguments, code, said):
    assert main([str(run[0]), "--out", str(tmp_path / "out"), *arguments]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_models_are_averaged_with_weights(run, tiny_model, tmp_path, capsys):
    _, params, _ = load_model(tiny_model, SoraConfig)
    config, _, tokenizer = load_model(tiny_model, SoraConfig)
    other, out = tmp_path / "other", tmp_path / "out"
    export_model(other, jax.tree.map(lambda leaf: 3 * leaf, params), config, tokenizer, "float32")
    models, shares = [str(tiny_model), str(other)], ["--shares", "0.75", "0.25"]
    assert main([*models, *shares, "--out", str(out)]) == 0
    assert f"0.75 of {tiny_model}, 0.25 of {other}" in capsys.readouterr().out
    _, found, words = load_model(out, SoraConfig)
    assert words == tokenizer
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 1.5 * b, atol=1e-6), found, params)
    wide = tmp_path / "wide"
    deeper = replace(config, dit=replace(config.dit, depth=3))
    export_model(wide, params, deeper, tokenizer, "float32")
    borrowing = tmp_path / "borrowing"
    export_model(borrowing, {"text": params["text"], "dit": params["dit"]}, config, tokenizer, "float32")
    for arguments, said in (
        ([*models, "--shares", "0.5", "0.6"], "--shares 0.5 0.6 for 2 models: give one per model, with a sum of 1"),
        ([*models, "--sigma", "0.1"], "--sigma and --step are for one run"),
        ([str(tiny_model)], "one run needs --sigma, and --shares are for several models"),
        ([str(tiny_model), str(wide)], "has another shape than"),
        ([str(tiny_model), str(borrowing)], "has the weights dit+text and"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "no")]) == 1
        assert said in (line := capsys.readouterr().err)
        assert line.count("\n") == 1
        assert not (tmp_path / "no").exists()


def test_interactive_models_are_averaged(tiny_model, tmp_path, capsys):
    models = play_model(tmp_path / "one", tiny_model), tmp_path / "three"
    expected, params, _ = load_model(models[0], PlayConfig)
    export_model(models[1], jax.tree.map(lambda leaf: 3 * leaf, params), expected)
    assert main([*map(str, models), "--storage", "int8", "--out", str(tmp_path / "out")]) == 0
    config, found, _ = load_model(tmp_path / "out", PlayConfig)
    assert config == expected
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 2 * b, atol=0.02 * np.abs(b).max() + 1e-6), found, params)
    capsys.readouterr()
    for arguments, said in (
        ([models[0], tiny_model], f"{tiny_model} holds a SoraConfig, and a PlayConfig is needed"),
        ([tiny_model, tiny_model, "--storage", "int8"], f"--storage int8 and {tiny_model} is no interactive model"),
    ):
        assert main([*map(str, arguments), "--out", str(tmp_path / "no")]) == 1
        assert said in (line := capsys.readouterr().err)
        assert line.count("\n") == 1


def test_another_model_is_refused(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run[0], other)
    assert main([str(tmp_path / "nowhere"), "--sigma", "0.1", "--out", str(tmp_path / "out")]) == 1
    assert "holds no averages" in capsys.readouterr().err
    (other / "model" / "config.json").unlink()
    assert main([str(other), "--sigma", "0.1", "--out", str(tmp_path / "out")]) == 1
    assert "has averages but no model" in capsys.readouterr().err
