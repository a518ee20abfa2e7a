"""Folders of random open weights, written by the reference itself, and pictures to go with them."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import tokenizers
import torch
import transformers
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)

WORDS = ("a", "red", "ball", "bounces", "blue", "cat", "surfs", "slowly", "静止", "&")
CHANNELS = 16
"""The tiny autoencoders have the real number of latent channels, so that the release's statistics fit."""


def randomised(model, seed=0):
    """Random values everywhere, also where a fresh model has zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            fan_in = p[0].numel() if p.ndim > 1 and "table" not in name else 4
            noise = torch.randn(p.shape, generator=generator) / fan_in**0.5
            p.copy_(noise + 1 if "norm" in name and ("weight" in name or "gamma" in name) else noise)
    return model.eval()


def tokenizer():
    """A few words, and an end of text as UMT5's has it."""
    vocabulary = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def text_encoder():
    return randomised(
        transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=50,
                d_model=24,
                d_kv=10,
                d_ff=40,
                num_layers=2,
                num_heads=2,
                feed_forward_proj="gated-gelu",
                relative_attention_num_buckets=16,
                relative_attention_max_distance=128,
            )
        )
    )


def transformer(inputs=CHANNELS, outputs=CHANNELS, image=None, seed=0):
    return randomised(
        WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=20,
            in_channels=inputs,
            out_channels=outputs,
            text_dim=24,
            freq_dim=32,
            ffn_dim=56,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=64,
            image_dim=image,
            added_kv_proj_dim=40 if image else None,
        ),
        seed,
    )


def autoencoder():
    """Wan 2.1's form."""
    return randomised(
        AutoencoderKLWan(
            base_dim=4,
            z_dim=CHANNELS,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=2,
            attn_scales=[],
            temperal_downsample=[False, True, True],
        )
    )


def autoencoder_22():
    """Wan 2.2's form."""
    from sorajax.pretrained.conventions import MEAN, STD

    return randomised(
        AutoencoderKLWan(
            base_dim=4,
            decoder_base_dim=8,
            z_dim=48,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=2,
            attn_scales=[],
            temperal_downsample=[False, True, True],
            is_residual=True,
            patch_size=2,
            in_channels=12,
            out_channels=12,
            latents_mean=list(MEAN[48]),
            latents_std=list(STD[48]),
            scale_factor_spatial=16,
            scale_factor_temporal=4,
        )
    )


def image_encoder():
    return randomised(
        transformers.CLIPVisionModel(
            transformers.CLIPVisionConfig(
                hidden_size=80,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=1,
                image_size=28,
                patch_size=7,
                hidden_act="gelu",
            )
        )
    )


def image_processor():
    return transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})


def scheduler(shift=3.0):
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift
    )


def picture(height, width):
    """A smooth picture: resizing does not matter to it."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + 1), np.cos(y / 7), np.sin((x + y) / 11)]
    return np.round(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def original_dit(state):
    """A transformer's tensors under the names of the original release."""
    pairs = (
        ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
        ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
        ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
        ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
        ("condition_embedder.time_proj", "time_projection.1"),
        ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
        ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
        ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
        ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
        ("ffn.net.0.proj", "ffn.0"),
        ("ffn.net.2", "ffn.2"),
        ("attn1", "self_attn"),
        ("attn2", "cross_attn"),
        ("add_k_proj", "k_img"),
        ("add_v_proj", "v_img"),
        ("norm_added_k", "norm_k_img"),
        ("to_out.0", "o"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        (".norm2.", ".norm3."),
        ("proj_out", "head.head"),
    )
    renamed = {}
    for name, tensor in state.items():
        new = "head.modulation" if name == "scale_shift_table" else name.replace("scale_shift_table", "modulation")
        for theirs, first in pairs:
            if not (theirs == ".norm2." and not name.startswith("blocks.")):
                new = new.replace(theirs, first)
        renamed[new] = tensor
    return renamed


def original_vae(state, levels=4, blocks=2, nested=False):
    """An autoencoder's tensors under the names of the original release; `nested`: the 2.2 one's."""
    inner = (
        ("norm1.", "residual.0."),
        ("conv1.", "residual.2."),
        ("norm2.", "residual.3."),
        ("conv2.", "residual.6."),
        ("conv_shortcut.", "shortcut."),
    )
    outer = (
        ("post_quant_conv.", "conv2."),
        ("quant_conv.", "conv1."),
        ("encoder.conv_in.", "encoder.conv1."),
        ("decoder.conv_in.", "decoder.conv1."),
        ("norm_out.", "head.0."),
        ("conv_out.", "head.2."),
        ("mid_block.resnets.0.", "middle.0."),
        ("mid_block.attentions.0.", "middle.1."),
        ("mid_block.resnets.1.", "middle.2."),
    )
    renamed = {}
    for name, tensor in state.items():
        new = name
        if "resnets" in name or "down_blocks" in name:
            for theirs, first in inner:
                new = new.replace(theirs, first)
        if not new.startswith(("encoder.down", "decoder.up")):
            for theirs, first in outer:
                new = new.replace(theirs, first) if theirs != "quant_conv." or new.startswith("quant") else new
        parts = new.split(".")
        if parts[1] == "up_blocks":
            level, kind, *rest = parts[2:]
            place = blocks + 1 if kind.startswith("upsampler") else int(rest.pop(0))
            if kind == "upsamplers":
                rest = rest[1:]
            where = [level, "upsamples", str(place)] if nested else [str(int(level) * (blocks + 2) + place)]
            new = ".".join(["decoder", "upsamples", *where, *rest])
        elif parts[1] == "down_blocks":
            if nested:
                level, kind, *rest = parts[2:]
                place = blocks if kind == "downsampler" else int(rest.pop(0))
                new = ".".join(["encoder", "downsamples", level, "downsamples", str(place), *rest])
            else:
                new = ".".join(["encoder", "downsamples", *parts[2:]])
        renamed[new] = tensor
    return renamed


def original_text(state):
    """A text encoder's tensors under the names of the original release."""
    renamed = {}
    for name, tensor in state.items():
        if name == "encoder.embed_tokens.weight":
            continue
        new = name.replace("shared.weight", "token_embedding.weight").replace("encoder.final_layer_norm", "norm")
        new = new.replace("encoder.block", "blocks").replace("layer.0.layer_norm", "norm1")
        new = new.replace("layer.1.layer_norm", "norm2").replace("layer.1.DenseReluDense.wi_0", "ffn.gate.0")
        new = new.replace("layer.1.DenseReluDense.wi_1", "ffn.fc1").replace("layer.1.DenseReluDense.wo", "ffn.fc2")
        new = new.replace("layer.0.SelfAttention.relative_attention_bias", "pos_embedding.embedding")
        renamed[new.replace("layer.0.SelfAttention", "attn")] = tensor
    return renamed


def original_vision(state):
    """An image encoder's tensors under the names of the original release, its text side beside it."""
    state = {name.removeprefix("vision_model."): tensor for name, tensor in state.items()}
    renamed = {
        "log_scale": torch.ones(()),
        "textual.token_embedding.weight": torch.ones(3, 2),
        "visual.head": torch.ones(4, 2),
    }
    for name, tensor in state.items():
        new = name.replace("encoder.layers", "transformer").replace("layer_norm", "norm")
        new = new.replace("self_attn.out_proj", "attn.proj").replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.2")
        new = new.replace("pre_layrnorm", "pre_norm").replace("post_layernorm", "post_norm")
        new = new.replace("embeddings.patch_embedding", "patch_embedding")
        if name == "embeddings.class_embedding":
            renamed["visual.cls_embedding"] = tensor[None, None]
        elif name == "embeddings.position_embedding.weight":
            renamed["visual.pos_embedding"] = tensor[None]
        elif "q_proj" in name:
            three = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            renamed[f"visual.{new.replace('self_attn.q_proj', 'attn.to_qkv')}"] = torch.cat(three)
        elif not any(f"{letter}_proj" in name for letter in "kv") and "position_ids" not in name:
            renamed[f"visual.{new}"] = tensor
    return renamed


def save_original(pipeline, folder):
    """The pipeline's weights as the original release lays them out: .pth in the new form and in the old."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    experts = [pipeline.transformer, pipeline.transformer_2]
    homes = [folder / "high_noise_model", folder / "low_noise_model"] if experts[1] else [folder]
    for home, expert in zip(homes, experts, strict=False):
        home.mkdir(exist_ok=True)
        said = expert.config
        (home / "config.json").write_text(
            json.dumps(
                {
                    "_class_name": "WanModel",
                    "dim": said.num_attention_heads * said.attention_head_dim,
                    "eps": said.eps,
                    "ffn_dim": said.ffn_dim,
                    "freq_dim": said.freq_dim,
                    "in_dim": said.in_channels,
                    "text_len": 512,
                    "num_heads": said.num_attention_heads,
                    "num_layers": said.num_layers,
                    "out_dim": said.out_channels,
                }
            )
        )
        tensors = {name: tensor.contiguous() for name, tensor in original_dit(expert.state_dict()).items()}
        save_file(tensors, home / "diffusion_pytorch_model.safetensors")
    nested = pipeline.vae.config.is_residual
    torch.save(
        original_vae(pipeline.vae.state_dict(), nested=nested),
        folder / ("Wan2.2_VAE.pth" if nested else "Wan2.1_VAE.pth"),
        _use_new_zipfile_serialization=False,
    )
    torch.save(original_text(pipeline.text_encoder.state_dict()), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    if getattr(pipeline, "image_encoder", None) is not None:
        torch.save(
            original_vision(pipeline.image_encoder.state_dict()),
            folder / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
        )
    (folder / "google" / "umt5-xxl").mkdir(parents=True)
    pipeline.tokenizer.save_pretrained(folder / "google" / "umt5-xxl")


def text_to_video(boundary=None):
    low = transformer(seed=1) if boundary else None
    return WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=text_encoder(),
        transformer=transformer(),
        transformer_2=low,
        vae=autoencoder(),
        scheduler=scheduler(),
        boundary_ratio=boundary,
    )


def image_to_video(image, boundary=None):
    inputs = 2 * CHANNELS + 4
    low = transformer(inputs, image=image, seed=1) if boundary else None
    return WanImageToVideoPipeline(
        tokenizer=tokenizer(),
        text_encoder=text_encoder(),
        transformer=transformer(inputs, image=image),
        transformer_2=low,
        vae=autoencoder(),
        scheduler=scheduler(5.0),
        boundary_ratio=boundary,
        image_encoder=image_encoder() if image else None,
        image_processor=image_processor() if image else None,
    )


def text_and_image_to_video(kind):
    return kind(
        tokenizer=tokenizer(),
        text_encoder=text_encoder(),
        transformer=transformer(48, 48),
        vae=autoencoder_22(),
        scheduler=scheduler(5.0),
        expand_timesteps=True,
    )


MODELS = {
    "Wan2.1-T2V": lambda: text_to_video(),
    "Wan2.2-T2V-A14B": lambda: text_to_video(boundary=0.875),
    "Wan2.1-I2V": lambda: image_to_video(image=80),
    "Wan2.2-I2V-A14B": lambda: image_to_video(image=None, boundary=0.9),
    "Wan2.2-I2V-A14B, to a last picture": lambda: image_to_video(image=None, boundary=0.9),
    "Wan2.2-TI2V": lambda: text_and_image_to_video(WanPipeline),
    "Wan2.2-TI2V, from an image": lambda: text_and_image_to_video(WanImageToVideoPipeline),
}


def silent(make):
    theirs = make()
    theirs.set_progress_bar_config(disable=True)
    return theirs
