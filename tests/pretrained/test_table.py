"""The tables of the open models have not drifted: a hash for each, recorded when they agreed with the reference."""

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from sorajax.errors import Note
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import init_dit, init_text, init_vae, init_vision
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.pretrained import wan
from sorajax.pretrained.table import matched_rows

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
SMALL = DiTConfig()
LARGE = replace(SMALL, width=5120, hidden=13824, depth=40, heads=40)
MODELS = {
    "T2V 1.3B": (SMALL, wan.dit_table, init_dit),
    "T2V 14B": (LARGE, wan.dit_table, init_dit),
    "I2V 14B": (replace(LARGE, in_channels=36, image_width=1280), wan.dit_table, init_dit),
    "I2V A14B": (replace(LARGE, in_channels=36), wan.dit_table, init_dit),
    "TI2V 5B": (
        replace(SMALL, width=3072, hidden=14336, heads=24, in_channels=48, out_channels=48),
        wan.dit_table,
        init_dit,
    ),
    "VAE 2.1": (VAEConfig(), wan.vae_table, init_vae),
    "VAE 2.2": (
        VAEConfig(base=160, decoder_base=256, shortcuts=True, pixel_patch=2, latent_channels=48),
        wan.vae_table,
        init_vae,
    ),
    "UMT5-XXL": (TextConfig(), wan.text_table, init_text),
    "CLIP ViT-H": (VisionConfig(), wan.vision_table, init_vision),
}
PARAMETERS = {"T2V 1.3B": 1.42e9, "T2V 14B": 14.3e9, "TI2V 5B": 5.0e9, "VAE 2.1": 0.127e9, "UMT5-XXL": 5.68e9}
"""What the releases say, in their own rounding."""


@pytest.mark.parametrize("name", MODELS)
def test_tables_equal_those_that_were_compared_with_the_reference(name):
    config, table, init = MODELS[name]
    rows = table(config)
    shapes = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
    named = {row.theirs.format(layer=layer): None for row in rows for layer in range(max(1, row.layers))}
    lines = sorted(
        f"{row.ours} {row.theirs} {row.layout} {row.layers} {row.sizes} {tuple(leaf.shape)}"
        for row, leaf in matched_rows(rows, named, shapes)
    )
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == GOLDEN[name]
    if name in PARAMETERS:
        count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
        assert count == pytest.approx(PARAMETERS[name], rel=0.02)


def test_unknown_config_fields_are_named():
    said = {
        "num_attention_heads": 2,
        "attention_head_dim": 20,
        "ffn_dim": 56,
        "num_layers": 2,
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": [1, 2, 2],
        "text_dim": 24,
        "freq_dim": 32,
        "eps": 1e-6,
        "_class_name": "WanTransformer3DModel",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        wan.dit_config(said)
    with pytest.warns(Note, match=r"the transformer's config\.json has windowed, colours, which sorajax ignores"):
        wan.dit_config({**said, "windowed": True, "colours": 3})
