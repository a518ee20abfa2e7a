"""Models in the diffusers layout: what is written is what is read, and what has no counterpart is refused."""

import json
from dataclasses import replace

import pytest

from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.pretrained import export, wan

STATISTICS = {"mean": (0.5,) * 16, "std": (2.0,) * 16}
CONFIGS = {
    "text to video": (DiTConfig(), export.dit_json, wan.dit_config),
    "image to video": (DiTConfig(in_channels=36, image_width=1280), export.dit_json, wan.dit_config),
    "a flow map": (DiTConfig(until_gate=0.25, until_interval=True), export.dit_json, wan.dit_config),
    "an autoencoder": (VAEConfig(**STATISTICS), export.vae_json, wan.vae_config),
    "one with shortcuts": (
        VAEConfig(base=160, decoder_base=256, shortcuts=True, pixel_patch=2, **STATISTICS),
        export.vae_json,
        wan.vae_config,
    ),
    "a text encoder": (TextConfig(depth=3, buckets=16), export.text_json, wan.text_config),
    "an image encoder": (VisionConfig(depth=5, activation="quick_gelu"), export.vision_json, wan.vision_config),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_read_as_it_was_written(name):
    config, written, read = CONFIGS[name]
    assert read(json.loads(json.dumps(written(config)))) == config


def test_the_layers_of_an_image_encoder_that_are_not_used_are_zeros():
    config = VisionConfig(width=4, hidden=6, depth=3)
    found = dict(export.unused_tensors(config))
    assert {name.split(".")[3] for name in found if ".layers." in name} == {"2"}
    assert found["vision_model.encoder.layers.2.mlp.fc1.weight"].shape == (6, 4)
    assert found["vision_model.encoder.layers.2.mlp.fc1.bias"].shape == (6,)
    assert not any(tensor.any() for tensor in found.values())
    assert not list(export.unused_tensors(None))


def test_the_index_names_a_pipeline_that_can_use_the_parts():
    text = SoraConfig()
    pair = replace(text, boundary=0.875)
    assert export.index_json(text)["transformer_2"] == [None, None]
    assert (export.index_json(pair)["transformer_2"][1], export.index_json(pair)["boundary_ratio"]) == (
        "WanTransformer3DModel",
        0.875,
    )
    assert export.scheduler_json(replace(text, shift=5.0))["flow_shift"] == 5.0


def test_a_model_without_counterpart_is_refused_before_anything_is_written(tmp_path):
    config = SoraConfig(dit=DiTConfig(until_blocks=2))
    with pytest.raises(ValueError, match=r"until_blocks=2 has no counterpart in diffusers.*: convert to orbax"):
        export.export_diffusers(config, lambda part: None, "{}", tmp_path)
    assert not list(tmp_path.iterdir())
