"""Export of a model into a folder in the diffusers layout, which diffusers and sorajax can open."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.files import write_atomically
from sorajax.models.dit import DiTConfig
from sorajax.models.folder import write_shards
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import MEAN, STD, VisionConfig
from sorajax.pretrained import wan
from sorajax.pretrained.table import export_tensors

SHARD_BYTES = 4 * 10**9
"""Largest size of a shard in bytes."""
FLOW_MAP_SCHEDULER = "FlowMapEulerDiscreteScheduler"


def export_diffusers(config: SoraConfig, read: Callable[[str], Any], tokenizer: str, folder: Path) -> None:
    """Writes configs, parts and the tokenizer's JSON; `model_index.json` is written last.

    `read` loads a part ("text", "dit", "vae", ...), one after another. Tensors keep their dtype. Unused layers of an
    image encoder are written as zeros. Raises ValueError for a model without counterpart in this layout, and OSError
    where a file cannot be written.
    """
    if config.dit.until_blocks:
        raise ValueError(
            f"until_blocks={config.dit.until_blocks} has no counterpart in diffusers, whose flow maps have a second "
            "time embedding: convert to orbax"
        )
    tables = {
        "transformer": ("dit", wan.dit_table(config.dit), dit_json(config.dit), "diffusion_pytorch_model"),
        "vae": ("vae", wan.vae_table(config.vae), vae_json(config.vae), "diffusion_pytorch_model"),
        "text_encoder": ("text", wan.text_table(config.text), text_json(config.text), "model"),
    }
    if config.boundary is not None:
        tables["transformer_2"] = ("dit_low", *tables["transformer"][1:])
    if config.vision is not None:
        vision = config.vision
        tables["image_encoder"] = ("vision", wan.vision_table(vision), vision_json(vision), "model")
    for name, (part, rows, content, stem) in tables.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        tensors: Iterable[tuple[str, np.ndarray]] = export_tensors(rows, read(part))
        if name == "image_encoder":
            tensors = chain(tensors, unused_tensors(config.vision))
        write_shards(folder / name, stem, tensors, SHARD_BYTES)
        _write_json(folder / name / "config.json", content)
    (folder / "tokenizer").mkdir(exist_ok=True)
    write_atomically(folder / "tokenizer" / "tokenizer.json", lambda path: path.write_text(tokenizer, encoding="utf-8"))
    _write_json(
        folder / "tokenizer" / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "model_max_length": config.text.tokens,
        },
    )
    (folder / "scheduler").mkdir(exist_ok=True)
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler_json(config))
    if config.vision is not None:
        (folder / "image_processor").mkdir(exist_ok=True)
        _write_json(folder / "image_processor" / "preprocessor_config.json", processor_json(config.vision))
    _write_json(folder / "model_index.json", index_json(config))


def unused_tensors(config: VisionConfig | None) -> Iterator[tuple[str, np.ndarray]]:
    """Zeros for the last layer of an image encoder and the norm after it, which other programs load but do not use."""
    if config is None:
        return
    d, f, layer = config.width, config.hidden, f"vision_model.encoder.layers.{config.depth - 1}"
    shapes: dict[str, tuple[int, ...]] = {"mlp.fc1": (f, d), "mlp.fc2": (d, f)}
    shapes |= {f"self_attn.{name}_proj": (d, d) for name in ("q", "k", "v", "out")}
    shapes |= {"layer_norm1": (d,), "layer_norm2": (d,)}
    named = {f"{layer}.{name}": shape for name, shape in shapes.items()} | {"vision_model.post_layernorm": (d,)}
    for name, shape in named.items():
        yield f"{name}.weight", np.zeros(shape, np.float32)
        yield f"{name}.bias", np.zeros(shape[:1], np.float32)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def scheduler_json(config: SoraConfig) -> dict[str, Any]:
    if config.is_flow_map:
        return {"_class_name": FLOW_MAP_SCHEDULER, "num_train_timesteps": 1000, "shift": config.shift}
    return {
        "_class_name": "UniPCMultistepScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": config.shift,
    }


def index_json(config: SoraConfig) -> dict[str, Any]:
    if config.is_flow_map:
        return {
            "_class_name": "AnyFlowPipeline",
            "transformer": ["diffusers", "AnyFlowTransformer3DModel"],
            "vae": ["diffusers", "AutoencoderKLWan"],
            "text_encoder": ["transformers", "UMT5EncoderModel"],
            "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
            "scheduler": ["diffusers", FLOW_MAP_SCHEDULER],
        }
    image = config.conditioning.needs_first_frame
    index: dict[str, Any] = {
        "_class_name": "WanImageToVideoPipeline" if image else "WanPipeline",
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "transformer_2": ["diffusers", "WanTransformer3DModel"] if config.boundary is not None else [None, None],
        "boundary_ratio": config.boundary,
        "expand_timesteps": config.conditioning.frame_clocks,
    }
    if image:
        index["image_encoder"] = ["transformers", "CLIPVisionModel"] if config.vision else [None, None]
        index["image_processor"] = ["transformers", "CLIPImageProcessor"] if config.vision else [None, None]
    return index


def dit_json(config: DiTConfig) -> dict[str, Any]:
    """The inverse of `wan.dit_config`."""
    common = {
        "num_attention_heads": config.heads,
        "attention_head_dim": config.head_width,
        "ffn_dim": config.hidden,
        "num_layers": config.depth,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "patch_size": list(config.patch),
        "text_dim": config.text_width,
        "freq_dim": config.frequencies,
        "eps": config.epsilon,
        "cross_attn_norm": True,
        "rope_max_seq_len": 1024,
        "image_dim": config.image_width or None,
    }
    if config.until_gate:
        kind = "t-r" if config.until_interval else "r"
        more = {"gate_value": config.until_gate, "deltatime_type": kind}
        return {"_class_name": "AnyFlowTransformer3DModel", **common, **more}
    return {
        "_class_name": "WanTransformer3DModel",
        **common,
        "qk_norm": "rms_norm_across_heads",
        "added_kv_proj_dim": config.width if config.image_width else None,
        "pos_embed_seq_len": None,
    }


def vae_json(config: VAEConfig) -> dict[str, Any]:
    """The inverse of `wan.vae_config`."""
    time, space, _ = config.stride
    zeros, ones = [0.0] * config.latent_channels, [1.0] * config.latent_channels
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": config.base,
        "decoder_base_dim": config.decoder_base or None,
        "z_dim": config.latent_channels,
        "dim_mult": list(config.multipliers),
        "attn_scales": [],
        "num_res_blocks": config.residual_blocks,
        "temperal_downsample": [time == 2 for time, _ in config.strides],
        "is_residual": config.shortcuts,
        "patch_size": config.pixel_patch if config.pixel_patch > 1 else None,
        "in_channels": 3 * config.pixel_patch**2,
        "out_channels": 3 * config.pixel_patch**2,
        "scale_factor_temporal": time,
        "scale_factor_spatial": space,
        "latents_mean": list(config.mean) or zeros,
        "latents_std": list(config.std) or ones,
    }


def text_json(config: TextConfig) -> dict[str, Any]:
    """The inverse of `wan.text_config`."""
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "vocab_size": config.vocabulary,
        "d_model": config.width,
        "d_kv": config.head_width,
        "d_ff": config.hidden,
        "num_layers": config.depth,
        "num_heads": config.heads,
        "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_new",
        "is_gated_act": True,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance,
        "layer_norm_epsilon": config.epsilon,
    }


def vision_json(config: VisionConfig) -> dict[str, Any]:
    """The inverse of `wan.vision_config`."""
    return {
        "architectures": ["CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "patch_size": config.patch,
        "image_size": config.size,
        "hidden_act": config.activation,
        "num_channels": 3,
        "layer_norm_eps": config.epsilon,
    }


def processor_json(config: VisionConfig) -> dict[str, Any]:
    """Settings of the image encoder's preprocessing, see `models.vision.preprocess`."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": config.size},
        "do_center_crop": True,
        "crop_size": {"height": config.size, "width": config.size},
        "resample": 3,
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
