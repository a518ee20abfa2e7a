"""The original release's names, renamed, are those of the tables that import diffusers' layout."""

from dataclasses import replace

import numpy as np
import pytest

from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.pretrained import wan
from sorajax.pretrained.original import dit_tensors, text_tensors, vae_tensors, vision_tensors

LINEARS = (
    [f"{part}_attn.{name}" for part in ("self", "cross") for name in "qkvo"],
    ["norm3", "ffn.0", "ffn.2"],
)
DIT = {f"blocks.0.{name}.{kind}" for names in LINEARS for name in names for kind in ("weight", "bias")}
DIT |= {f"blocks.0.{part}_attn.norm_{name}.weight" for part in ("self", "cross") for name in "qk"}
DIT |= {"blocks.0.modulation", "head.modulation"}
OTHERS = ("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2")
DIT |= {f"{name}.{kind}" for name in (*OTHERS, "time_projection.1", "head.head") for kind in ("weight", "bias")}
TEXT = {f"blocks.0.{name}.weight" for name in ("norm1", "norm2", "ffn.gate.0", "ffn.fc1", "ffn.fc2")}
TEXT |= {f"blocks.0.attn.{name}.weight" for name in "qkvo"}
TEXT |= {"blocks.0.pos_embedding.embedding.weight", "token_embedding.weight", "norm.weight"}


def tensors(names):
    return {name: np.zeros(1) for name in names}


def names_of(rows):
    return {row.theirs.format(layer=0) for row in rows}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_transformers_tensors_are_those_of_its_table(prefix):
    """Other programs write the same names with a prefix."""
    renamed = dit_tensors(tensors(prefix + name for name in DIT))
    assert set(renamed) == names_of(wan.dit_table(replace(DiTConfig(), depth=1)))


def test_a_text_encoders_tensors_are_those_of_its_table():
    assert set(text_tensors(tensors(TEXT))) == names_of(wan.text_table(replace(TextConfig(), depth=1)))


@pytest.mark.parametrize(
    ("shortcuts", "stored", "expected"),
    [
        (False, "decoder.upsamples.0.residual.2.weight", "decoder.up_blocks.0.resnets.0.conv1.weight"),
        (False, "decoder.upsamples.2.residual.6.bias", "decoder.up_blocks.0.resnets.2.conv2.bias"),
        (False, "decoder.upsamples.3.resample.1.weight", "decoder.up_blocks.0.upsamplers.0.resample.1.weight"),
        (False, "decoder.upsamples.4.shortcut.weight", "decoder.up_blocks.1.resnets.0.conv_shortcut.weight"),
        (False, "encoder.downsamples.5.time_conv.weight", "encoder.down_blocks.5.time_conv.weight"),
        (False, "encoder.middle.1.to_qkv.weight", "encoder.mid_block.attentions.0.to_qkv.weight"),
        (False, "conv1.weight", "quant_conv.weight"),
        (True, "decoder.upsamples.1.upsamples.2.residual.0.gamma", "decoder.up_blocks.1.resnets.2.norm1.gamma"),
        (True, "decoder.upsamples.1.upsamples.3.resample.1.bias", "decoder.up_blocks.1.upsampler.resample.1.bias"),
        (
            True,
            "encoder.downsamples.1.downsamples.2.time_conv.bias",
            "encoder.down_blocks.1.downsampler.time_conv.bias",
        ),
    ],
)
def test_an_autoencoders_blocks_are_found_in_a_flat_list_or_one_of_each_level(shortcuts, stored, expected):
    config = VAEConfig(shortcuts=shortcuts)
    assert list(vae_tensors(tensors([stored]), config)) == [expected]
    assert expected in names_of(wan.vae_table(config))


def test_an_image_encoders_joint_projection_is_split_and_its_text_side_left_out():
    joint = np.arange(6.0).reshape(6, 1)
    stored = {
        "visual.transformer.3.attn.to_qkv.weight": joint,
        "visual.cls_embedding": np.ones((1, 1, 4)),
        "visual.pos_embedding": np.ones((1, 5, 4)),
        "textual.token_embedding.weight": joint,
        "log_scale": joint,
    }
    found = vision_tensors(stored)
    place = "encoder.layers.3.self_attn.{}_proj.weight"
    assert [found[place.format(letter)].ravel().tolist() for letter in "qkv"] == [[0, 1], [2, 3], [4, 5]]
    assert found["embeddings.class_embedding"].shape == (4,)
    assert found["embeddings.position_embedding.weight"].shape == (5, 4)
    assert len(found) == 5
