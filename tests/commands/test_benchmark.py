"""The command line measures what it says, in figures that agree with each other, and answers mistakes in one line."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sorajax.commands import benchmark
from sorajax.evaluation import cases, experiment, opening, reference, shell
from sorajax.evaluation.markdown import blocks, fingerprint, weights_of
from sorajax.evaluation.speed import Figures
from sorajax.models.dit import DiT
from sorajax.models.folder import WORLD
from sorajax.models.sora import init_dit
from sorajax.training.experiments import load_experiment
from sorajax.training.flops import forward_flops, training_flops
from tests import CONFIGS

VAE, DIT = str(CONFIGS / "tiny_vae.py"), str(CONFIGS / "tiny_dit.py")
FIGURES = {
    "compile_seconds",
    "seconds",
    "fastest",
    "flops",
    "flops_per_second",
    "utilisation",
    "bytes",
    "frames_per_second",
}


def measured(tmp_path, *arguments):
    path = tmp_path / "speed.json"
    path.write_text("an older file, to be replaced")
    repeats = () if "--repeats" in arguments else ("--repeats", "2")
    assert benchmark.main([*arguments, *repeats, "--json", str(path)]) == 0
    return json.loads(path.read_text())


def assert_consistent(figures):
    assert set(figures) == FIGURES
    assert figures["flops"] > 0
    assert figures["flops_per_second"] * figures["seconds"] == pytest.approx(figures["flops"])
    assert 0 < figures["fastest"] <= figures["seconds"]
    assert figures["compile_seconds"] > 0
    assert figures["bytes"] > 0
    assert figures["utilisation"] is None  # nobody publishes the peak of a CPU


@pytest.mark.slow
def test_an_experiment_is_measured_before_its_autoencoder_is_trained(tmp_path, capsys):
    found = measured(tmp_path, DIT, "--batch", "2")
    parts = ("denoising_step", "decode", "encode", "training_step")
    for name in parts:
        assert_consistent(found[name])
    assert (found["batch"], found["latent"], found["text_tokens"], found["devices"]) == (2, [3, 4, 4, 4], 160, 1)
    for name in "encode", "decode":
        assert found[name]["frames_per_second"] * found[name]["seconds"] == pytest.approx(5)
    planned = max(found[name]["bytes"] for name in parts)
    assert found["peak_memory"] == {"bytes": planned, "source": "planned by the compiler"}
    tiny = load_experiment(DIT)
    assert found["denoising_step"]["flops"] == 2 * on_paper(cases.Shape(tiny.model, (3, 4, 4), 160))  # guided
    short, long = found["streamed_decoding"].values()
    assert 0 < short <= long < 1.5 * short
    printed = capsys.readouterr().out
    assert all(name.replace("_", " ") in printed for name in (*parts, "streamed decoding"))


def test_remat_policies_are_compared_by_time_memory_and_loss(tmp_path, monkeypatch):
    def step(case, mesh, repeats):
        full = case.dit.remat == "full"
        return Figures(1.0, 2.0 + full, 2.0, 1.0, 1.0, None, 7 - full), [2.0, 1.5 if full else 1.0]

    monkeypatch.setattr(experiment, "training_step", step)
    found = measured(tmp_path, "dit-12x384", "--remat")["remat"]
    assert list(found) == ["none", "dots", "full"]
    assert [row["seconds"] for row in found.values()] == [2.0, 2.0, 3.0]
    assert [row["bytes"] for row in found.values()] == [7, 7, 6]
    assert [row["difference"] for row in found.values()] == [0.0, 0.0, 0.5]


def test_the_policy_that_is_measured_is_the_one_that_runs():
    for name in DIT, "wan2.1-1.3b":
        changed = cases.with_remat(cases.make_case(name, 1), "dots")
        assert "dots" == changed.dit.remat == getattr(changed.stage.config, "dit", changed.stage.config).remat
        assert changed.dit.stacked
        assert changed.dit.unroll == 1


def test_the_data_loader_is_measured_without_the_model(tmp_path):
    found = measured(tmp_path, VAE, "--loader", "--repeats", "3")["loader"]
    batch = load_experiment(VAE).data.buckets[0].batch_size
    assert (found["batches"], found["samples"]) == (3, 3 * batch)
    assert found["samples_per_second"] * found["seconds"] == pytest.approx(found["samples"])


def test_each_part_is_compared_with_the_reference(tmp_path, capsys, monkeypatch):
    row = {"ours": 0.5, "eager": 1.0, "compiled": None, "ratio": 2.0, "difference": 1e-6, "failure": "it failed"}
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name)
    monkeypatch.setattr(reference, "conditions", lambda: {"versions": {"torch": "2"}, "threads": 2})
    monkeypatch.setattr(reference, "PARTS", dict.fromkeys(("vae", "text"), lambda: ("small", {"encode": None})))
    monkeypatch.setattr(reference, "compare", lambda name, call, repeats, eager: {**row, "name": name})
    found = measured(tmp_path, "reference", "--part", "vae")["reference"]
    assert found["vae"] == {"shape": "small", "encode": {**row, "name": "vae encode"}}
    assert "text" not in found
    assert "500.0   1000.0        -   2.00x     1.0e-06  it failed" in capsys.readouterr().out


def test_loading_time_is_compared_with_the_reference(tmp_path, capsys, monkeypatch):
    seconds = {"reference": 1.0, "ours": 1.5, "converted": 0.5, "bytes": 8 * 10**8}
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name)
    monkeypatch.setattr(reference, "conditions", lambda: {"versions": {"torch": "2"}, "threads": 2})
    monkeypatch.setattr(opening, "opening", lambda repeats, **changes: seconds)
    assert measured(tmp_path, "reference", "--part", "opening")["reference"]["opening"] == seconds
    said = "reference 1,000, ours 1,500, converted 500: converted 3.00x as fast as the shards"
    assert said in capsys.readouterr().out


def test_the_shell_command_is_timed_and_its_table_written(tmp_path, monkeypatch):
    """Cold before warm in one cache; films as they are when everything is compiled."""
    runs = []

    def run_sample(cache, *options):
        runs.append((cache, options))
        return shell.Run(float(len(runs)), len(runs) * 2**20)

    monkeypatch.setattr(shell, "run_sample", run_sample)
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- measured: {name} -->\n<!-- end: {name} -->\n" for name in ("clip", "films")))
    found = measured(tmp_path, "clip", "--repeats", "3", "--markdown", str(page))
    assert found["clip"] == {"cold": 1.0, "warm": 3.0}
    assert len({cache for cache, _ in runs}) == 1
    runs.clear()
    found = measured(tmp_path, "films", "--seconds", "4", "8", "--markdown", str(page))
    assert found["films"]["8"] == {"seconds": 4.0, "bytes": 4 * 2**20}
    assert [options for _, options in runs] == 2 * [("--seconds", "4")] + 2 * [("--seconds", "8")]
    written = blocks(page.read_text())
    assert "| warm compilation cache | 3.0 s | at most 20 s |" in written["clip"]
    assert "| peak memory, MiB | 2 | 4 |" in written["films"]
    assert {weights_of(block) for block in written.values()} == {fingerprint(WORLD)}


def test_a_failed_command_is_reported(tmp_path):
    with pytest.raises(RuntimeError, match="--nothing is not an option"):
        shell.run_sample(tmp_path, "--nothing")


def test_training_step_flops_equal_the_formula():
    shape = cases.NAMED["dit-12x384"]
    case = cases.make_case("dit-12x384", 3)
    params = jax.eval_shape(case.stage.init, jax.random.key(0))
    # Backward costs two forwards, but for the gradients of what is data: latents, text and features of the clock.
    patch = shape.dit.in_channels * math.prod(shape.dit.patch)
    inputs = tokens(shape) * patch + shape.tokens * shape.dit.text_width + shape.latent[0] * shape.dit.frequencies
    counted = training_flops(case.stage.loss, params, case.batch, jax.random.key(0))
    assert counted == 3 * (3 * on_paper(shape) - 2 * shape.dit.width * inputs)


def test_an_autoencoder_has_a_training_step_and_no_denoising():
    case = cases.make_case(VAE, 2)
    assert (case.clips, case.dit, case.latent, case.size) == (2, None, (3, 4, 4, 4), (5, 32, 32))
    params = jax.eval_shape(case.stage.init, jax.random.key(0))
    assert training_flops(case.stage.loss, params, case.batch, jax.random.key(0)) > 0


@pytest.mark.parametrize("name", cases.NAMED)
def test_forward_flops_equal_the_formula(name):
    shape = cases.NAMED[name]
    params = jax.eval_shape(lambda key: init_dit(shape.dit, key), jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, *shape.latent, shape.dit.in_channels), jnp.float32)
    clock = jax.ShapeDtypeStruct((1, shape.latent[0]), jnp.float32)
    context = jax.ShapeDtypeStruct((1, shape.tokens, shape.dit.text_width), jnp.float32)
    counted = forward_flops(DiT(shape.dit).apply, {"params": params}, x, clock, context)
    assert counted == pytest.approx(on_paper(shape), rel=2e-3)  # long sequences are padded to blocks of queries


def tokens(shape):
    (t, h, w), (pt, ph, pw) = shape.latent, shape.dit.patch
    return t // pt * (h // ph) * (w // pw)


def on_paper(shape):
    return cases.velocity_flops(shape.dit, shape.latent, shape.tokens)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["dit-1x1"],
            "is neither a named config nor an experiment file: use one of reference, gpu, dit-12x384",
        ),
        (["dit-12x384", "--repeats", "0"], "--repeats 0 is not allowed: use at least 1"),
        (["dit-12x384", "--batch", "-1"], "--batch -1 is not allowed: use at least 1"),
        (["dit-12x384", "--json", "/nowhere/at/all.json"], "--json /nowhere/at/all.json: the folder does not exist"),
        (["dit-12x384", "--json", "/"], "--json / is a folder: name a file in it"),
        (["dit-12x384", "--mesh", "width=2"], "--mesh width=2: mesh axis 'width' does not exist"),
        (["dit-12x384", "--mesh", "fsdp=-1"], "--batch 1 does not divide over the 8 devices of --mesh fsdp=-1"),
        (
            ["reference", "--loader"],
            "for training, which reference has not: give an experiment",
        ),
        ([VAE, "--remat"], "--remat is for transformers, and this experiment trains none"),
        (["dit-12x384", "--loader"], "dit-12x384 is no experiment file"),
        (
            ["clip", "--remat"],
            "--batch are for training, and clip samples: leave them out",
        ),
        (["films", "--seconds", "4", "0"], "--seconds 0 is not allowed: use more than 0 and at most 3600"),
        (["clip", "--markdown", "README.txt"], "--markdown README.txt cannot be read"),
        (["dit-12x384", "--markdown", "README.md"], "README.md has no mark of this command, which writes no table"),
    ],
)
def test_mistakes_are_one_line(arguments, line, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name)
    assert_refused(arguments, line, capsys)


def test_a_missing_reference_library_is_named(capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    needed = 'reference needs torch and diffusers and transformers: pip install "sorajax[parity]"'
    assert_refused(["reference"], needed, capsys)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("config = 1", "its `config` is of type int and no experiment, e.g. FlowTraining"),
        ("not = Python", "is not an experiment file"),
        ("", "defines no `config`"),
    ],
)
def test_a_file_without_an_experiment_is_one_line(text, line, tmp_path, capsys):
    path = tmp_path / "experiment.py"
    path.write_text(text)
    assert_refused([str(path)], line, capsys)


def test_the_autoencoder_of_a_whole_model_is_found():
    found = cases.autoencoder(WORLD, Path("configs/world_large.py"))
    assert found.latent_channels == load_experiment("configs/world_large.py").model.in_channels


def test_an_unknown_autoencoder_is_one_line(tmp_path, capsys):
    path = tmp_path / "experiment.py"
    path.write_text((CONFIGS / "tiny_dit.py").read_text())
    assert_refused([str(path)], "names the autoencoder runs/tiny_vae, but neither it nor", capsys)


def assert_refused(arguments, line, capsys):
    assert benchmark.main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
