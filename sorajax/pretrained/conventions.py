"""Conventions of the open Wan models that their files do not state (steps, guidance, shift, frame rate), and their
configs by name.

The numbers are those of the release's `wan/configs`, `generate.py` and autoencoders.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sorajax.models.conditioning import FrameClocks, MaskChannels, Replacement
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig

Dtype = Literal["float32", "bfloat16"]
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，"
    "画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""`sample_neg_prompt` of the release's shared config."""
SHAKING = "镜头晃动，"
"""Prefix of the negative prompt in the release's config of Wan 2.1 image to video."""
MEAN = {
    16: (
        -0.7571,
        -0.7089,
        -0.9113,
        0.1075,
        -0.1745,
        0.9653,
        -0.1517,
        1.5508,
        0.4134,
        -0.0715,
        0.5517,
        -0.3632,
        -0.1922,
        -0.9497,
        0.2503,
        -0.2921,
    ),
    48: (
        -0.2289,
        -0.0052,
        -0.1323,
        -0.2339,
        -0.2799,
        0.0174,
        0.1838,
        0.1557,
        -0.1382,
        0.0542,
        0.2813,
        0.0891,
        0.1570,
        -0.0098,
        0.0375,
        -0.1825,
        -0.2246,
        -0.1207,
        -0.0698,
        0.5109,
        0.2665,
        -0.2108,
        -0.2158,
        0.2502,
        -0.2055,
        -0.0322,
        0.1109,
        0.1567,
        -0.0729,
        0.0899,
        -0.2799,
        -0.1230,
        -0.0313,
        -0.1649,
        0.0117,
        0.0723,
        -0.2839,
        -0.2083,
        -0.0520,
        0.3748,
        0.0152,
        0.1957,
        0.1433,
        -0.2944,
        0.3573,
        -0.0548,
        -0.1681,
        -0.0667,
    ),
}
STD = {
    16: (
        2.8184,
        1.4541,
        2.3275,
        2.6558,
        1.2196,
        1.7708,
        2.6052,
        2.0743,
        3.2687,
        2.1526,
        2.8652,
        1.5579,
        1.6382,
        1.1253,
        2.8251,
        1.9160,
    ),
    48: (
        0.4765,
        1.0364,
        0.4514,
        1.1677,
        0.5313,
        0.4990,
        0.4818,
        0.5013,
        0.8158,
        1.0344,
        0.5894,
        1.0901,
        0.6885,
        0.6165,
        0.8454,
        0.4978,
        0.5759,
        0.3523,
        0.7135,
        0.6804,
        0.5833,
        1.4146,
        0.8986,
        0.5659,
        0.7069,
        0.5338,
        0.4889,
        0.4917,
        0.4069,
        0.4999,
        0.6866,
        0.4093,
        0.5709,
        0.6065,
        0.6415,
        0.4944,
        0.5726,
        1.2042,
        0.5458,
        1.6887,
        0.3971,
        1.0600,
        0.3943,
        0.5537,
        0.5444,
        0.4089,
        0.7468,
        0.7744,
    ),
}
"""Mean and standard deviation per channel of the raw latents of the two autoencoders, by number of channels; from the
release's `modules/vae.py` and `vae2_2.py`."""

LARGE = DiTConfig(width=5120, hidden=13824, depth=40, heads=40)
SMALL = 1536
"""Largest width of a transformer that was trained at 480p only (1.3B)."""
SHAPES = {
    "Wan2.1-T2V-1.3B": DiTConfig(),
    "Wan2.1-T2V-14B": LARGE,
    "Wan2.1-I2V-14B": replace(LARGE, in_channels=36, image_width=1280),
    "Wan2.2-TI2V-5B": DiTConfig(width=3072, hidden=14336, depth=30, heads=24, in_channels=48, out_channels=48),
    "Wan2.2-T2V-A14B": LARGE,
    "Wan2.2-I2V-A14B": replace(LARGE, in_channels=36),
    "AnyFlow-Wan2.1-T2V-1.3B": DiTConfig(until_gate=0.25),
    "AnyFlow-Wan2.1-T2V-14B": replace(LARGE, until_gate=0.25),
}
"""Transformers of the releases' configs, to plan memory without downloading a model."""
TWO_EXPERTS = "A14B"  # suffix of the names of models with two experts


def known_name(name: str) -> str | None:
    """The name in `SHAPES` of a model of the release or the hub: Wan-AI/Wan2.1-I2V-14B-720P-Diffusers without owner,
    size and layout. None for other names."""
    pattern = r"((Wan-AI|nvidia)/)?{}(-(480|720)P)?(-Diffusers)?"
    return next((known for known in SHAPES if re.fullmatch(pattern.format(re.escape(known)), name)), None)


def is_known(model: Path) -> bool:
    """Whether `model` is the name of an open model, and no existing path."""
    return not model.exists() and known_name(str(model)) is not None


def known_config(name: str, dtype: Dtype) -> SoraConfig:
    """The config of an open model by its name alone. Raises ValueError for an unknown name."""
    if (known := known_name(name)) is None:
        raise ValueError(f"{name} is not the name of a known open model: there are {', '.join(SHAPES)}")
    dit = replace(SHAPES[known], dtype=dtype)
    vae = VAEConfig(latent_channels=(channels := dit.out_channels), mean=MEAN[channels], std=STD[channels])
    if channels == 48:
        vae = replace(vae, base=160, decoder_base=256, shortcuts=True, pixel_patch=2)
    vision = VisionConfig(dtype=dtype) if dit.image_width else None
    share = expert_boundary(dit.in_channels != channels) if known.endswith(TWO_EXPERTS) else None
    return conventions(name, dit, vae, TextConfig(dtype=dtype), vision, share)


def expert_boundary(image: bool) -> float:
    """The time at which the experts of Wan 2.2 switch: 0.9 in image to video, 0.875 in text to video."""
    return 0.9 if image else 0.875


def released_shift(image: bool, boundary: float | None, height: int) -> float:
    """The release's timestep shift, by task, number of experts, and height in pixels."""
    if boundary:
        return 5.0 if image else 12.0
    return 3.0 if image and height == 480 else 5.0


def conventions(
    name: str,
    dit: DiTConfig,
    vae: VAEConfig,
    text: TextConfig,
    vision: VisionConfig | None,
    boundary: float | None = None,
    shift: float | None = None,
) -> SoraConfig:
    """The model of these parts with the sampling settings of the release's `wan/configs` and `generate.py`, or, for a
    flow map, of diffusers' AnyFlowPipeline; a `shift` from the model's folder takes precedence. The two sizes of Wan
    2.1 image to video differ by name only."""
    image, small = dit.in_channels != vae.latent_channels, vae.stride[1] == 16
    early_image = image and boundary is None
    sizes: tuple[tuple[int, int], ...] = ((480, 832), (832, 480), (720, 1280), (1280, 720))
    if small:
        sizes = ((704, 1280), (1280, 704))
    elif dit.width <= SMALL or (early_image and "480" in name):
        sizes = sizes[:2]
    elif early_image and "720" in name:
        sizes = sizes[2:]
    low, high = ((3.5, 3.5) if image else (3.0, 4.0)) if boundary else (None, 1.0 if dit.is_flow_map else 5.0)
    return SoraConfig(
        text=text,
        dit=dit,
        vae=vae,
        name=name,
        fps=24.0 if small else 16.0,
        sizes=sizes,
        free_aspect=image or small,
        frames=(121 if small else 81,),
        shift=shift or released_shift(image, boundary, sizes[0][0]),
        guidance_scale=high,
        guidance_scale_low=low,
        steps=4 if dit.is_flow_map else 40 if boundary or image else 50,
        negative=SHAKING + NEGATIVE if early_image else NEGATIVE,
        clean_prompts=True,
        conditioning=FrameClocks() if small else (MaskChannels() if image else Replacement()),
        vision=vision,
        boundary=boundary,
        last_time=0.0 if dit.is_flow_map else 0.001,
        whole_times=not dit.is_flow_map,
    )
