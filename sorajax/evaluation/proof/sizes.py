"""The shapes of the proof: the full ones, and toy ones with which a CPU runs the same code."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from sorajax.evaluation.cases import NAMED, Shape
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig


class Heads(NamedTuple):
    """One attention: clips, queries, keys, heads and the width of a head."""

    clips: int
    queries: int
    keys: int
    heads: int
    width: int


@dataclass(frozen=True)
class Sizes:
    """Shapes of each part. Configs are float32; each part sets its own compute dtype."""

    attention: tuple[Heads, ...]
    checked: Shape
    """The transformer whose velocity and gradient are checked."""
    autoencoders: dict[str, VAEConfig]
    clip: tuple[int, int, int]
    """Frames, height and width of the clip for the autoencoders' checks."""
    text: TextConfig
    sampled: SoraConfig
    """The model whose sampler loops are checked."""
    sampled_latent: tuple[int, int, int]
    samplers: tuple[str, ...]
    steps: int
    """Steps of the sampler loops."""
    film_steps: int
    timed: Shape
    """The transformer that is timed: a guided denoising step, beside PyTorch's, and a training step."""
    timed_vae: VAEConfig
    timed_text: TextConfig
    tile: int
    """Side of the decoder's tiles, in latent positions."""
    product: int
    """Rows and columns of the timed matrix product."""
    repeats: int
    world_steps: int | None
    """Denoising steps of the embedded world model; None is its own number."""
    world_batches: tuple[int, ...]


WAN21 = VAEConfig()
WAN22 = VAEConfig(base=160, decoder_base=256, shortcuts=True, pixel_patch=2, latent_channels=48)

TRUE = Sizes(
    attention=(
        Heads(1, 1024, 1024, 4, 64),
        Heads(2, 1000, 777, 3, 64),
        Heads(1, 1170, 1170, 4, 128),
        Heads(2, 4099, 512, 2, 128),
        Heads(1, 32760, 32760, 1, 128),
    ),
    checked=Shape(DiTConfig(depth=2), latent=(3, 30, 52), tokens=512),
    autoencoders={"Wan 2.1 autoencoder": WAN21, "Wan 2.2 autoencoder": WAN22},
    clip=(5, 64, 64),
    text=TextConfig(vocabulary=4096, depth=2),
    sampled=SoraConfig(
        text=TextConfig(vocabulary=64, width=128, hidden=256, depth=1, heads=2, tokens=64),
        dit=DiTConfig(width=256, hidden=1024, depth=4, heads=4, text_width=128, remat="none"),
    ),
    sampled_latent=(5, 26, 22),
    samplers=("euler", "unipc"),
    steps=8,
    film_steps=10,
    timed=NAMED["wan2.1-1.3b"],
    timed_vae=WAN21,
    timed_text=TextConfig(),
    tile=40,
    product=8192,
    repeats=3,
    world_steps=None,
    world_batches=(1, 8),
)

SMALL = DiTConfig(width=64, hidden=128, depth=2, heads=1, text_width=32, frequencies=32, remat="none")
SMALL_VAE = VAEConfig(base=8, multipliers=(1, 1), strides=((2, 2),), residual_blocks=1)
SMALL_TEXT = TextConfig(vocabulary=64, width=32, hidden=64, depth=2, heads=2, head_width=16, tokens=16)

TOY = Sizes(
    attention=(Heads(2, 520, 513, 1, 64), Heads(1, 600, 600, 1, 128)),
    checked=Shape(SMALL, latent=(3, 8, 10), tokens=16),
    autoencoders={
        "Wan 2.1 autoencoder": SMALL_VAE,
        "Wan 2.2 autoencoder": replace(SMALL_VAE, decoder_base=16, shortcuts=True, pixel_patch=2, latent_channels=8),
    },
    clip=(5, 16, 16),
    text=SMALL_TEXT,
    sampled=SoraConfig(text=SMALL_TEXT, dit=SMALL),
    sampled_latent=(2, 6, 6),
    samplers=("unipc",),
    steps=4,
    film_steps=4,
    timed=Shape(replace(SMALL, dtype="bfloat16"), latent=(3, 8, 10), tokens=16),
    timed_vae=SMALL_VAE,
    timed_text=SMALL_TEXT,
    tile=4,
    product=256,
    repeats=3,
    world_steps=2,
    world_batches=(1, 2),
)
