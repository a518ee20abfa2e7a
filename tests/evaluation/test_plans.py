"""The plan of sampling: the weights of a model by its name, and the least time of each stage."""

from types import SimpleNamespace

import jax
import pytest

from sorajax.devices.partitioned import work_of
from sorajax.devices.placement import Placement
from sorajax.devices.sharding import make_mesh
from sorajax.evaluation.plan_options import Sampling
from sorajax.evaluation.plans import bounds, config_and_weights
from sorajax.models.sora import init_dit, init_text, init_vae
from sorajax.pretrained.part import abstract_parameters
from sorajax.sampling.memory import PlannedProgram, sampling_programs
from sorajax.training.ahead import Chip, compile_program
from tests.conftest import TINY


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
