"""The open Wan models: conversion of their configs, and tables of their tensor names.

Names and shapes are those of diffusers' `WanTransformer3DModel`, `AnyFlowTransformer3DModel` and `AutoencoderKLWan`,
and of transformers' `UMT5EncoderModel` and `CLIPVisionModel`, as their repositories store them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from sorajax.errors import note
from sorajax.models.dit import DiTConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.pretrained.safetensors import Renamed
from sorajax.pretrained.table import Row

LINEAR = "o i -> i o"
POINT = "o i 1 1 1 -> i o"
POINT_2D = "o i 1 1 -> i o"
CONV_2D = "o i h w -> 1 h w i o"
CONV_3D = "o i t h w -> t h w i o"
GAMMA = "c 1 1 1 -> c"
GAMMA_2D = "c 1 1 -> c"


def dit_config(config: Mapping[str, Any], **changes) -> DiTConfig:
    """`transformer/config.json` -> ours; `changes` sets fields that theirs does not have (remat, unroll, dtype)."""
    heads = config["num_attention_heads"]
    width, image = heads * config["attention_head_dim"], config.get("image_dim")
    required = {
        "qk_norm": "rms_norm_across_heads",
        "cross_attn_norm": True,
        "pos_embed_seq_len": None,
        "added_kv_proj_dim": width if image else None,
        "init_far_model": False,
    }
    is_flow_map = config.get("init_flowmap_model", "gate_value" in config)
    _only("transformer", config, required, TRANSFORMER | (FLOW_MAP if is_flow_map else set()))
    if (kind := config.get("deltatime_type", "r")) not in ("r", "t-r"):
        raise ValueError(f"this transformer has deltatime_type={kind!r}, and only 'r' and 't-r' can be imported")
    return DiTConfig(
        width=width,
        hidden=config["ffn_dim"],
        image_width=image or 0,
        depth=config["num_layers"],
        heads=heads,
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        patch=tuple(config["patch_size"]),
        text_width=config["text_dim"],
        frequencies=config["freq_dim"],
        epsilon=config["eps"],
        until_gate=config["gate_value"] if is_flow_map else 0.0,
        until_interval=is_flow_map and config.get("deltatime_type") == "t-r",
        **changes,
    )


def vae_config(config: Mapping[str, Any], **changes) -> VAEConfig:
    """`vae/config.json` -> ours, with the statistics of the latents."""
    _only("autoencoder", config, {"attn_scales": []}, AUTOENCODER)
    return VAEConfig(
        base=config["base_dim"],
        decoder_base=config.get("decoder_base_dim") or 0,
        shortcuts=config.get("is_residual", False),
        pixel_patch=config.get("patch_size") or 1,
        multipliers=tuple(config["dim_mult"]),
        strides=tuple((2 if time else 1, 2) for time in config["temperal_downsample"]),
        residual_blocks=config["num_res_blocks"],
        latent_channels=config["z_dim"],
        mean=tuple(config["latents_mean"]),
        std=tuple(config["latents_std"]),
        **changes,
    )


def text_config(config: Mapping[str, Any], **changes) -> TextConfig:
    """`text_encoder/config.json` -> ours."""
    _only("text encoder", config, {"feed_forward_proj": "gated-gelu"})
    return TextConfig(
        vocabulary=config["vocab_size"],
        width=config["d_model"],
        hidden=config["d_ff"],
        depth=config["num_layers"],
        heads=config["num_heads"],
        head_width=config["d_kv"],
        buckets=config["relative_attention_num_buckets"],
        max_distance=config["relative_attention_max_distance"],
        epsilon=config["layer_norm_epsilon"],
        **changes,
    )


def vision_config(config: Mapping[str, Any], **changes) -> VisionConfig:
    """`image_encoder/config.json` -> ours."""
    _only("image encoder", config, {"num_channels": 3})
    return VisionConfig(
        width=config["hidden_size"],
        hidden=config["intermediate_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        patch=config["patch_size"],
        size=config["image_size"],
        activation=config["hidden_act"],
        epsilon=config["layer_norm_eps"],
        **changes,
    )


TRANSFORMER = {
    "patch_size",
    "num_attention_heads",
    "attention_head_dim",
    "in_channels",
    "out_channels",
    "text_dim",
    "freq_dim",
    "ffn_dim",
    "num_layers",
    "cross_attn_norm",
    "qk_norm",
    "eps",
    "image_dim",
    "added_kv_proj_dim",
    "rope_max_seq_len",
    "pos_embed_seq_len",
}
FLOW_MAP = {
    "gate_value",
    "deltatime_type",
    "init_flowmap_model",
    "init_far_model",
    "chunk_partition",
    "compressed_patch_size",
    "full_chunk_limit",
}
"""AnyFlow's further fields; the last three are of the causal model, which cannot be imported."""
AUTOENCODER = {
    "base_dim",
    "decoder_base_dim",
    "z_dim",
    "dim_mult",
    "num_res_blocks",
    "attn_scales",
    "temperal_downsample",
    "dropout",
    "latents_mean",
    "latents_std",
    "is_residual",
    "in_channels",
    "out_channels",
    "patch_size",
    "scale_factor_temporal",
    "scale_factor_spatial",
    "clip_output",
}
"""Fields of configs in the diffusers layout; names that begin with _ are diffusers' own."""


def _only(what: str, config: Mapping[str, Any], required: Mapping[str, Any], known: Collection[str] = ()) -> None:
    """Raises ValueError where a field differs from its required value; a note lists fields that are not known."""
    for name, value in required.items():
        if config.get(name, value) != value:
            raise ValueError(f"this {what} has {name}={config[name]!r}, and only {value!r} can be imported")
    if unknown := [name for name in config if known and name not in known and not name.startswith("_")]:
        note(
            f"the {what}'s config.json has {', '.join(unknown)}, which sorajax ignores: the model may behave "
            "differently"
        )


def _linear(ours: str, theirs: str, layout: str = LINEAR, **more) -> Iterator[Row]:
    yield Row(f"{ours}/kernel", f"{theirs}.weight", layout, **more)
    yield Row(f"{ours}/bias", f"{theirs}.bias", "o -> o", more.get("layers", 0))


def dit_table(config: DiTConfig) -> list[Row]:
    """The table of the transformer, with AnyFlow's embedding of the second time. Raises ValueError for a config without
    counterpart in the open models."""
    if config.pooled_text:
        raise ValueError("pooled_text=True has no counterpart in the open models: use pooled_text=False")
    n = config.depth
    rows = [
        *_linear("patch_in", "patch_embedding", "d c t h w -> (t h w c) d", sizes=tuple(zip("thw", config.patch))),
        *_linear("time_in", "condition_embedder.time_embedder.linear_1"),
        *_linear("time_out", "condition_embedder.time_embedder.linear_2"),
        *_linear("time_modulation", "condition_embedder.time_proj"),
        *_linear("text_in", "condition_embedder.text_embedder.linear_1"),
        *_linear("text_out", "condition_embedder.text_embedder.linear_2"),
        *_linear("patch_out", "proj_out"),
        Row("modulation_out", "scale_shift_table", "1 two d -> two d"),
        Row("blocks/modulation", "blocks.{layer}.scale_shift_table", "1 six d -> six d", n),
        Row("blocks/norm_cross/scale", "blocks.{layer}.norm2.weight", layers=n),
        Row("blocks/norm_cross/bias", "blocks.{layer}.norm2.bias", layers=n),
        *_linear("blocks/feed_forward/up", "blocks.{layer}.ffn.net.0.proj", layers=n),
        *_linear("blocks/feed_forward/down", "blocks.{layer}.ffn.net.2", layers=n),
    ]
    for which, their_which in ("self", "attn1"), ("cross", "attn2"):
        ours, theirs = f"blocks/{which}_attention", "blocks.{layer}." + their_which
        for name, their_name in ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("out", "to_out.0"):
            rows += _linear(f"{ours}/{name}", f"{theirs}.{their_name}", layers=n)
        rows += [Row(f"{ours}/{name}/scale", f"{theirs}.{name}.weight", layers=n) for name in ("norm_q", "norm_k")]
    if config.image_width:
        rows += _image_rows(n)
    if config.until_gate:
        rows += _linear("until_in", "condition_embedder.delta_embedder.linear_1")
        rows += _linear("until_out", "condition_embedder.delta_embedder.linear_2")
    return rows if config.stacked else [single for row in rows for single in _unstacked(row)]


def _image_rows(n: int) -> Iterator[Row]:
    """Rows of the layers that attend to image tokens."""
    embedder, attention = "condition_embedder.image_embedder", "blocks.{layer}.attn2"
    for ours, theirs in ("norm_in", "norm1"), ("norm_out", "norm2"):
        yield Row(f"image_in/{ours}/scale", f"{embedder}.{theirs}.weight")
        yield Row(f"image_in/{ours}/bias", f"{embedder}.{theirs}.bias")
    yield from _linear("image_in/in", f"{embedder}.ff.net.0.proj")
    yield from _linear("image_in/out", f"{embedder}.ff.net.2")
    for name in "kv":
        yield from _linear(f"blocks/cross_attention/image/{name}", f"{attention}.add_{name}_proj", layers=n)
    yield Row("blocks/cross_attention/image/norm_k/scale", f"{attention}.norm_added_k.weight", layers=n)


def _unstacked(row: Row) -> Iterator[Row]:
    """A row per block, for blocks with leaves of their own."""
    if not row.layers:
        yield row
    for layer in range(row.layers):
        ours, theirs = row.ours.replace("blocks/", f"block_{layer}/"), row.theirs.format(layer=layer)
        yield row._replace(ours=ours, theirs=theirs, layers=0)


def text_table(config: TextConfig) -> list[Row]:
    """The table of the text encoder. Files may contain the embedding twice: see `untied`."""
    n, block = config.depth, "encoder.block.{layer}.layer"
    attention = f"{block}.0.SelfAttention"
    return [
        Row("embedding", "shared.weight", "v d -> v d"),
        Row("norm_out/scale", "encoder.final_layer_norm.weight"),
        Row("blocks/norm_attention/scale", f"{block}.0.layer_norm.weight", layers=n),
        Row("blocks/norm_feed_forward/scale", f"{block}.1.layer_norm.weight", layers=n),
        Row("blocks/position_bias", f"{attention}.relative_attention_bias.weight", "r n -> r n", n),
        *[
            Row(f"blocks/{ours}/kernel", f"{attention}.{theirs}.weight", LINEAR, n)
            for ours, theirs in (("q", "q"), ("k", "k"), ("v", "v"), ("out", "o"))
        ],
        *[
            Row(f"blocks/{ours}/kernel", f"{block}.1.DenseReluDense.{theirs}.weight", LINEAR, n)
            for ours, theirs in (("gate", "wi_0"), ("up", "wi_1"), ("down", "wo"))
        ],
    ]


def without_ignored(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """A transformer's tensors without those that the reference ignores: files of Wan 2.1's image-to-video models
    contain a norm of a second q, which does not exist."""
    return Renamed(tensors, {name: (name, None) for name in tensors if "norm_added_q" not in name})


def untied(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """A text encoder's tensors with its embedding once, as `shared.weight`, whichever of its two names is stored."""
    names = {name: name for name in tensors}
    if alias := names.pop("encoder.embed_tokens.weight", None):
        names.setdefault("shared.weight", alias)
    return Renamed(tensors, {name: (stored, None) for name, stored in names.items()})


def vision_table(config: VisionConfig) -> list[Row]:
    """The table of the image encoder, without the layers that are not used: see `without_unused_layers`."""
    n, layer = config.depth - 1, "vision_model.encoder.layers.{layer}"
    rows = [
        Row("token", "vision_model.embeddings.class_embedding"),
        Row(
            "patch_in/kernel",
            "vision_model.embeddings.patch_embedding.weight",
            "d c h w -> (h w c) d",
            sizes=(("h", config.patch), ("w", config.patch)),
        ),
        Row("positions", "vision_model.embeddings.position_embedding.weight", "p d -> p d"),
    ]
    norms = [
        ("norm_in", "vision_model.pre_layrnorm", 0),
        ("blocks/norm_attention", f"{layer}.layer_norm1", n),
        ("blocks/norm_feed_forward", f"{layer}.layer_norm2", n),
    ]
    for ours, theirs, layers in norms:
        rows += [
            Row(f"{ours}/scale", f"{theirs}.weight", layers=layers),
            Row(f"{ours}/bias", f"{theirs}.bias", layers=layers),
        ]
    for ours, theirs in ("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("out", "out_proj"):
        rows += _linear(f"blocks/{ours}", f"{layer}.self_attn.{theirs}", layers=n)
    for ours, theirs in ("up", "fc1"), ("down", "fc2"):
        rows += _linear(f"blocks/{ours}", f"{layer}.mlp.{theirs}", layers=n)
    return rows


def without_unused_layers(tensors: Mapping[str, np.ndarray], config: VisionConfig) -> Mapping[str, np.ndarray]:
    """An image encoder's tensors without its last layer and the layers after it, whose outputs are not used, with the
    prefix `vision_model.`, which some files omit."""
    last = f"encoder.layers.{config.depth - 1}."
    names = {name.removeprefix("vision_model."): name for name in tensors}
    unread = (last, "post_layernorm.", "visual_projection.", "embeddings.position_ids")
    read = {f"vision_model.{name}": (old, None) for name, old in names.items() if not name.startswith(unread)}
    return Renamed(tensors, read)


def vae_table(config: VAEConfig) -> list[Row]:
    """The table of the autoencoder. Raises ValueError for a config without counterpart in Wan's autoencoders."""
    if any(space != 2 for _, space in config.strides) or (config.pixel_patch != 1 and not config.shortcuts):
        raise ValueError(
            f"pixel_patch={config.pixel_patch} and strides={config.strides} have no counterpart in "
            "the Wan autoencoders: use pixel_patch=1 and a spatial stride of 2 at every level"
        )
    return [
        *_linear("encoder/moments", "quant_conv", POINT),
        *_linear("decoder/latent", "post_quant_conv", POINT),
        *_encoder_rows(config),
        *_decoder_rows(config),
        *[row for side in ("encoder", "decoder") for row in _edge_rows(side)],
    ]


def _edge_rows(side: str) -> Iterator[Row]:
    yield from _linear(f"{side}/conv_in", f"{side}.conv_in", CONV_3D)
    yield from _linear(f"{side}/conv_out", f"{side}.conv_out", CONV_3D)
    yield Row(f"{side}/norm_out/gamma", f"{side}.norm_out.gamma", GAMMA)
    ours, theirs = f"{side}/middle", f"{side}.mid_block"
    yield from _residual(f"{ours}/first", f"{theirs}.resnets.0", False)
    yield from _residual(f"{ours}/second", f"{theirs}.resnets.1", False)
    yield Row(f"{ours}/attention/norm/gamma", f"{theirs}.attentions.0.norm.gamma", GAMMA_2D)
    yield from _linear(f"{ours}/attention/qkv", f"{theirs}.attentions.0.to_qkv", POINT_2D)
    yield from _linear(f"{ours}/attention/out", f"{theirs}.attentions.0.proj", POINT_2D)


def _residual(ours: str, theirs: str, shortcut: bool) -> Iterator[Row]:
    for i in "12":
        yield Row(f"{ours}/norm{i}/gamma", f"{theirs}.norm{i}.gamma", GAMMA)
        yield from _linear(f"{ours}/conv{i}", f"{theirs}.conv{i}", CONV_3D)
    if shortcut:
        yield from _linear(f"{ours}/shortcut", f"{theirs}.conv_shortcut", CONV_3D)


def _resample(ours: str, theirs: str, time: int) -> Iterator[Row]:
    yield from _linear(f"{ours}_space", f"{theirs}.resample.1", CONV_2D)
    if time == 2:
        yield from _linear(f"{ours}_time", f"{theirs}.time_conv", CONV_3D)


def _encoder_rows(config: VAEConfig) -> Iterator[Row]:
    """Rows of the encoder, in theirs a flat list of residual and down-sampling blocks or, with shortcuts, of levels."""
    place, features = 0, config.base
    for level, multiplier in enumerate(config.multipliers):
        for block in range(config.residual_blocks):
            theirs = (
                f"encoder.down_blocks.{level}.resnets.{block}" if config.shortcuts else (f"encoder.down_blocks.{place}")
            )
            yield from _residual(f"encoder/level{level}_block{block}", theirs, features != config.base * multiplier)
            place, features = place + 1, config.base * multiplier
        if level < len(config.strides):
            theirs = f"encoder.down_blocks.{level}.downsampler" if config.shortcuts else f"encoder.down_blocks.{place}"
            yield from _resample(f"encoder/level{level}", theirs, config.strides[level][0])
            place += 1


def _decoder_rows(config: VAEConfig) -> Iterator[Row]:
    """Rows of the decoder, whose levels in theirs count from the lowest resolution; without shortcuts up-sampling
    halves the channels."""
    base = config.decoder_base or config.base
    features = base * config.multipliers[-1]
    for place, level in enumerate(reversed(range(len(config.multipliers)))):
        theirs = f"decoder.up_blocks.{place}"
        for block in range(config.residual_blocks + 1):
            ours, required = f"decoder/level{level}_block{block}", base * config.multipliers[level]
            yield from _residual(ours, f"{theirs}.resnets.{block}", features != required)
            features = required
        if level > 0:
            sampler = "upsampler" if config.shortcuts else "upsamplers.0"
            yield from _resample(f"decoder/level{level}", f"{theirs}.{sampler}", config.strides[level - 1][0])
            features = features if config.shortcuts else features // 2
