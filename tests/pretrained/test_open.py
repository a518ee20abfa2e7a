"""Names of the model hub are downloaded, where they hold a model that can run."""

import json

import pytest

import sorajax

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity


def test_other_kinds_of_models_on_the_hub_are_refused_before_their_weights_load(saved, tmp_path, monkeypatch):
    asked = []

    def fetched(name, **wanted):
        asked.append(wanted)
        return str(saved if "Wan" in name else tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    assert sorajax.load("Wan-AI/Wan2.1-T2V-1.3B-Diffusers").name == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert [len(wanted.get("allow_patterns", ())) for wanted in asked] == [2, 0]
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ValueError, match="someone/flux holds a FluxPipeline: sorajax runs WanPipeline"):
        sorajax.load("someone/flux")
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ValueError, match=r"someone/llama holds no Wan model: neither model_index.json nor"):
        sorajax.load("someone/llama")
    for said, kind in (({"_class_name": "VaceWanModel"}, "VaceWanModel"), ({"model_type": "flf2v"}, "flf2v")):
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanModel", "ffn_dim": 8960, **said}))
        with pytest.raises(ValueError, match=f"someone/other holds a {kind}: sorajax runs text to video, image to"):
            sorajax.load("someone/other")
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanImageToVideoPipeline"}')
    described = json.loads((saved / "transformer" / "config.json").read_text())
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps({**described, "pos_embed_seq_len": 514}))
    with pytest.raises(ValueError, match="this transformer has pos_embed_seq_len=514, and only None can be imported"):
        sorajax.load("someone/flf2v")
    assert len(asked) == 7


def test_an_unknown_hub_name_is_one_line():
    with pytest.raises(FileNotFoundError, match="neither a folder nor could it be downloaded"):
        sorajax.load("nobody/no-such-model")
