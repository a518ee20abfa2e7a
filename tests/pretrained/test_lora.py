"""Adapters: their sum with the weights, their files, and those of other programs."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

import sorajax
from sorajax.commands.sample import main
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.sora import SoraConfig, init_dit
from sorajax.models.text import TextConfig
from sorajax.pretrained.lora import (
    TARGETS,
    adapter_places,
    add_adapter,
    init_adapters,
    load_lora,
    parse_lora,
    save_lora,
    trained_expert,
)
from sorajax.pretrained.open import adapters_of
from sorajax.pretrained.table import export_parameters, stream_parameters
from sorajax.pretrained.wan import dit_table
from tests.pretrained.adapters import adapted

CONFIG = DiTConfig(
    width=40, hidden=56, depth=2, heads=2, in_channels=16, out_channels=16, text_width=24, frequencies=32, remat="none"
)
APART = DiTConfig(**{**CONFIG.__dict__, "stacked": False})


apply = jax.jit(lambda config, variables, *inputs: DiT(config).apply(variables, *inputs), static_argnums=0)


def random(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.float32(0.2) * rng.standard_normal(x.shape, np.float32), tree)


def shapes_of(config):
    return jax.eval_shape(lambda key: init_dit(config, key), jax.random.key(0))


@pytest.fixture(scope="module", params=[CONFIG, APART], ids=["stacked", "leaves of their own"])
def model(request):
    params = random(shapes_of(request.param))
    return request.param, params, partial(init_adapters, params, 3, TARGETS)


def test_a_new_adapter_is_zero_and_a_merged_one_adds_its_product(model):
    config, params, new = model
    adapters = new(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, adapted(params, adapters), params)
    adapters = random(adapters)
    changed, before = (flatten_dict(tree, sep="/") for tree in (adapted(params, adapters, 0.5), params))
    pairs = flatten_dict(adapters, sep="/")
    touched = {name.rpartition("/")[0] for name in pairs}
    assert len(touched) == 10 * (1 if config.stacked else 2)
    for name, leaf in changed.items():
        layer = name.removesuffix("/kernel")
        if layer in touched and name.endswith("kernel"):
            x = np.random.default_rng(0).standard_normal((7, leaf.shape[-2])).astype(np.float32)
            beside = x @ before[name] + 0.5 * (x @ pairs[f"{layer}/a"]) @ pairs[f"{layer}/b"]
            np.testing.assert_allclose(x @ leaf, beside, atol=1e-4)
        else:
            np.testing.assert_array_equal(leaf, before[name])


@pytest.mark.parametrize("targets", [TARGETS, ".*"])
def test_an_unmerged_adapter_equals_a_merged_one(model, targets):
    config, params, _ = model
    adapters = jax.tree.map(lambda x: x / 4, random(init_adapters(params, 3, targets, jax.random.key(1))))
    rng = np.random.default_rng(3)
    x, context = rng.standard_normal((2, 2, 4, 4, 16)), rng.standard_normal((2, 5, config.text_width))
    inputs = np.float32(x), np.full((2, 2), 0.6, np.float32), np.float32(context)
    beside = np.asarray(apply(config, {"params": params, "adapters": adapters}, *inputs))
    merged, alone = (
        np.asarray(apply(config, {"params": tree}, *inputs)) for tree in (adapted(params, adapters), params)
    )
    scale = np.abs(merged).max()
    np.testing.assert_allclose(beside, merged, atol=1e-4 * scale)
    assert np.abs(beside - alone).max() > 0.01 * scale


def test_a_small_adapter_is_not_lost_by_rounding_to_bfloat16():
    """Of a change of a tenth of their last bit, in the sum of many inputs, and not as nearest rounding leaves it."""
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.standard_normal((512, 256)), jnp.bfloat16)
    a, b = jnp.asarray(rng.standard_normal((512, 1)), jnp.float32), jnp.ones((1, 256), jnp.float32)
    light = 4e-4
    made = add_adapter("x/kernel", kernel + 0, {"x/a": a, "x/b": b}, light)
    assert made.dtype == jnp.bfloat16
    np.testing.assert_array_equal(made, add_adapter("x/kernel", kernel + 0, {"x/a": a, "x/b": b}, light))

    def gain(changed):
        """How much of the change there is: its projection on what it should be."""
        difference, wanted = np.float64(changed) - np.float64(kernel), light * np.float64(a @ b)
        return (difference * wanted).sum() / (wanted * wanted).sum()

    assert abs(gain(made) - 1) < 0.1
    stacked = jnp.stack([kernel, kernel])  # each layer by chances of its own
    layers = add_adapter("x/kernel", stacked, {"x/a": jnp.stack([a, a]), "x/b": jnp.stack([b, b])}, light)
    assert (layers[0] != layers[1]).any()
    assert abs(gain((kernel + light * (a @ b)).astype(jnp.bfloat16)) - 1) > 0.1


def test_two_adapters_add_and_their_order_does_not_matter(model):
    _, params, new = model
    one, two = (random(new(jax.random.key(1)), seed) for seed in (1, 2))
    first = adapted(adapted(params, one, 0.5), two, 2.0)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), first, adapted(adapted(params, two, 2.0), one, 0.5))


def test_a_saved_adapter_loads_with_alpha_folded_in(model, tmp_path):
    config, params, new = model
    adapters = random(new(jax.random.key(1)))
    save_lora(tmp_path / "a.safetensors", adapters, config, alpha=6.0)
    again = load_lora(tmp_path / "a.safetensors", config)
    once, twice = adapted(params, adapters, 2.0), adapted(params, again)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), once, twice)
    other = APART if config.stacked else CONFIG
    load_lora(tmp_path / "a.safetensors", other)  # the file does not know how blocks are kept
    names = set(load_file(tmp_path / "a.safetensors"))
    assert "transformer.blocks.1.attn2.to_out.0.lora_B.weight" in names
    assert len(names) == 2 * 10 * 2


RELEASE = {
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}


def other_names(tensors, prefix):
    """As other trainers name them: the release's layers, down and up, and alpha beside them."""
    renamed = {}
    for name, tensor in tensors.items():
        layer, part = name.removeprefix("transformer.").rsplit(".lora_", 1)
        for ours, theirs in RELEASE.items():
            layer = layer.replace(ours, theirs)
        layer = prefix + (layer.replace(".", "_") if prefix.endswith("_") else layer)
        renamed[f"{layer}.lora_{'down' if part[0] == 'A' else 'up'}.weight"] = tensor
        renamed[f"{layer}.alpha"] = np.array(1.5, np.float32)
    return renamed


@pytest.mark.parametrize("prefix", ["diffusion_model.", "lora_unet_", "lora_unet__", "lycoris_"])
def test_tensor_names_of_other_trainers_are_read(model, tmp_path, prefix):
    config, params, new = model
    adapters = random(new(jax.random.key(1)))
    save_lora(tmp_path / "a.safetensors", adapters, config, alpha=3.0)
    save_file(other_names(load_file(tmp_path / "a.safetensors"), prefix), tmp_path / "b.safetensors")
    again = adapted(params, load_lora(tmp_path / "b.safetensors", config))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), again, adapted(params, adapters, 0.5))


OTHERS = {
    "diffusion_model.blocks.0.self_attn.q.diff_b": ("blocks.0.attn1.to_q.bias", (40,)),
    "blocks.1.norm3.diff": ("blocks.1.norm2.weight", (40,)),
    "blocks.1.cross_attn.norm_k.diff": ("blocks.1.attn2.norm_k.weight", (40,)),
    "diffusion_model.head.head.diff": ("proj_out.weight", (64, 40)),
    "diffusion_model.patch_embedding.diff": ("patch_embedding.weight", (40, 16, 1, 2, 2)),
    "transformer.blocks.0.ffn.net.2.diff": ("blocks.0.ffn.net.2.weight", (40, 56)),
    "blocks.1.diff_m": ("blocks.1.scale_shift_table", (1, 6, 40)),
    "head.diff_m": ("scale_shift_table", (1, 2, 40)),
}


@pytest.mark.parametrize("stored", OTHERS)
def test_diff_tensors_are_added_to_their_weights(model, tmp_path, stored):
    config, params, _ = model
    theirs, size = OTHERS[stored]
    difference = np.random.default_rng(3).standard_normal(size, np.float32)
    save_file({stored: difference}, tmp_path / "a.safetensors")
    state = export_parameters(dit_table(config), params)
    wanted = stream_parameters(dit_table(config), state | {theirs: state[theirs] + 0.5 * difference}, shapes_of(config))
    made = adapted(params, load_lora(tmp_path / "a.safetensors", config), 0.5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), made, wanted)


@pytest.mark.parametrize(
    ("layer", "theirs", "a", "b"),
    [
        ("diffusion_model.patch_embedding", "patch_embedding", (3, 16, 1, 2, 2), (40, 3, 1, 1, 1)),
        ("lora_unet_time_embedding_0", "condition_embedder.time_embedder.linear_1", (3, 32), (40, 3)),
        ("lora_unet_head_head", "proj_out", (3, 40), (64, 3)),
        ("pipe.dit.blocks.1.ffn.0", "blocks.1.ffn.net.0.proj", (3, 40), (56, 3)),
    ],
)
def test_adapters_of_every_layer_and_bias_are_read(model, tmp_path, layer, theirs, a, b):
    config, params, _ = model
    rng = np.random.default_rng(4)
    down, up, bias = (rng.standard_normal(size, np.float32) for size in (a, b, b[:1]))
    alpha = np.array([6.0], np.float32)
    tensors = {"lora.down.weight": down, "lora.up.weight": up, "lora_B.bias": bias, "alpha": alpha}
    save_file({f"{layer}.{ending}": tensor for ending, tensor in tensors.items()}, tmp_path / "a.safetensors")
    state = export_parameters(dit_table(config), params)
    weight, before = f"{theirs}.weight", state[f"{theirs}.weight"]
    change = (up.reshape(len(up), 3) @ down.reshape(3, -1)).reshape(before.shape)
    changed = {weight: before + 0.5 * 2 * change, f"{theirs}.bias": state[f"{theirs}.bias"] + 0.5 * 2 * bias}
    wanted = stream_parameters(dit_table(config), state | changed, shapes_of(config))
    adapters = load_lora(tmp_path / "a.safetensors", config)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), adapted(params, adapters, 0.5), wanted)


def test_adapters_of_image_layers_are_skipped_by_a_text_model(tmp_path):
    notes, matrix = [], np.ones((2, 40), np.float32)
    names = ["diffusion_model.blocks.0.cross_attn.k_img", "lora_unet_blocks_0_cross_attn_v_img", "blocks.0.attn1.to_q"]
    pairs = {"lora_down.weight": matrix, "lora_up.weight": matrix.T.copy()}
    tensors = {f"{name}.{ending}": tensor for name in names for ending, tensor in pairs.items()}
    save_file(tensors | {"img_emb.proj.0.diff": matrix[0]}, tmp_path / "a.safetensors")
    found = flatten_dict(load_lora(tmp_path / "a.safetensors", CONFIG, say=notes.append), sep="/")
    assert set(found) == {"blocks/self_attention/q/a", "blocks/self_attention/q/b"}
    assert "5 tensors for layers that read a picture are left out" in notes[0]
    seeing = DiTConfig(**{**CONFIG.__dict__, "in_channels": 36, "image_width": 40})
    found = flatten_dict(load_lora(tmp_path / "a.safetensors", seeing), sep="/")
    image = "blocks/cross_attention/image"
    assert {f"{image}/k/a", f"{image}/v/b", "image_in/norm_in/scale"} <= set(found)


def test_a_patch_embedding_of_other_channels_is_skipped(model, tmp_path):
    """Files for models of text hold the first layer whole, and are used with models of pictures."""
    notes, matrix, size = [], np.ones((2, 40), np.float32), (40, 36, 1, 2, 2)
    pair = {"blocks.0.attn1.to_q.lora_A.weight": matrix, "blocks.0.attn1.to_q.lora_B.weight": matrix.T.copy()}
    first = {"patch_embedding.diff": np.ones(size, np.float32), "patch_embedding.diff_b": np.ones(40, np.float32)}
    save_file(pair | first, tmp_path / "a.safetensors")
    found = flatten_dict(load_lora(tmp_path / "a.safetensors", CONFIG, say=notes.append), sep="/")
    assert set(found) == {"blocks/self_attention/q/a", "blocks/self_attention/q/b"}
    assert "the first layer is left out, it reads 144 values of a patch, and this model 64" in notes[0]
    seeing = DiTConfig(**{**CONFIG.__dict__, "in_channels": 36})
    seen = flatten_dict(load_lora(tmp_path / "a.safetensors", seeing), sep="/")
    assert {"patch_in/kernel", "patch_in/bias"} <= set(seen)


@pytest.mark.parity
def test_torch_files_and_second_expert_files_are_read(tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    layer = "blocks.0.attn1.to_q.lora_"
    pair = {f"{layer}A.weight": torch.ones(2, 40), f"{layer}B.weight": torch.ones(40, 2)}
    torch.save(pair, tmp_path / "a.pt")
    assert np.all(load_lora(tmp_path / "a.pt", CONFIG)["blocks"]["self_attention"]["q"]["a"][0] == 1)
    second = {f"transformer_2.{name}": tensor.numpy() for name, tensor in pair.items()}
    said = {"lora_adapter_metadata": json.dumps({"transformer_2.lora_alpha": 6})}
    save_file(second, tmp_path / "b.safetensors", said)
    assert load_lora(tmp_path / "b.safetensors", CONFIG) == {}
    low = load_lora(tmp_path / "b.safetensors", CONFIG, second=True)
    assert np.all(low["blocks"]["self_attention"]["q"]["b"][0] == 3)


def test_a_file_name_states_its_expert(tmp_path, capsys):
    """Of two files that are named alike each is for its own; else the name must say so, or both are told."""

    def made(*names):
        for name in names:
            save_lora(tmp_path / name, init_adapters(shapes_of(CONFIG), 2, TARGETS, jax.random.key(0)), CONFIG, 2.0)
        return [str(tmp_path / name) for name in names]

    two = SoraConfig(TextConfig(width=24), CONFIG, boundary=0.9)
    alike = made("low_wan_HIGH_fp16.safetensors", "low_wan_LOW_fp16.safetensors")
    assert [len(found) for found in adapters_of(two, alike).values()] == [1, 1]
    assert "low_wan_LOW_fp16.safetensors is used for the low expert, by its name" in capsys.readouterr().err
    assert [len(found) for found in adapters_of(two, made("high_quality.safetensors")).values()] == [1, 1]
    assert "high_quality.safetensors is used for both experts: write high=FILE" in capsys.readouterr().err
    own = init_adapters(shapes_of(CONFIG), 2, TARGETS, jax.random.key(0))
    save_lora(tmp_path / "own.safetensors", own, CONFIG, 2.0, {"expert": "low"})
    assert [len(found) for found in adapters_of(two, [str(tmp_path / "own.safetensors")]).values()] == [0, 1]
    assert capsys.readouterr().err == ""
    one = replace(two, boundary=None)
    assert len(adapters_of(one, [str(tmp_path / "own.safetensors")])["dit"]) == 1  # and not none
    assert "was trained for one of two experts (low)" in capsys.readouterr().err


@pytest.mark.parity
def test_an_adapter_of_the_reference_gives_the_references_output(tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    peft = pytest.importorskip("peft", reason="the parity extra is not installed")
    from diffusers.loaders import WanLoraLoaderMixin

    from sorajax.pretrained import wan
    from sorajax.pretrained.table import stream_parameters
    from tests.pretrained import reference

    theirs = reference.transformer()
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    params = stream_parameters(wan.dit_table(CONFIG), state, shapes_of(CONFIG))
    theirs.add_adapter(peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k", "to_v", "to_out.0", "proj"]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            if "lora_" in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    found = peft.get_peft_model_state_dict(theirs)
    said = theirs.peft_config["default"].to_dict()
    WanLoraLoaderMixin.save_lora_weights(tmp_path, found, transformer_lora_adapter_metadata=said)
    adapters = load_lora(next(tmp_path.glob("*.safetensors")), CONFIG)
    rng = np.random.default_rng(0)
    x, text = rng.standard_normal((1, 16, 2, 4, 6), np.float32), rng.standard_normal((1, 7, 24), np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(x), torch.tensor([700.0]), torch.tensor(text), return_dict=False)[0].numpy()
    ours = jax.jit(DiT(CONFIG).apply)(
        {"params": adapted(params, adapters)}, np.moveaxis(x, 1, -1), jnp.full((1, 2), 0.7), text
    )
    assert np.abs(np.moveaxis(ours, -1, 1) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_an_adapter_that_does_not_fit_is_one_line(tmp_path, capsys):
    params = shapes_of(CONFIG)
    with pytest.raises(ValueError, match="rank 0 is not allowed: use 1 or more"):
        init_adapters(params, 0, TARGETS, jax.random.key(0))
    with pytest.raises(ValueError, match="targets 'attn' match no layer: there are cross_attention/k"):
        init_adapters(params, 2, "attn", jax.random.key(0))
    save_lora(tmp_path / "a.safetensors", init_adapters(params, 2, TARGETS, jax.random.key(0)), CONFIG, 2.0)
    wider = DiTConfig(**{**CONFIG.__dict__, "width": 80})
    with pytest.raises(ValueError, match="is made for 40 x 40, and this model has 80 x 80: it is an"):
        load_lora(tmp_path / "a.safetensors", wider)
    save_file({"text_model.layer.lora_A.weight": np.zeros((2, 2), np.float32)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"holds text_model.layer.lora_A.weight, which fits no layer"):
        load_lora(tmp_path / "b.safetensors", CONFIG)
    one = load_file(tmp_path / "a.safetensors")
    save_file({name: tensor for name, tensor in one.items() if "lora_A" in name}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="only one of its two matrices"):
        load_lora(tmp_path / "c.safetensors", CONFIG)
    assert parse_lora("x.safetensors:0.5")[1] == 0.5
    with pytest.raises(ValueError, match="'half' is no scale: write FILE or FILE:SCALE"):
        parse_lora("x.safetensors:half")
    assert main(["a red ball", "--lora", "nowhere.safetensors", "--out", str(tmp_path / "x.webp")]) == 1
    assert main(["a red ball", "--lora", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "x.webp")]) == 1
    error = capsys.readouterr().err
    assert "nowhere.safetensors does not exist" in error
    assert "it is an adapter of another model" in error
    assert not (tmp_path / "x.webp").exists()
    assert main(["a red ball", "--lora", "first:0.5", "--lora", "second", "--out", str(tmp_path / "x.webp")]) == 1
    assert "first does not exist" in capsys.readouterr().err  # the second does not replace it


def test_load_adds_an_adapter(tmp_path):
    config = sorajax.load().config.dit
    adapters = random(init_adapters(shapes_of(config), 2, TARGETS, jax.random.key(0)))
    save_lora(tmp_path / "a.safetensors", adapters, config, 2.0)
    plain, changed = (sorajax.load(loras=loras).params["dit"] for loras in ((), [f"{tmp_path / 'a.safetensors'}:0.5"]))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), changed, adapted(plain, adapters, 0.5))
    assert set(adapter_places(config)) >= {"blocks.0.attn1.to_q.weight", "blocks.5.ffn.net.2.bias"}


def test_a_broken_header_and_other_programs_metadata_are_one_line(model, tmp_path):
    config, _, new = model
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\xff" * 40)
    for read in (trained_expert, partial(load_lora, config=config)):
        with pytest.raises(ValueError, match=r"broken\.safetensors is not a whole safetensors file") as error:
            read(path)
        assert "\n" not in str(error.value)
    save_lora(path, random(new(jax.random.key(1))), config, 3.0)
    tensors = load_file(path)
    save_file(tensors, path, {"sorajax": "not JSON", "lora_adapter_metadata": "[1]"})
    assert trained_expert(path) is None
    assert load_lora(path, config)
