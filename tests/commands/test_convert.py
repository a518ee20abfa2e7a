"""Converting any model that samples, with adapters in it; open weights are in tests/pretrained."""

from functools import partial

import jax
import numpy as np
import pytest

import sorajax
from sorajax.commands.convert import main
from sorajax.models.folder import load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.lora import TARGETS, init_adapters, save_lora
from tests.pretrained.adapters import adapted

same = partial(jax.tree.map, partial(np.testing.assert_allclose, atol=1e-6))


def test_a_trained_model_is_converted_with_a_merged_adapter(tiny_model, tmp_path):
    config, params, _ = load_model(tiny_model, SoraConfig)
    assert main([str(tiny_model), "--out", str(tmp_path / "plain")]) == 0
    plain = sorajax.load(tmp_path / "plain")
    assert plain.config == config
    same(dict(plain.params), params)

    adapters = init_adapters(params["dit"], 2, TARGETS, jax.random.key(0))
    adapters = jax.tree.map(lambda x: np.full(x.shape, 0.1, np.float32), adapters)
    save_lora(tmp_path / "a.safetensors", adapters, config.dit, alpha=2.0)
    lora = f"{tmp_path / 'a.safetensors'}:0.5"
    assert main([str(tiny_model), "--lora", lora, "--out", str(tmp_path / "changed")]) == 0
    changed = sorajax.load(tmp_path / "changed").params
    same(changed["dit"], adapted(params["dit"], adapters, 0.5))
    same(changed["vae"], params["vae"])


def test_a_mesh_changes_nothing_in_the_files(tiny_model, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sorajax.devices.placement.sampling_devices", jax.devices)
        assert main([str(tiny_model), "--mesh", "data=2,seq=4", "--out", str(tmp_path / "spread")]) == 0
    _, params, _ = load_model(tiny_model, SoraConfig)
    same(dict(sorajax.load(tmp_path / "spread").params), params)
    assert main([str(tiny_model), "--mesh", "data=3", "--out", str(tmp_path / "three")]) == 1
    assert "data=3" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()


@pytest.mark.slow
def test_matrices_have_the_requested_dtype(tiny_model, tmp_path):
    assert main([str(tiny_model), "--dtype", "bfloat16", "--out", str(tmp_path / "small")]) == 0
    small = sorajax.load(tmp_path / "small")
    assert (small.config.dit.dtype, small.config.text.dtype) == ("bfloat16", "bfloat16")
    assert small.params["dit"]["blocks"]["self_attention"]["q"]["kernel"].dtype == "bfloat16"
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(small.params["vae"])} == {"float32"}


def test_a_failed_conversion_is_one_line_and_leaves_no_files(tiny_model, tmp_path, capsys):
    assert main([str(tiny_model), "--lora", str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
