"""Model folders: what is loaded is what was exported; damage is one line."""

import json
from dataclasses import dataclass

import jax
import ml_dtypes
import numpy as np
import pytest

from sorajax.models.folder import export_model, from_json, load_model, model_kind, to_json
from sorajax.models.sora import SoraConfig


@dataclass(frozen=True)
class Inner:
    sizes: tuple[tuple[int, int], ...] = ((64, 64),)


@dataclass(frozen=True)
class Model:
    depth: int = 2
    inner: Inner = Inner(((64, 96), (32, 32)))
    name: str = "toy"


PARAMS = {"dit": {"blocks": {"kernel": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)}}, "scale": np.ones(3)}


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "float16"])
def test_an_exported_model_loads_as_it_was(tmp_path, storage):
    export_model(tmp_path / "model", PARAMS, Model(depth=5), "{}", storage)
    config, params, tokenizer = load_model(tmp_path, Model)  # a training directory
    assert (config, tokenizer) == (Model(depth=5), "{}")
    expected = PARAMS["dit"]["blocks"]["kernel"]
    if storage != "float32":
        expected = expected.astype({"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[storage]).astype(np.float32)
    assert params["dit"]["blocks"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(params["dit"]["blocks"]["kernel"], expected)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def damage_nothing(folder):
    return folder / "not_there"


def damage_config(folder):
    (folder / "config.json").write_text('{"kind": ')


def damage_kind(folder):
    (folder / "config.json").write_text(json.dumps({"kind": "VAEConfig", "config": {}}))


def damage_field(folder):
    (folder / "config.json").write_text(json.dumps({"kind": "Model", "config": {"depht": 3}}))


def damage_config_itself(folder):
    (folder / "config.json").write_text(json.dumps({"kind": "Model", "config": [3]}))


def damage_letters(folder):
    (folder / "config.json").write_bytes(b"\xff\xfe\xff")


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def remove_config(folder):
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (damage_nothing, FileNotFoundError, "does not exist"),
        (remove_config, FileNotFoundError, "holds no model"),
        (remove_weights, FileNotFoundError, "is missing"),
        (cut_weights, ValueError, "damaged or cut short"),
        (damage_config, ValueError, "is no JSON"),
        (damage_kind, ValueError, "holds a VAEConfig, and a Model is needed"),
        (damage_field, ValueError, r"config\.json is no Model .*extra fields found \(depht\) @ Model"),
        (damage_config_itself, ValueError, r"config\.json holds '\[3\]' in place of the fields of a Model"),
        (damage_letters, ValueError, "is no JSON"),
    ],
)
def test_a_damaged_model_is_one_clear_line(tmp_path, damage, kind, said):
    export_model(tmp_path, PARAMS, Model())
    folder = damage(tmp_path) or tmp_path
    with pytest.raises(kind, match=said) as error:
        load_model(folder, Model)
    assert "\n" not in str(error.value)


def test_a_model_in_shards_is_the_same_model(tmp_path):
    params = {"a": {"kernel": np.random.default_rng(0).normal(size=(200, 90)).astype(np.float32)}}
    params |= {"b": {"kernel": np.ones((150, 140), np.float32)}, "c": np.zeros(1, np.float32)}
    config, mib = Model(), 0.2
    folder = export_model(tmp_path, params, config)
    whole = load_model(folder, Model)[1]
    export_model(tmp_path, params, config, shard_mib=mib)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert [file.name for file in files] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert all(file.stat().st_size <= mib * 2**20 for file in files)
    assert jax.tree.all(jax.tree.map(np.array_equal, whole, load_model(folder, Model)[1]))
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-00001-of-00002\.safetensors, which model\."):
        load_model(folder, Model)
    export_model(tmp_path, params, config)  # and back: nothing of the shards is left
    assert [file.name for file in tmp_path.glob("model*")] == ["model.safetensors"]
    with pytest.raises(ValueError, match=r"shards of 0.1 MiB are too small for a/kernel, which takes 0.1.*--shard-mib"):
        export_model(tmp_path, params, config, shard_mib=0.1)


def test_a_config_file_of_the_previous_version_is_read():
    values = to_json(SoraConfig(max_anchor_gap=4, redo_latents=1, drop_conditioning_in_cfg=True))
    former = {"max_anchor_gap": "reach", "redo_latents": "ahead", "drop_conditioning_in_cfg": "guide_known"}
    old = json.loads(json.dumps({former.get(name, name): value for name, value in values.items()}))
    assert from_json(old, SoraConfig) == from_json(values, SoraConfig)


@pytest.mark.parametrize("place", [".", "model"], ids=["a model", "a training directory"])
def test_the_kind_of_a_model_is_read_without_its_weights(tmp_path, place):
    folder = export_model(tmp_path / place, PARAMS, Model())
    (folder / "model.safetensors").unlink()
    assert model_kind(tmp_path) == "Model"


def test_an_index_that_is_none_is_one_line(tmp_path):
    export_model(tmp_path, PARAMS, Model())
    (tmp_path / "model.safetensors.index.json").write_text('{"weights": {}}')
    with pytest.raises(ValueError, match=r"index\.json is not an index of shards .*: export or download it again"):
        load_model(tmp_path, Model)
