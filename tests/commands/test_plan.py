"""Planning: what it reads from a compiled program, and what it says. Compilers of other machines are CI's own step."""

import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from sorajax.commands.plan import main
from sorajax.devices.partitioned import work_of
from sorajax.devices.placement import Placement
from sorajax.devices.sharding import axes_text, make_mesh
from sorajax.evaluation import plans
from sorajax.evaluation.markdown import blocks, weights_of
from sorajax.evaluation.plan_options import Sampling
from sorajax.evaluation.plans import bounds, config_and_weights
from sorajax.models.sora import init_dit, init_text, init_vae
from sorajax.pretrained.part import abstract_parameters
from sorajax.sampling.memory import PlannedProgram, nbytes, sampling_programs
from sorajax.training.ahead import (
    CHIPS,
    Chip,
    StepPlan,
    Topology,
    alternatives,
    compile_program,
    plan_step,
)
from sorajax.training.experiments import load_experiment
from tests.conftest import TINY


def test_a_plan_has_the_batch_and_the_mesh_of_the_experiment():
    config = load_experiment("tests/configs/small_plan.py")
    mesh = make_mesh("fsdp=8")
    small = jax.tree.map(lambda x: x, config.planned(mesh))
    stage, (batch,) = small
    assert batch.latent.shape[1:] == (2, 16, 16, 16)
    assert batch.size % 8 == 0
    assert batch.size * 2 * 8 * 8 <= 16_384
    with pytest.raises(ValueError, match="does not divide 4 heads: use tensor=1, 2, 4"):
        stage.check(make_mesh("tensor=8"))


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
        assert compiled.argument_size_in_bytes > (held if stage.name != "decoder" else held / 2)  # half is the encoder
        assert 0.4 < stage.planned / (held + compiled.temp_size_in_bytes) < 2.5
    whole = config_and_weights(Sampling("sorajax/assets/world", dtype="float32"))[1]
    assert (nbytes(weights["dit"]) < 0.4 * nbytes(whole["dit"])) == (bits is not None)


@pytest.mark.slow
def test_open_models_are_planned_by_name():
    config, weights = config_and_weights(Sampling("Wan2.1-T2V-1.3B"))
    assert sum(leaf.size for leaf in jax.tree.leaves(weights["dit"])) == 1_418_996_800
    assert sum(leaf.size for leaf in jax.tree.leaves(weights["text"])) == 5_680_910_336
    features, large = sampling_programs(config, weights, config.vae.latent_shape(81, 480, 832), 50)[2:]
    assert (features.name, features.calls) == ("decoder, features", 21)
    assert (large.name, large.calls) == ("decoder, a tile", 2 * 4 * 21)
    larger = sampling_programs(config, weights, config.vae.latent_shape(81, 1080, 1920), 50)[3]
    assert larger.planned == large.planned  # the memory of a tile
    fitting = [
        sampling_programs(config, weights, config.vae.latent_shape(81, 480, 832), 50, gigabytes * 1e9)[-1]
        for gigabytes in (24, 40)
    ]
    assert [(stage.name, stage.calls) for stage in fitting] == [("decoder, a tile", 2 * 21), ("decoder", 21)]
    assert large.planned < fitting[0].planned < fitting[1].planned  # larger tiles where they fit
    assert config_and_weights(Sampling("Wan2.2-TI2V-5B"))[0].vae.stride == (4, 16, 16)
    for name, sizes in (("Wan2.1-I2V-14B-480P", (480, 832)), ("Wan-AI/Wan2.1-I2V-14B-720P-Diffusers", (720, 1280))):
        assert config_and_weights(Sampling(name))[0].sizes[0] == sizes
    picture, experts = (config_and_weights(Sampling(name)) for name in ("Wan2.1-I2V-14B", "Wan2.2-I2V-A14B"))
    assert (picture[0].vision.tokens, picture[0].boundary, set(picture[1])) == (257, None, {*weights, "vision"})
    assert (experts[0].vision, experts[0].boundary, set(experts[1])) == (None, 0.9, set(weights))
    assert config_and_weights(Sampling("Wan2.2-T2V-A14B"))[0].boundary == 0.875


def test_the_slowest_resource_bounds_the_step():
    step = StepPlan(10, 8e15, arguments=2**30, temporary=2**30, peak=2**31, collectives={"all-gather": (3, 10**9)})
    sides = step.seconds(CHIPS["v5e"], 8)
    assert sides["computing"] == pytest.approx(1e15 / 197e12)
    assert sides["memory"] == pytest.approx(2**32 / 819e9)
    assert sides["links"] == pytest.approx(1e9 / 200e9)
    assert [axes_text(sizes) for sizes in alternatives(8, 6)[:3]] == ["fsdp=8", "fsdp=4,seq=2", "fsdp=4,tensor=2"]
    assert Topology("v5p:4x4x4").chip.memory == 95 * 2**30
    assert (Topology("tpu7x:2x2x1").chip.memory, Topology("tpu7x:2x2x1").device) == (96 * 2**30, "half a tpu7x")
    assert callable(plan_step)


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


def test_the_world_experiment_is_planned():
    """Clips are rendered and encoded in the step; what a plan compiles has the shapes of a batch of the loader."""
    config = load_experiment("configs/world_large.py")
    small = replace(
        config,
        data=replace(
            config.data,
            threads=1,
            prefetch=1,
            buckets=tuple(replace(bucket, batch_size=2) for bucket in config.data.buckets),
        ),
    )
    stage, planned = small.planned(make_mesh("fsdp=1", jax.devices()[:1]))
    with tempfile.TemporaryDirectory() as directory:
        real, batches = small.build(Path(directory))
    batch = next(iter(batches))
    assert batch.latent is None
    shapes = {plan.bucket: jax.tree.map(lambda x: (x.shape, x.dtype), plan) for plan in planned}
    assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == shapes[batch.bucket]
    assert jax.eval_shape(stage.init, jax.random.key(0)).keys() == real.init(jax.random.key(0)).keys()


def test_a_plan_of_sampling_states_what_devices_send():
    """The longer of computing and communication is the lower bound."""
    config, placement = TINY, Placement(make_mesh("data=2,seq=2,tensor=2"))
    weights = {
        "text": abstract_parameters(init_text, config.text, "float32"),
        "dit": abstract_parameters(init_dit, config.dit, "float32"),
        "vae": abstract_parameters(init_vae, config.vae, "float32"),
    }
    stage = sampling_programs(config, weights, config.vae.latent_shape(5, 16, 16), 2)[1]
    compiled = compile_program(stage, placement)
    work = work_of(compiled)
    sent = sum(size for _, size in work.collectives.values())
    slow_links, slow_chip = (Chip(flops, 0, 0, links, flops) for flops, links in ((1e12, 1e3), (1e3, 1e12)))
    text = bounds(stage, compiled, slow_links, 8)
    assert text.startswith(f"at least {sent / 1e3:.1f} s: computing 0.0 s, communication {sent / 1e3:.1f} s (")
    assert all(kind in text for kind in work.collectives)
    least = max(work.flops, stage.flops / 8) / 1e3
    assert bounds(stage, compiled, slow_chip, 8).startswith(f"at least {least:.1f} s: computing {least:.1f} s,")
    assert "communication" not in bounds(stage, compiled, slow_chip, 1)


def test_int8_products_count_at_their_own_peak():
    """A plan with --quantize int8 has a transformer whose products have int8 operands on accelerators."""
    config, weights = config_and_weights(Sampling("Wan2.1-T2V-1.3B", quantize="int8"))
    assert (config.dit.quantized, config.dit.int8_products, config.text.quantized) == (True, True, True)
    assert weights["dit"]["blocks"]["feed_forward"]["up"]["kernel"].qvalue.dtype == "int8"
    config, _ = config_and_weights(Sampling("Wan2.1-T2V-1.3B", quantize="fp8"))
    assert (config.dit.quantized, config.dit.int8_products) == (True, False)
    text = "ENTRY %m (a: s8[9,8], b: s8[8,7]) -> s32[9,7] {\n  %a = s8[9,8]{1,0} parameter(0)\n"
    text += "  %b = s8[8,7]{1,0} parameter(1)\n"
    text += "  ROOT %d = s32[9,7]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}\n}\n"
    stage, flops = PlannedProgram("transformer", len, ((),), 0, 3, 1500.0), 2 * 9 * 8 * 7
    chip = Chip(100.0, 0, 0, 1.0, 400.0)
    seconds = 3 * ((1500 - flops) / 100 + flops / 400)
    assert bounds(stage, SimpleNamespace(as_text=lambda: text), chip, 1) == f"at least {seconds:.1f} s"
