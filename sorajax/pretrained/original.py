"""Tensor names of the original Wan release -> those of the diffusers layout, so that one table imports both.

The names are those of the release's `WanModel`, `WanVAE_`, `T5Encoder` and `VisionTransformer`, as in its files.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from sorajax.models.vae import VAEConfig
from sorajax.pretrained.safetensors import Renamed

Names = list[tuple[str, str]]

DIT: Names = [
    (r"^(model\.)?diffusion_model\.", ""),
    (r"^time_embedding\.0\.", "condition_embedder.time_embedder.linear_1."),
    (r"^time_embedding\.2\.", "condition_embedder.time_embedder.linear_2."),
    (r"^time_projection\.1\.", "condition_embedder.time_proj."),
    (r"^text_embedding\.0\.", "condition_embedder.text_embedder.linear_1."),
    (r"^text_embedding\.2\.", "condition_embedder.text_embedder.linear_2."),
    (r"^img_emb\.proj\.0\.", "condition_embedder.image_embedder.norm1."),
    (r"^img_emb\.proj\.1\.", "condition_embedder.image_embedder.ff.net.0.proj."),
    (r"^img_emb\.proj\.3\.", "condition_embedder.image_embedder.ff.net.2."),
    (r"^img_emb\.proj\.4\.", "condition_embedder.image_embedder.norm2."),
    (r"^head\.modulation$", "scale_shift_table"),
    (r"^head\.head\.", "proj_out."),
    (r"\.modulation$", ".scale_shift_table"),
    (r"\.norm3\.", ".norm2."),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"(\.attn[12])\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attn[12])\.o\.", r"\1.to_out.0."),
    (r"\.k_img\.", ".add_k_proj."),
    (r"\.v_img\.", ".add_v_proj."),
    (r"\.norm_k_img\.", ".norm_added_k."),
    (r"\.ffn\.0\.", ".ffn.net.0.proj."),
    (r"\.ffn\.2\.", ".ffn.net.2."),
]

TEXT: Names = [
    (r"^token_embedding\.weight$", "shared.weight"),
    (r"^norm\.weight$", "encoder.final_layer_norm.weight"),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.block.\1.layer.0.layer_norm."),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.block.\1.layer.1.layer_norm."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.block.\1.layer.0.SelfAttention."),
    (r"^blocks\.(\d+)\.pos_embedding\.embedding\.", r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias."),
    (r"^blocks\.(\d+)\.ffn\.gate\.0\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_0."),
    (r"^blocks\.(\d+)\.ffn\.fc1\.", r"encoder.block.\1.layer.1.DenseReluDense.wi_1."),
    (r"^blocks\.(\d+)\.ffn\.fc2\.", r"encoder.block.\1.layer.1.DenseReluDense.wo."),
]

VAE: Names = [
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"^(encoder|decoder)\.head\.0\.", r"\1.norm_out."),
    (r"^(encoder|decoder)\.head\.2\.", r"\1.conv_out."),
    (r"^(encoder|decoder)\.middle\.0\.", r"\1.mid_block.resnets.0."),
    (r"^(encoder|decoder)\.middle\.1\.", r"\1.mid_block.attentions.0."),
    (r"^(encoder|decoder)\.middle\.2\.", r"\1.mid_block.resnets.1."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
]

VISION: Names = [
    (r"^visual\.", ""),
    (r"^patch_embedding\.", "embeddings.patch_embedding."),
    (r"^cls_embedding$", "embeddings.class_embedding"),
    (r"^pos_embedding$", "embeddings.position_embedding.weight"),
    (r"^pre_norm\.", "pre_layrnorm."),
    (r"^post_norm\.", "post_layernorm."),
    (r"^head$", "visual_projection.weight"),
    (r"^transformer\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^transformer\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (r"^transformer\.(\d+)\.mlp\.0\.", r"encoder.layers.\1.mlp.fc1."),
    (r"^transformer\.(\d+)\.mlp\.2\.", r"encoder.layers.\1.mlp.fc2."),
]


def rename(name: str, names: Names) -> str:
    """The name after all regular-expression substitutions, in order."""
    for pattern, replacement in names:
        name = re.sub(pattern, replacement, name)
    return name


def dit_tensors(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The release's transformer, renamed."""
    return Renamed(tensors, {rename(name, DIT): (name, None) for name in tensors})


def text_tensors(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The release's text encoder, renamed."""
    return Renamed(tensors, {rename(name, TEXT): (name, None) for name in tensors})


def vae_tensors(tensors: Mapping[str, np.ndarray], config: VAEConfig) -> Mapping[str, np.ndarray]:
    """The release's autoencoder, renamed; its blocks are a flat list or, with shortcuts, a list per level."""
    return Renamed(tensors, {_vae_name(rename(name, VAE), config): (name, None) for name in tensors})


def _vae_name(name: str, config: VAEConfig) -> str:
    down = re.match(r"encoder\.downsamples\.(\d+)\.(.*)", name)
    up = re.match(r"decoder\.upsamples\.(\d+)\.(.*)", name)
    if not (down or up):
        return name
    if config.shortcuts:
        level, place, rest = re.match(r"\w+\.\w+\.(\d+)\.\w+\.(\d+)\.(.*)", name).groups()  # type: ignore[union-attr]
        blocks = config.residual_blocks + (1 if up else 0)
        side, sampler = ("decoder.up_blocks", "upsampler") if up else ("encoder.down_blocks", "downsampler")
        return f"{side}.{level}.{f'resnets.{place}' if int(place) < blocks else sampler}.{rest}"
    if down:
        return f"encoder.down_blocks.{down[1]}.{down[2]}"
    level, place = divmod(int(up[1]), config.residual_blocks + 2)  # type: ignore[index]
    part = f"resnets.{place}" if place <= config.residual_blocks else "upsamplers.0"
    return f"decoder.up_blocks.{level}.{part}.{up[2]}"  # type: ignore[index]


def vision_tensors(tensors: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The release's image encoder, renamed, with q, k and v split, and without CLIP's text encoder."""
    places: dict[str, tuple[str, Callable | None]] = {}
    for stored in tensors:
        if stored.startswith(("textual.", "log_scale")):
            continue
        name = rename(stored, VISION)
        joint = re.match(r"transformer\.(\d+)\.attn\.to_qkv\.(\w+)", name)
        if joint:
            for part, letter in enumerate("qkv"):
                places[f"encoder.layers.{joint[1]}.self_attn.{letter}_proj.{joint[2]}"] = (stored, _third(part))
        elif name in ("embeddings.class_embedding", "embeddings.position_embedding.weight"):
            places[name] = (stored, np.squeeze if "class" in name else lambda tensor: tensor[0])
        else:
            places[name] = (stored, None)
    return Renamed(tensors, places)


def _third(part: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda tensor: np.split(tensor, 3)[part]
