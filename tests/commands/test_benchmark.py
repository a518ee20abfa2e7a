"""The command line measures what it says, in figures that agree with each other, and answers mistakes in one line."""

import json

import pytest

from sorajax.commands import benchmark
from sorajax.evaluation import cases, shell
from sorajax.evaluation.markdown import blocks, fingerprint, weights_of
from sorajax.models.folder import WORLD
from sorajax.training.experiments import load_experiment
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
    assert found["denoising_step"]["flops"] == 2 * cases.velocity_flops(tiny.model, (3, 4, 4), 160)  # guided
    short, long = found["streamed_decoding"].values()
    assert 0 < short <= long < 1.5 * short
    printed = capsys.readouterr().out
    assert all(name.replace("_", " ") in printed for name in (*parts, "streamed decoding"))


def test_the_data_loader_is_measured_without_the_model(tmp_path):
    found = measured(tmp_path, VAE, "--loader", "--repeats", "3")["loader"]
    batch = load_experiment(VAE).data.buckets[0].batch_size
    assert (found["batches"], found["samples"]) == (3, 3 * batch)
    assert found["samples_per_second"] * found["seconds"] == pytest.approx(found["samples"])


def test_the_shell_command_is_timed_and_its_table_written(tmp_path, monkeypatch):
    """Cold before warm in one cache; films as they are when everything is compiled."""
    runs = []

    def run_sample(cache, *options):
        runs.append((cache, options))
        return shell.Run(float(len(runs)), len(runs) * 2**20)

    monkeypatch.setattr(shell, "run_sample", run_sample)
    monkeypatch.setattr(shell, "import_seconds", lambda cache: 0.5)
    page, names = tmp_path / "page.md", ("clip", "importing", "films")
    page.write_text("".join(f"<!-- measured: {name} -->\n<!-- end: {name} -->\n" for name in names))
    found = measured(tmp_path, "clip", "--repeats", "3", "--markdown", str(page))
    assert found["clip"] == {"cold": 1.0, "warm": 3.0, "importing": 0.5}
    assert len({cache for cache, _ in runs}) == 1
    runs.clear()
    found = measured(tmp_path, "films", "--seconds", "4", "8", "--markdown", str(page))
    assert found["films"]["8"] == {"seconds": 4.0, "bytes": 4 * 2**20}
    assert [options for _, options in runs] == 2 * [("--seconds", "4")] + 2 * [("--seconds", "8")]
    written = blocks(page.read_text())
    assert "| warm compilation cache | 3.0 s | at most 2.4 s |" in written["clip"]
    assert "| peak memory, MiB | 2 | 4 |" in written["films"]
    assert {weights_of(block) for block in written.values()} == {fingerprint(WORLD)}


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
        (
            ["dit-12x384", "--model", "world-fast"],
            "--model world-fast is for clip, cost, films: leave it out",
        ),
        (
            ["cost", "--model", "runs/nothing"],
            "--model runs/nothing: runs/nothing does not exist: give an exported model",
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


def test_an_unknown_autoencoder_is_one_line(tmp_path, capsys):
    path = tmp_path / "experiment.py"
    path.write_text((CONFIGS / "tiny_dit.py").read_text())
    assert_refused([str(path)], "names the autoencoder runs/tiny_vae, but neither it nor", capsys)


def assert_refused(arguments, line, capsys):
    assert benchmark.main(arguments) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
