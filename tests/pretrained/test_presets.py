"""Presets of few-step adapters: found from names and metadata of shared files; options take precedence."""

import json
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import sorajax
from sorajax.commands import convert
from sorajax.commands.sample import main
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.errors import BadRequest, Note
from sorajax.models.conditioning import Replacement
from sorajax.models.folder import export_model, load_model
from sorajax.models.sora import SoraConfig, init_dit
from sorajax.pretrained.lora import TARGETS, init_adapters, save_lora
from sorajax.pretrained.open import adapters_of
from sorajax.pretrained.presets import PRESETS, flow_map_settings, preset_of, with_preset
from sorajax.sampling.program import expert_ranges
from sorajax.sampling.request import Request
from tests.conftest import TINY, tiny_tokenizer

WAN = replace(
    TINY,
    conditioning=Replacement(),
    clean_prompts=True,
    guidance_scale=5.0,
    steps=50,
    last_time=0.001,
    whole_times=True,
)
"""A tiny model that is sampled as Wan 2.1 is."""
PAIR = replace(WAN, boundary=0.875, guidance_scale_low=3.0, shift=12.0)
"""One that is sampled as Wan 2.2's pair of experts is."""
NAMES = {
    "lightning": (
        "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
        "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors",
        "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",
        "wan2.2_t2v_A14b_low_noise_lora_rank64_lightx2v_4step_1217.safetensors",
        "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        "Wan2.2-Lightning_T2V-v1.1-A14B-4steps-lora_HIGH_fp16.safetensors",
        "Wan22_A14B_T2V_HIGH_Lightning_4steps_lora_250928_rank128_fp16.safetensors",
        "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1/high_noise_model.safetensors",
        "wan22_i2v_14b_LN_lx2v_4step_lora_rank64_1022.safetensors",
    ),
    "causvid": (
        "Wan21_CausVid_14B_T2V_lora_rank32_v2.safetensors",
        "Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors",
    ),
    "self-forcing": ("Wan2.1-T2V-1.3B-Self-Forcing-DMD-LoRA-rank64.safetensors",),
    "anyflow": ("AnyFlow-Wan2.1-T2V-1.3B-lora.safetensors",),
    None: (
        "style.safetensors",
        "lightning_bolts_in_the_sky.safetensors",
        "wan_style_2000_steps_lora.safetensors",
        "lightx2v/style.safetensors",
        "runs/adapter_model.safetensors",
    ),
}


@pytest.mark.parametrize(("preset", "name"), [(preset, name) for preset, names in NAMES.items() for name in names])
def test_names_of_shared_files_say_their_preset(preset, name):
    assert preset_of(Path("loras") / name) == preset


def test_metadata_say_a_preset_and_come_before_the_name(tmp_path):
    tensors = {"x": np.zeros(1, np.float32)}
    for said, expected in (
        ({"ss_output_name": "my_causvid_extract"}, "causvid"),
        ({"modelspec.title": "Self-Forcing, rank 32"}, "self-forcing"),
        ({"sorajax": json.dumps({"preset": "anyflow"})}, "anyflow"),
        ({"sorajax": json.dumps({"preset": "unheard of"})}, "lightning"),
        ({"ss_output_name": "mine"}, "lightning"),
    ):
        save_file(tensors, tmp_path / "a_lightx2v.safetensors", said)
        assert preset_of(tmp_path / "a_lightx2v.safetensors") == expected


@pytest.fixture(scope="module")
def models(tiny_model, tmp_path_factory):
    """Folders of a single model and of a pair, and an adapter of both in a file of any name."""
    folder = tmp_path_factory.mktemp("models")
    _, params, _ = load_model(tiny_model, SoraConfig)
    one = export_model(folder / "Wan2.1-tiny", params, WAN, tiny_tokenizer())
    pair = export_model(folder / "Wan2.2-tiny", {**params, "dit_low": params["dit"]}, PAIR, tiny_tokenizer())
    adapters = init_adapters(params["dit"], 2, TARGETS, jax.random.key(1))
    adapters = jax.tree.map(lambda x: np.full(x.shape, 0.05, np.float32), adapters)

    def adapter(name: str) -> str:
        save_lora(folder / name, adapters, WAN.dit, alpha=2.0)
        return str(folder / name)

    return one, pair, adapter


def loaded(*arguments, **options):
    """The pipeline, and the notes that were given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Note)
        pipeline = sorajax.load(*arguments, **options)
    return pipeline, [str(warning.message) for warning in caught if issubclass(warning.category, Note)]


def test_an_adapter_sets_what_it_needs_and_a_note_says_so(models):
    one, _, adapter = models
    path = adapter("wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors")
    pipeline, notes = loaded(one, loras=[path])
    assert notes == [
        f"{path} is an adapter of the preset lightning, which sets 4 steps, sampler euler, shift 5 and guidance scale "
        "1; --preset none keeps the model's own"
    ]
    settings = pipeline.plan(Request(("a red ball",)))
    assert (settings.steps, settings.sampler, settings.shift, settings.guided) == (4, "euler", 5.0, False)
    assert settings.notes == ()
    trained = [1.0, 0.937500, 0.833333, 0.625, 0.0]  # times of lightx2v's scheduler at shift 5
    np.testing.assert_allclose(settings.times(), trained, atol=1e-6)
    (clip,) = pipeline("a red ball", steps=2)
    said = {name: clip.metadata[name] for name in ("preset", "steps", "sampler", "guidance_scale")}
    assert said == {"preset": "lightning", "steps": 2, "sampler": "euler", "guidance_scale": 1.0}


def test_options_of_a_person_take_precedence(models):
    one, _, adapter = models
    path = adapter("Wan21_CausVid_14B_T2V_lora_rank32.safetensors")
    pipeline, _ = loaded(one, loras=[path])
    settings = pipeline.plan(Request(("a red ball",), steps=6, guidance_scale=2, sampler="unipc", shift=3))
    assert (settings.steps, settings.guidance_scale, settings.sampler, settings.shift) == (6, 2.0, "unipc", 3.0)
    plain, notes = loaded(one, loras=[path], preset="none")
    assert (plain.config, notes) == (WAN, [])
    other, notes = loaded(one, loras=[path], preset="self-forcing")
    assert (other.config.preset, other.config.steps, notes) == ("self-forcing", 4, [])


def test_a_pair_of_experts_has_two_adapters_and_two_steps_each(models):
    _, pair, adapter = models
    files = [adapter(f"wan2.2_t2v_lightx2v_4steps_lora_v1.1_{level}_noise.safetensors") for level in ("high", "low")]
    pipeline, notes = loaded(pair, loras=files)
    assert len(notes) == 1
    assert [len(found) for found in adapters_of(PAIR, files).values()] == [1, 1]
    settings = pipeline.plan(Request(("a red ball",)))
    assert (settings.guidance_scale, settings.guidance_scale_low, settings.guided) == (1.0, 1.0, False)
    assert settings.notes == (), "the shift is meant, and not remarked on"
    ranges = expert_ranges(pipeline.config, SAMPLERS["euler"], settings.times())
    assert ranges == {"dit": (0, 2), "dit_low": (2, 4)}
    assert pipeline.plan(Request(("a red ball",), guidance_scale_low=2)).guidance_scale_low == 2.0
    (clip,) = pipeline("a red ball")
    assert (clip.metadata["steps"], clip.frames.shape) == (4, (5, 16, 16, 3))


@pytest.mark.slow
def test_a_converted_model_keeps_the_preset_of_its_adapter(models, tmp_path, capsys):
    one, _, adapter = models
    path = adapter("Wan2.1_lightx2v_step_distill.safetensors")
    assert convert.main([str(one), "--lora", path, "--out", str(tmp_path / "fast")]) == 0
    assert "note: " in capsys.readouterr().err
    fast = sorajax.load(tmp_path / "fast").config
    assert (fast.preset, fast.steps, fast.sampler) == ("lightning", 4, "euler")
    assert convert.main([str(one), "--lora", path, "--preset", "none", "--out", str(tmp_path / "slow")]) == 0
    assert sorajax.load(tmp_path / "slow").config == WAN


def test_what_does_not_fit_is_one_line(models, tmp_path, capsys):
    one, _, adapter = models
    chosen = partial(with_preset, adapters=[], model="mine")
    with pytest.raises(BadRequest, match="'fast' is unknown: use anyflow, causvid, lightning, self-forcing, or none"):
        chosen(WAN, "fast")
    with pytest.raises(BadRequest, match=r"anyflow is for flow maps such as AnyFlow-Wan2.1-T2V-1.3B, and mine is none"):
        chosen(WAN, "anyflow")
    flow_map = replace(WAN, dit=replace(WAN.dit, until_blocks=1))
    with pytest.raises(BadRequest, match="lightning is for models that are no flow maps, and mine is one"):
        chosen(flow_map, "lightning")
    assert chosen(flow_map, "anyflow").sampler == "flow_map"
    with pytest.raises(BadRequest, match=r"for Wan 2.1 and the pairs of experts of Wan 2.2, and mine is neither"):
        chosen(TINY, "lightning")
    two = [adapter("causvid.safetensors"), adapter("lightx2v.safetensors")]
    with pytest.raises(
        BadRequest, match=r"causvid.safetensors \(causvid\): choose one with --preset, or --preset none"
    ):
        loaded(one, loras=two)
    assert loaded(one, loras=two, preset="causvid")[0].config.steps == PRESETS["causvid"].steps
    pipeline, notes = loaded(one, loras=[adapter("anyflow.safetensors")])
    assert pipeline.config == WAN
    assert "looks like an adapter of the preset anyflow, which is for flow maps" in notes[0]
    for preset, model in (("fast", "world"), ("lightning", "world")):
        assert main(["a red ball", "--preset", preset, "--model", model, "--out", str(tmp_path / "x.webp")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("sorajax: preset ")
        assert error.count("\n") == 1


@pytest.fixture(scope="module")
def flow_maps(models, tmp_path_factory):
    """Two adapters that make a model a flow map."""
    folder = tmp_path_factory.mktemp("flow_maps")
    shapes = jax.eval_shape(partial(init_dit, WAN.dit), jax.random.key(0))
    adapters = init_adapters(shapes, 2, TARGETS, jax.random.key(0))
    student = replace(WAN, dit=replace(WAN.dit, until_blocks=1), steps=3, guidance_scale=1.0, negative_scale=1.5)
    for name in ("a", "b"):
        path = folder / f"{name}.safetensors"
        save_lora(path, adapters, WAN.dit, 2.0, {"flow_map": flow_map_settings(student)})
    return folder / "a.safetensors", folder / "b.safetensors"


def test_an_adapter_of_a_flow_map_has_its_settings(flow_maps):
    path, _ = flow_maps
    with pytest.warns(Note, match="makes tiny a flow map, which sets 3 steps, sampler flow_map and guidance scale 1"):
        config = with_preset(WAN, None, [(path, 1.0)], "tiny")
    assert (config.is_flow_map, config.sampler, config.steps, config.negative_scale) == (True, "flow_map", 3, 1.5)
    assert with_preset(WAN, "none", [(path, 1.0)], "tiny") == WAN
    with pytest.warns(Note, match="makes a flow map at scale 1 only, and not at 0.5: clips of few steps suffer"):
        assert with_preset(WAN, None, [(path, 0.5)], "tiny") == config


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (PAIR, "a.safetensors makes a flow map of a model, and tiny has two experts: leave out the adapter"),
        (replace(WAN, dit=replace(WAN.dit, until_blocks=1)), "and tiny is one: leave out the adapter"),
    ],
)
def test_an_adapter_of_a_flow_map_is_for_a_model_of_one_transformer(flow_maps, config, line):
    with pytest.raises(BadRequest, match=line):
        with_preset(config, None, [(flow_maps[0], 1.0)], "tiny")


def test_one_adapter_sets_the_steps(flow_maps, models):
    lightning = models[2]("Wan2.1_lightx2v_step_distill.safetensors")
    for other in (flow_maps[1], Path(lightning)):
        with pytest.raises(BadRequest, match="sets other steps: use one of them"):
            with_preset(WAN, None, [(flow_maps[0], 1.0), (other, 1.0)], "tiny")
