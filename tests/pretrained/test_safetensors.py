"""Where several files hold the same tensor, the index or the canonical name decides, never the alphabet."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from sorajax.models.folder import load_weights
from sorajax.pretrained.safetensors import Tensors


def saved(path, **values):
    save_file({name: np.full(2, value, np.float32) for name, value in values.items()}, path)


def read(*where):
    return {name: float(tensor[0]) for name, tensor in Tensors(*where).items()}


@pytest.mark.parametrize("canonical", ["diffusion_pytorch_model", "model", "pytorch_lora_weights", "adapter_model"])
def test_the_canonical_file_name_has_precedence(tmp_path, canonical):
    saved(tmp_path / f"{canonical}.safetensors", a=1, b=2)
    for other in ("aaa", f"{canonical}.fp16", "zzz", f"._{canonical}"):
        saved(tmp_path / f"{other}.safetensors", a=8, b=9)
    assert read(tmp_path) == {"a": 1, "b": 2}
    assert read(tmp_path, canonical) == {"a": 1, "b": 2}


def test_the_index_has_precedence(tmp_path):
    saved(tmp_path / "one.safetensors", a=1, b=8)
    saved(tmp_path / "two.safetensors", a=9, b=2)
    saved(tmp_path / "zzz.safetensors", a=9, b=9)
    places = {"a": "one.safetensors", "b": "two.safetensors"}
    for name in ("model", "model.fp16", "._model"):
        (tmp_path / f"{name}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert read(tmp_path) == {"a": 1, "b": 2}
    assert {name: value[0] for name, value in load_weights(tmp_path).items()} == {"a": 1, "b": 2}
    places["c"] = "two.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ValueError, match=r"two\.safetensors lacks c, which the index lists"):
        Tensors(tmp_path)


def test_two_files_with_the_same_tensor_are_refused_and_named(tmp_path):
    saved(tmp_path / "new.safetensors", a=1)
    saved(tmp_path / "old.safetensors", b=2)
    saved(tmp_path / "._old.safetensors", b=3)
    assert read(tmp_path) == {"a": 1, "b": 2}  # parts of one model
    saved(tmp_path / "older.safetensors", b=3)
    with pytest.raises(ValueError, match=r"old\.safetensors and older\.safetensors both hold b"):
        Tensors(tmp_path)


@pytest.mark.parity
def test_fp8_weights_without_scales_are_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2, 2).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"model.safetensors: a is F8_E4M3, .* --quantize fp8 gives them the same size"
    ):
        Tensors(tmp_path)
