"""Weights in 8 bits on disk are near what they were."""

import numpy as np
import pytest

from sorajax.models.folder import export_model, load_model
from sorajax.models.packed import SCALE, pack, unpack
from sorajax.models.vae import VAEConfig

RNG = np.random.default_rng(0)
PARAMS = {
    "a": {"kernel": RNG.normal(0, np.linspace(0.1, 3, 80), (3, 64, 80)).astype(np.float32), "bias": np.arange(80.0)},
    "small": RNG.normal(size=(8, 8)).astype(np.float32),
    "empty": np.zeros((64, 64), np.float32),
}


def test_a_packed_folder_has_nearly_the_same_weights(tmp_path):
    export_model(tmp_path, PARAMS, VAEConfig(), storage="int8")
    loaded = load_model(tmp_path, VAEConfig)[1]
    kernel, found = PARAMS["a"]["kernel"], loaded["a"]["kernel"]
    assert found.dtype == np.float32
    largest = np.abs(kernel).max(1, keepdims=True)
    assert (np.abs(found - kernel) <= largest / 254 + 1e-6).all()
    np.testing.assert_array_equal(loaded["a"]["bias"], PARAMS["a"]["bias"])
    np.testing.assert_allclose(loaded["small"], PARAMS["small"], atol=2e-3)
    np.testing.assert_array_equal(loaded["empty"], PARAMS["empty"])
    assert (tmp_path / "model.safetensors").stat().st_size < 0.3 * 4 * (kernel.size + 64 * 64)


def test_what_was_not_packed_is_left_alone():
    tensors = {"a": np.ones(3, np.float32), f"b{SCALE}": np.ones(2, np.float32)}
    assert unpack(tensors).keys() == tensors.keys()
    assert pack(tensors)["a"].dtype == np.float16


def test_packed_weights_are_one_file(tmp_path):
    with pytest.raises(ValueError, match="int8 weights are one file: leave out --shard-mib"):
        export_model(tmp_path, PARAMS, VAEConfig(), storage="int8", shard_mib=1.0)
