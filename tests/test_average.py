"""The command line that averages a run: a model folder of its own, and one line for every mistake."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.average import main
from sorajax.checkpoint import load_model
from sorajax.models.sora import SoraConfig
from sorajax.training import posthoc

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
    assert sorajax.load(tmp_path / "out").plan is not None


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


def test_another_model_is_refused(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run[0], other)
    file = other / "model" / "config.json"
    assert main([str(tmp_path / "nowhere"), "--sigma", "0.1", "--out", str(tmp_path / "out")]) == 1
    assert "holds no averages" in capsys.readouterr().err
    assert json.loads(file.read_text())["kind"] == "SoraConfig"
    file.unlink()
    assert main([str(other), "--sigma", "0.1", "--out", str(tmp_path / "out")]) == 1
    assert "has no model of its own" in capsys.readouterr().err
