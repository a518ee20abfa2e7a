"""Converted weights open as the original ones, and export to them again."""

import json
import shutil

import jax
import numpy as np
import pytest

import sorajax
from sorajax.commands import convert
from sorajax.pretrained.open import open_parts
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.wan_folder import open_model

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from tests.pretrained.folders import all_parts, assert_equal  # noqa: E402

torch.set_num_threads(1)  # the models are tiny


def test_converted_weights_load_and_export_unchanged(saved, tmp_path, capsys):
    assert convert.main([str(saved), "--out", str(tmp_path / "fast"), "--dtype", "float32"]) == 0
    assert convert.main([str(tmp_path / "fast"), "--to", "diffusers", "--out", str(tmp_path / "back")]) == 0
    config, parts, tokenizer, name = open_parts(tmp_path / "fast", None)
    opened = open_model(saved)
    assert (config, tokenizer, name) == (opened.config, opened.tokenizer, "fast")
    assert_equal(dict(parts), all_parts(opened))
    assert_equal(all_parts(open_model(tmp_path / "back")), all_parts(opened))
    kinds = (("transformer", diffusers.WanTransformer3DModel), ("vae", diffusers.AutoencoderKLWan))
    for part, kind in kinds:
        state = Tensors(saved / part)
        model = kind.from_config(json.loads((tmp_path / "back" / part / "config.json").read_text()))
        back = {name: torch.tensor(tensor) for name, tensor in Tensors(tmp_path / "back" / part).items()}
        model.load_state_dict(back, strict=True)
        assert all(np.array_equal(model.state_dict()[name], tensor) for name, tensor in state.items()), part
    transformers.UMT5EncoderModel.from_pretrained(tmp_path / "back" / "text_encoder")
    assert convert.main([str(saved), "--out", str(tmp_path / "fast")]) == 2
    assert "exists and is not empty: name a new folder" in capsys.readouterr().err


def test_an_incomplete_conversion_is_reported_and_repeated(saved, tmp_path, capsys):
    out = tmp_path / "fast"
    assert convert.main([str(saved), "--out", str(out)]) == 0
    shutil.rmtree(out / "parts" / "text")
    with pytest.raises(FileNotFoundError, match="lacks text: convert again"):
        sorajax.load(out)
    (out / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="the conversion was not completed, run it again"):
        sorajax.load(out)
    assert convert.main([str(saved), "--out", str(out)]) == 0
    assert sorajax.load(out).name == "fast"


def test_converted_weights_load_in_the_requested_dtype(saved, tmp_path):
    assert convert.main([str(saved), "--out", str(tmp_path / "fast")]) == 0
    kinds = {dtype: sorajax.load(tmp_path / "fast", dtype).params for dtype in (None, "float32")}
    for dtype, params in kinds.items():
        wanted = np.float32 if dtype else jax.numpy.bfloat16
        assert params["dit"]["patch_in"]["kernel"].dtype == wanted
        assert params["vae"]["decoder"]["conv_in"]["kernel"].dtype == np.float32  # as in the reference
    small = sorajax.load(tmp_path / "fast", quantize="int8").params
    assert small.sizes["dit"] < 0.8 * kinds[None].sizes["dit"]
    assert small["dit"]["blocks"]["feed_forward"]["up"]["kernel"].qvalue.dtype == np.int8
