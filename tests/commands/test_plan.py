"""Planning: what it reads from a compiled program, and what it says. Compilers of other machines are CI's own step."""

from dataclasses import replace
from pathlib import Path

import jax
import pytest

from sorajax.commands.plan import main
from sorajax.devices.placement import Placement
from sorajax.devices.sharding import make_mesh
from sorajax.evaluation import plans
from sorajax.evaluation.markdown import blocks, weights_of
from sorajax.evaluation.plan_options import Sampling
from sorajax.evaluation.plans import config_and_weights
from sorajax.sampling.memory import nbytes, sampling_programs
from sorajax.training.ahead import compile_program
from sorajax.training.experiments import load_experiment


def test_trainings_of_open_weights_are_planned_by_name():
    """Nothing is downloaded, and of the weights there are shapes alone."""
    mesh = make_mesh("seq=8")
    tune = replace(load_experiment("configs/wan_tune.py"), base=Path("Wan2.1-T2V-1.3B"))
    stage, batches = tune.planned(mesh)
    assert stage.config.dit.width == 1536
    assert all(batch.context.shape[1:] == (512, 4096) for batch in batches)
    lora = load_experiment("configs/wan_i2v_lora.py")
    sizes = {}
    for bits in (None, "int8"):
        stage, batches = replace(lora, base=Path("Wan-AI/Wan2.2-I2V-A14B"), expert="low", quantize=bits).planned(mesh)
        sizes[bits] = nbytes(stage.base["dit"])
        adapters = jax.eval_shape(stage.init, jax.random.key(0))
        assert adapters["blocks"]["self_attention"]["q"]["a"].shape == (40, 5120, 16)
    assert {batch.channels.shape[-1] for batch in batches} == {20}
    assert 28e9 < sizes[None] < 30e9
    assert sizes["int8"] < 0.55 * sizes[None]
    with pytest.raises(ValueError, match="has two experts, and one is trained at a time: say --expert high, or low"):
        replace(lora, base=Path("Wan2.2-I2V-A14B")).planned(mesh)


@pytest.mark.parametrize("bits", [None, "int8"])
def test_planned_sampling_memory_is_near_the_compilers(bits):
    """Of the model in the box, for one CPU device; nothing is computed, so no weights are there."""
    asked = Sampling("sorajax/assets/world", dtype="float32", quantize=bits)
    config, weights = config_and_weights(asked)
    one = Placement(make_mesh({}, jax.devices()[:1]))
    found = sampling_programs(config, weights, config.vae.latent_shape(17, 64, 64), 30)
    assert [stage.name for stage in found] == ["text", "transformer", "decoder"]
    for stage in found:
        held = nbytes(stage.arguments[0])
        compiled = compile_program(stage, one).memory_analysis()
        assert compiled.argument_size_in_bytes > (held if stage.name != "decoder" else held / 3)  # others: the encoder
        assert 0.4 < stage.planned / (held + compiled.temp_size_in_bytes) < 2.5
    whole = config_and_weights(Sampling("sorajax/assets/world", dtype="float32"))[1]
    assert (nbytes(weights["dit"]) < 0.4 * nbytes(whole["dit"])) == (bits is not None)


def test_a_plan_is_written_into_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.environ", dict(__import__("os").environ))
    monkeypatch.setattr(plans, "plan_sampling", lambda options, topology: print(f"{options.model} on {topology}") or 1)
    page = tmp_path / "page.md"
    page.write_text("before\n")
    arguments = ["Wan2.1-T2V-1.3B", "--size", "832x480", "--topology", "v5e:1x1", "--markdown", str(page)]
    assert main(arguments) == 2
    mark = "plan-Wan2-1-T2V-1-3B-size-832x480-v5e-1x1"
    assert f"<!-- measured: {mark} -->" in capsys.readouterr().err
    page.write_text(f"before\n<!-- measured: {mark} -->\nold\n<!-- end: {mark} -->\nafter\n")
    assert main(arguments) == 1  # the plan's own code
    assert "Wan2.1-T2V-1.3B on v5e:1x1\n" in capsys.readouterr().out
    text = page.read_text()
    assert "```text\nWan2.1-T2V-1.3B on v5e:1x1\n```\n" in text
    assert "<sub>`python -m sorajax.plan Wan2.1-T2V-1.3B --size 832x480 --topology v5e:1x1`; jax " in text
    assert weights_of(blocks(text)[mark]) == "none"
    assert text.startswith("before\n")
    assert text.endswith("after\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["configs/dit_xl.py"], "--topology is missing: give the machine to plan for"),
        (["configs/dit_xl.py", "--topology"], "--topology has no value"),
        (["configs/dit_xl.py", "--topology", "v5e:2x4", "--markdown"], "--markdown has no value, e.g. --markdown docs"),
        (["configs/dit_xl.py", "--topology", "v9:2x2"], "v9:2x2 is no topology: write KIND:SHAPE, e.g. v5e:2x4"),
        (["configs/world_vae.py", "--topology", "v5e:2x4"], "VAETraining cannot be planned"),
        (["configs/nothing.py", "--topology", "v5e:2x4"], "configs/nothing.py is no experiment file"),
        (["nowhere", "--topology", "v5e:1x1"], "nowhere does not exist"),
        (["Wan2.1-T2V-1.3B", "--topology", "v5e:1x1", "--size", "832"], "size '832' is not WIDTHxHEIGHT in pixels"),
        (["Wan2.1-T2V-1.3B", "--topology", "v5e:1x1", "--frames", "-3"], "frames -3 is not allowed"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("os.environ", dict(__import__("os").environ))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
