"""Folders of open weights, in the layouts of diffusers and of the original release; damaged ones are refused."""

import pytest
from safetensors.numpy import save_file

import sorajax
from sorajax.pretrained.pickles import PickledTensors
from sorajax.pretrained.wan_folder import model_name, open_model
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from tests.pretrained import reference  # noqa: E402
from tests.pretrained.folders import all_parts, assert_equal, change  # noqa: E402

torch.set_num_threads(1)  # the models are tiny


@pytest.mark.parametrize("name", ["Wan2.1-I2V", "Wan2.2-T2V-A14B", "Wan2.2-TI2V"])
def test_the_original_release_imports_to_the_same_parameters(name, tmp_path):
    theirs = reference.silent(reference.MODELS[name])
    theirs.save_pretrained(tmp_path / "new")
    reference.save_original(theirs, tmp_path / "first")
    new, first = open_model(tmp_path / "new"), open_model(tmp_path / "first")
    assert_equal(all_parts(first), all_parts(new))
    assert (first.config.dit, first.config.vae, first.config.vision) == (
        new.config.dit,
        new.config.vae,
        new.config.vision,
    )
    pickled = next((tmp_path / "first").glob("Wan2.?_VAE.pth"))
    save_file(dict(PickledTensors(pickled)), pickled.with_suffix(".safetensors"))  # beside those of the transformer
    pickled.unlink()
    assert_equal(all_parts(open_model(tmp_path / "first")), all_parts(new))
    assert (first.config.conditioning, first.config.boundary) == (new.config.conditioning, new.config.boundary)


def test_the_references_converter_reads_our_original_names():
    from diffusers.loaders import single_file_utils as their

    for model, rename, convert_back in (
        (reference.transformer(36, image=80), reference.original_dit, their.convert_wan_transformer_to_diffusers),
        (reference.autoencoder(), reference.original_vae, their.convert_wan_vae_to_diffusers),
    ):
        state = model.state_dict()
        back = convert_back(rename(state))
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_shift_far_from_the_releases_is_reported(copied):
    def notes(stored, **asked):
        change(copied / "scheduler" / "scheduler_config.json", flow_shift=stored)
        config = open_model(copied).config
        assert config.shift == stored
        return settings_for(Request(("a cat",), frames=5, **asked), config).notes

    assert not any("shift" in note for note in notes(3.0))  # 5 in the release: near enough
    assert "the shift 1, which is used; its release samples with 5: --shift 5" in notes(1.0)[-1]
    assert not any("the shift" in note for note in notes(1.0, shift=2.0))


def test_a_models_name_is_its_hub_name(tmp_path):
    folder = tmp_path / "models--Wan-AI--Wan2.1-I2V-14B-720P-Diffusers" / "snapshots" / "0123480"
    assert model_name(folder) == "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers"
    assert model_name(tmp_path / "models" / "mine" / "wan") == "wan"


def test_damaged_or_foreign_folders_are_one_line(copied, tmp_path, monkeypatch):
    def refused(match, kind=ValueError):
        with pytest.raises(kind, match=match) as raised:
            all_parts(open_model(copied))
        assert "\n" not in str(raised.value)

    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no folder of Wan weights"):
        open_model(tmp_path / "empty")
    index = copied / "model_index.json"
    change(index, _class_name="FluxPipeline")
    refused("holds a FluxPipeline: sorajax runs WanPipeline, WanImageToVideoPipeline, AnyFlowPipeline")
    change(index, _class_name="WanPipeline")
    change(copied / "vae" / "config.json", z_dim=8, latents_mean=[0.0] * 8, latents_std=[1.0] * 8)
    refused("the transformer makes 16 channels, the autoencoder's latents have 8")
    change(copied / "vae" / "config.json", z_dim=16, latents_mean=[0.0] * 16, latents_std=[1.0] * 16)
    described = (copied / "transformer" / "config.json").read_text()
    (copied / "transformer" / "config.json").write_text("{}")
    refused("is no Wan model, or not all of it: it has no 'num_attention_heads'; download it again")
    (copied / "transformer" / "config.json").write_text("[]")
    refused("config.json is no JSON object: download it again")
    (copied / "transformer" / "config.json").write_text(described)
    change(copied / "transformer" / "config.json", num_layers="thirty")
    refused("config.json is no DiTConfig of this version of sorajax: .* @ DiTConfig.depth")
    (copied / "transformer" / "config.json").write_text(described)
    change(index, boundary_ratio=0.875)
    refused("has a boundary_ratio and no transformer_2: download the model again")
    change(index, boundary_ratio=None)
    change(copied / "scheduler" / "scheduler_config.json", flow_shift="x")
    refused("flow_shift 'x' is not a number: download it again")
    change(copied / "scheduler" / "scheduler_config.json", flow_shift=3.0)
    with pytest.raises(ValueError, match="is a file: give the folder of the model, and an adapter with --lora"):
        sorajax.load(index)
    change(copied / "transformer" / "config.json", num_layers=3)
    refused("tensors are missing: blocks.2.attn1.norm_k.weight")
    change(copied / "transformer" / "config.json", num_layers=2)
    shard = sorted((copied / "transformer").glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    refused("not a whole safetensors file")
    shard.unlink()
    refused("lacks .*: download again", FileNotFoundError)
    from safetensors.torch import load, save_file

    tensors = load(content)
    save_file({name: tensor.to(torch.int8) for name, tensor in tensors.items()}, shard)
    refused("is int8, and weights are float32, bfloat16 or float16")
    with pytest.raises(ValueError, match="is int8, and weights are float32"):  # by the header: nothing is loaded
        sorajax.load(copied)
    save_file({name: tensor[:1].contiguous() for name, tensor in tensors.items()}, shard)
    with pytest.raises(ValueError, match=r"gives .* the shape .* the config says .*: use the config of these weights"):
        sorajax.load(copied)
    shard.write_bytes(content)
    monkeypatch.setattr("sorajax.pretrained.open.memory_of_devices", lambda: 1000)
    with pytest.raises(ValueError, match=r"text takes 0.0 GB of 0.0 GB: use more devices, half the bytes with"):
        sorajax.load(copied)
