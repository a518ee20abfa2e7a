"""Folders of random open weights, written by the reference itself, and pictures to go with them."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import tokenizers
import torch
import transformers
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel

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
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512)


def text_encoder():
    return randomised(transformers.UMT5EncoderModel(transformers.UMT5Config(
        vocab_size=50, d_model=24, d_kv=10, d_ff=40, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=16, relative_attention_max_distance=128)))


def transformer(inputs=CHANNELS, outputs=CHANNELS, image=None, seed=0):
    return randomised(WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=20, in_channels=inputs, out_channels=outputs,
        text_dim=24, freq_dim=32, ffn_dim=56, num_layers=2, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64, image_dim=image, added_kv_proj_dim=40 if image else None), seed)


def autoencoder():
    """Wan 2.1's form."""
    return randomised(AutoencoderKLWan(
        base_dim=4, z_dim=CHANNELS, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True]))


def autoencoder_22():
    """Wan 2.2's form."""
    from sorajax.pretrained.opened import MEAN, STD

    return randomised(AutoencoderKLWan(
        base_dim=4, decoder_base_dim=8, z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True], is_residual=True, patch_size=2, in_channels=12, out_channels=12,
        latents_mean=list(MEAN[48]), latents_std=list(STD[48]), scale_factor_spatial=16, scale_factor_temporal=4))


def image_encoder():
    return randomised(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(
        hidden_size=80, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=28, patch_size=7,
        hidden_act="gelu")))


def image_processor():
    return transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})


def scheduler(shift=3.0):
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift)


def picture(height, width):
    """A smooth picture: resizing does not matter to it."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + 1), np.cos(y / 7), np.sin((x + y) / 11)]
    return np.round(127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)
