"""CLIP in the hub's layout (`config.json` of a `CLIPModel`, its tensors and its tokenizer) -> our parameters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from sorajax.models.clip import ClipConfig, ClipTextConfig, init_clip
from sorajax.models.folder import CONFIG, TOKENIZER, WEIGHTS
from sorajax.models.text import Tokenizer
from sorajax.pretrained.table import Row, stream_parameters
from sorajax.pretrained.wan import vision_config, vision_table

OLD_END = 2
"""The end token in old configs, which differs from that of the texts: these end with the vocabulary's last token."""


def clip_config(config: Mapping[str, Any]) -> ClipConfig:
    """A `CLIPModel`'s config -> ours. Raises KeyError where it is another model's."""
    text, vision = config["text_config"], config["vision_config"]
    end = text.get("eos_token_id", OLD_END)
    return ClipConfig(
        ClipTextConfig(
            vocabulary=text["vocab_size"],
            width=text["hidden_size"],
            hidden=text["intermediate_size"],
            depth=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            tokens=text["max_position_embeddings"],
            activation=text["hidden_act"],
            epsilon=text["layer_norm_eps"],
            end=text["vocab_size"] - 1 if end == OLD_END else end,
        ),
        vision_config({**vision, "num_hidden_layers": vision["num_hidden_layers"] + 1}),
        config["projection_dim"],
    )


def clip_table(config: ClipConfig) -> list[Row]:
    """The table of both towers."""
    rows = [row._replace(ours=f"vision/{row.ours}") for row in vision_table(config.vision)]
    n, layer = config.text.depth, "text_model.encoder.layers.{layer}"
    rows += [
        Row("text/embedding", "text_model.embeddings.token_embedding.weight", "v d -> v d"),
        Row("text/positions", "text_model.embeddings.position_embedding.weight", "p d -> p d"),
        Row("image_out/kernel", "visual_projection.weight", "o i -> i o"),
        Row("text_out/kernel", "text_projection.weight", "o i -> i o"),
    ]
    for ours, theirs, layers in (
        ("norm_image", "vision_model.post_layernorm", 0),
        ("text/norm_out", "text_model.final_layer_norm", 0),
        ("text/blocks/norm_attention", f"{layer}.layer_norm1", n),
        ("text/blocks/norm_feed_forward", f"{layer}.layer_norm2", n),
    ):
        rows += [Row(f"{ours}/scale", f"{theirs}.weight", layers=layers)]
        rows += [Row(f"{ours}/bias", f"{theirs}.bias", layers=layers)]
    parts = [(name, f"self_attn.{name}_proj") for name in "qkv"]
    for ours, theirs in (*parts, ("out", "self_attn.out_proj"), ("up", "mlp.fc1"), ("down", "mlp.fc2")):
        rows.append(Row(f"text/blocks/{ours}/kernel", f"{layer}.{theirs}.weight", "o i -> i o", n))
        rows.append(Row(f"text/blocks/{ours}/bias", f"{layer}.{theirs}.bias", layers=n))
    return rows


def clip_parameters(tensors: Mapping[str, np.ndarray], config: ClipConfig) -> dict[str, Any]:
    """A `CLIPModel`'s tensors -> our parameters, float32. Raises ValueError where they do not fit the config."""
    shapes = jax.eval_shape(lambda: init_clip(config, jax.random.key(0)))
    read = {name: value for name, value in tensors.items() if not name.endswith(("position_ids", "logit_scale"))}
    return stream_parameters(clip_table(config), read, shapes)


def open_clip(folder: Path) -> tuple[ClipConfig, dict[str, Any], Tokenizer]:
    """Config, parameters and tokenizer in a folder. Raises FileNotFoundError, and ValueError on one line."""
    if missing := [name for name in (CONFIG, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} has no {missing[0]}: give a CLIP model in the hub's layout")
    try:
        config = clip_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        with safe_open(folder / WEIGHTS, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder} is no whole CLIP model ({error}): download it again") from error
    tokenizer = Tokenizer((folder / TOKENIZER).read_text(encoding="utf-8"), config.text.tokens)
    return config, clip_parameters(tensors, config), tokenizer
