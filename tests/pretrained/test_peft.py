"""Adapters have the strength that PEFT gives them: its config's alpha, ranks, rsLoRA and DoRA are followed."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.pretrained.lora import load_lora
from sorajax.pretrained.open import adapters_of
from sorajax.pretrained.table import export_parameters, stream_parameters
from sorajax.pretrained.wan import dit_table
from tests.pretrained.adapters import adapted
from tests.pretrained.test_lora import APART, CONFIG, random, shapes_of

Q, UP = "blocks.0.attn1.to_q", "blocks.1.ffn.net.0.proj"


def saved(folder, tensors, **said):
    """An adapter as PEFT saves it."""
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **said}))
    return folder


def pair(rank=4, module=Q, size=(40, 40), prefix="base_model.model.", name=""):
    rng = np.random.default_rng(rank)
    return {
        f"{prefix}{module}.lora_A{name}.weight": rng.standard_normal((rank, size[1]), np.float32),
        f"{prefix}{module}.lora_B{name}.weight": rng.standard_normal((size[0], rank), np.float32),
    }


def product(tensors, strength):
    a, b = (next(value for name, value in tensors.items() if part in name) for part in ("lora_A", "lora_B"))
    return strength * b @ a


@pytest.fixture(scope="module", params=[CONFIG, APART], ids=["stacked", "leaves of their own"])
def weights(request):
    """A config, parameters, and the same under the open names."""
    params = random(shapes_of(request.param))
    return request.param, params, export_parameters(dit_table(request.param), params)


def changes(weights, path, scale=1.0):
    """What an adapter changes, by open names."""
    config, params, before = weights
    after = export_parameters(dit_table(config), adapted(params, load_lora(path, config), scale))
    return {name: after[name] - before[name] for name in after if np.any(after[name] != before[name])}


@pytest.mark.parametrize(
    ("said", "strength"),
    [
        ({"lora_alpha": 16, "r": 4}, 4.0),
        ({"r": 4}, 2.0),  # PEFT's own alpha is 8
        ({"lora_alpha": 16, "r": 4, "use_rslora": True}, 8.0),
        ({"lora_alpha": 16, "r": 8, "rank_pattern": {"to_q": 4}, "alpha_pattern": {"attn1.to_q": 2}}, 0.5),
        ({"lora_alpha": 16, "r": 4, "alpha_pattern": {"o_q": 2}}, 4.0),  # the end, but not after a dot
        ({"lora_alpha": 16, "r": 4, "alpha_pattern": {r"blocks\.[0-3]\..*to_[qk]": 2, "to_q": 8}}, 0.5),
    ],
)
def test_adapter_config_json_sets_the_strength(weights, tmp_path, said, strength):
    folder = saved(tmp_path / "mine", pair(), **said)
    for path in (folder, folder / "adapter_model.safetensors", tmp_path):
        found = changes(weights, path)
        assert list(found) == [f"{Q}.weight"]
        np.testing.assert_allclose(found[f"{Q}.weight"], product(pair(), strength), atol=2e-5)


def test_one_named_adapter_is_read_and_several_in_a_file_are_refused(weights, tmp_path):
    folder = saved(tmp_path / "a", pair(name=".style"), r=4, lora_alpha=4)
    np.testing.assert_allclose(changes(weights, folder)[f"{Q}.weight"], product(pair(), 1.0), atol=2e-5)
    saved(tmp_path / "b", pair(name=".style") | pair(5, name=".motion"), r=4)
    with pytest.raises(ValueError, match=r"holds 2 adapters \(motion, style\): save one of them by itself"):
        load_lora(tmp_path / "b", CONFIG)
    with pytest.raises(ValueError, match=r"holds 2 adapters \(a, b\): give the folder of one"):
        load_lora(tmp_path, CONFIG)


def test_adapter_config_json_is_ignored_beside_other_weights(weights, tmp_path):
    folder = saved(tmp_path / "a", pair(), r=4, lora_alpha=16)
    save_file(pair(3, prefix="transformer."), folder / "other.safetensors")
    np.testing.assert_allclose(
        changes(weights, folder / "other.safetensors")[f"{Q}.weight"], product(pair(3), 1.0), atol=2e-5
    )


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"r": 8}, r"adapter_config\.json has rank 8 for blocks\.0\.attn1\.to_q, whose matrices have 4"),
        ({"r": 4, "use_dora": True}, "says use_dora, and no tensor is a lora_magnitude_vector"),
        ({"r": 4, "init_lora_weights": "pissa_niter_4"}, "init_lora_weights pissa_niter_4 changes the weights"),
        ({"r": 4, "peft_type": "IA3"}, "this adapter is a IA3: sorajax reads LORA and LOKR"),
        ({"r": 4, "layer_replication": [[0, 2]]}, "layer_replication is no change of weights"),
    ],
)
def test_an_unsupported_adapter_is_one_line(tmp_path, said, refusal):
    folder = saved(tmp_path / "a", pair(), **said)
    with pytest.raises(ValueError, match=refusal) as error:
        load_lora(folder, CONFIG)
    assert "\n" not in str(error.value)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config\.json is no JSON"):
        load_lora(folder, CONFIG)


def test_dora_scales_the_outputs_of_its_layers_only(weights, tmp_path):
    magnitude = np.abs(np.random.default_rng(7).standard_normal(40, np.float32)) + 0.5
    tensors = pair() | pair(4, UP, (56, 40)) | {f"base_model.model.{Q}.lora_magnitude_vector": magnitude}
    found = changes(weights, saved(tmp_path / "a", tensors, r=4, lora_alpha=4, use_dora=True), 0.5)
    before = weights[2][f"{Q}.weight"]
    whole = before + product(pair(), 0.5)
    after = magnitude[:, None] * whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(found[f"{Q}.weight"], after - before, atol=2e-5)
    np.testing.assert_allclose(found[f"{UP}.weight"], product(pair(4, UP, (56, 40)), 0.5), atol=2e-5)
    assert set(found) == {f"{Q}.weight", f"{UP}.weight"}
    old = {
        f"diffusion_model.blocks.0.self_attn.q.{ending}": value
        for ending, value in (
            ("lora_down.weight", pair()[f"base_model.model.{Q}.lora_A.weight"]),
            ("lora_up.weight", pair()[f"base_model.model.{Q}.lora_B.weight"]),
            ("dora_scale", magnitude[:, None]),
        )
    }
    save_file(old, tmp_path / "other.safetensors")
    np.testing.assert_allclose(
        changes(weights, tmp_path / "other.safetensors", 0.5)[f"{Q}.weight"], after - before, atol=2e-5
    )
    save_file(old | {"diffusion_model.blocks.0.self_attn.q.dora_scale": magnitude[None]}, tmp_path / "in.safetensors")
    with pytest.raises(ValueError, match="has a magnitude for each input"):
        load_lora(tmp_path / "in.safetensors", CONFIG)


def test_dora_beside_other_adapters_is_refused(tmp_path):
    tensors = pair() | {f"base_model.model.{Q}.lora_magnitude_vector": np.ones(40, np.float32)}
    first = saved(tmp_path / "a", tensors, r=4, use_dora=True)
    second = saved(tmp_path / "b", pair(), r=4)
    config = SoraConfig(TextConfig(width=24), CONFIG)
    assert adapters_of(config, [str(first)])["dit"]
    with pytest.raises(ValueError, match=r"one of the adapters is a DoRA.*use it by itself"):
        adapters_of(config, [str(first), str(second)])


@pytest.mark.parametrize("parts", ["whole", "w2 of two", "both of two"])
def test_lokr_adds_a_kronecker_product(weights, tmp_path, parts):
    rng = np.random.default_rng(2)
    sizes = {"lokr_w1": (4, 5), "lokr_w2": (14, 8)}
    if parts != "whole":
        sizes |= {"lokr_w2_a": (14, 2), "lokr_w2_b": (2, 8)}
        del sizes["lokr_w2"]
    if parts == "both of two":
        sizes |= {"lokr_w1_a": (4, 2), "lokr_w1_b": (2, 5)}
        del sizes["lokr_w1"]
    tensors = {name: rng.standard_normal(size, np.float32) for name, size in sizes.items()}
    one, two = (
        tensors[name] if name in tensors else tensors[f"{name}_a"] @ tensors[f"{name}_b"]
        for name in ("lokr_w1", "lokr_w2")
    )
    named = {f"lycoris_blocks_1_ffn_0.{name}": tensor for name, tensor in tensors.items()}
    save_file(named | {"lycoris_blocks_1_ffn_0.alpha": np.array(6, np.float32)}, tmp_path / "a.safetensors")
    found = changes(weights, tmp_path / "a.safetensors", 0.5)
    strength = 1.0 if parts == "whole" else 3.0
    np.testing.assert_allclose(found[f"{UP}.weight"], 0.5 * strength * np.kron(one, two), atol=2e-5)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["alpha", "patterns", "rslora", "dora", "lora_bias", "named", "lokr", "lokr of two"])
def test_peft_merges_to_the_same_weights(kind, tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    peft = pytest.importorskip("peft", reason="the parity extra is not installed")
    from tests.pretrained import reference

    theirs = reference.transformer()
    before = {name: tensor.numpy().copy() for name, tensor in theirs.state_dict().items()}
    params = stream_parameters(dit_table(CONFIG), before, shapes_of(CONFIG))
    targets = ["to_q", "to_k", "to_out.0", "net.0.proj", "proj_out"]
    patterns = {"rank_pattern": {"to_q": 3, r"blocks\.1\..*to_k": 2}, "alpha_pattern": {"attn2.to_q": 5, "proj": 7}}
    made = {
        "alpha": {},
        "patterns": patterns,
        "rslora": {"use_rslora": True} | patterns,
        "dora": {"use_dora": True},
        "lora_bias": {"lora_bias": True},
        "named": {},
    }
    if kind.startswith("lokr"):
        config = peft.LoKrConfig(
            r=2 if "two" in kind else 40, alpha=6, target_modules=targets, decompose_both="two" in kind
        )
    else:
        config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets, **made[kind])
    adapter = "style" if kind == "named" else "default"
    model = peft.get_peft_model(theirs, config, adapter_name=adapter)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_" in name or "lokr_" in name:
                tensor.add_(torch.randn(tensor.shape, generator=generator) / 4)
    model.save_pretrained(tmp_path)
    after = {name: tensor.numpy() for name, tensor in model.merge_and_unload().state_dict().items()}
    assert sum(not np.array_equal(before[name], after[name]) for name in before) >= 8
    wanted = stream_parameters(dit_table(CONFIG), after, shapes_of(CONFIG))
    ours = adapted(params, load_lora(tmp_path, CONFIG))
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), ours, wanted)
    if kind == "named":
        assert (tmp_path / "style" / "adapter_model.safetensors").exists()
        assert not any(".style." in name for name in load_file(tmp_path / "style" / "adapter_model.safetensors"))
