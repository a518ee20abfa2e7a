"""What becomes of a clip between its frames and those that a captioner sees: a model may have made it, its autoencoder
decoded it, and a video codec stored it.

    x = (1 - start) latent + start noise,  latent' = the flow map's jump from x, with the true caption, to time 0
    latent'' = encode(codec(round(decode(latent'))))

The first line is SDEdit (Meng et al. 2022) at low strength: the clip keeps what its caption says, and gets the softer
edges and the drift of the model's own clips. It is left out where `edited` says so, as is the codec by `compressed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.data.decoded import Again, Latent
from sorajax.data.latents import signature
from sorajax.diffusion.samplers import flow_map
from sorajax.media.recoding import recoded
from sorajax.models.folder import WORLD_FAST, load_model, to_json
from sorajax.models.sora import SoraConfig
from sorajax.models.stream import decode_to_bytes
from sorajax.models.text import Tokenizer
from sorajax.models.vae import VAEConfig
from sorajax.models.velocity import read_once, velocity_of
from sorajax.training.autoencoder import encoder
from sorajax.training.flow_map import times_from
from sorajax.training.velocity import embed
from sorajax.world.captions import captions
from sorajax.world.scenes import Scene

STEPS = 2
"""Evaluations of the model that edits."""


@dataclass(frozen=True)
class Decoding:
    """How clips are decoded and encoded again."""

    clips: int = 0
    """Clips to decode before training starts, of the size with the most; 0 takes those that are there."""
    edited: float = 0.5
    """Share of their batches that `editor` noises and denoises first."""
    start: tuple[float, float] = (0.3, 0.8)
    """Range of the times to which these are noised; 1 would leave nothing but the caption."""
    compressed: float = 0.5
    """Share of the clips that H.264 stores in between."""
    quality: tuple[int, int] = (15, 28)
    """Range of its constant rate factors."""
    editor: Path = WORLD_FAST
    """A flow map with the same autoencoder."""

    def __post_init__(self) -> None:
        for name in ("edited", "compressed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"decoding.{name} is {getattr(self, name)}: a share lies between 0 and 1")
        if not 0 < self.start[0] <= self.start[1] <= 1:
            raise ValueError(f"decoding.start is {self.start}: give two times in (0, 1], the smaller one first")

    def made_by(self, params: Any) -> dict[str, Any]:
        """What latents depend on, besides the clips, as JSON values; `params` are the autoencoder's."""
        values = {name: value for name, value in to_json(self).items() if name not in ("clips", "editor")}
        return {**values, "editor": self.editor.name, "autoencoder": signature(params)}


def decoding(config: Decoding, vae: VAEConfig, params: Any) -> Again:
    """Latents of clips of scenes -> their latents after all that."""
    encode = jax.jit(lambda encode, video: encode(video.astype(jnp.float32) / 127.5 - 1))
    edit = editor(config.editor) if config.edited else None

    def again(latent: Latent, scene: Scene, rng: np.random.Generator) -> Latent:
        if edit is not None and rng.random() < config.edited:
            prompts, key = captions(scene, rng, "canonical"), jax.random.key(int(rng.integers(2**31)))
            latent = np.asarray(edit(latent, prompts, rng.uniform(*config.start), key))
        video = np.asarray(decode_to_bytes(params, vae, latent, {})[0])
        stored = rng.random(len(video)) < config.compressed
        rates = rng.integers(config.quality[0], config.quality[1] + 1, len(video))
        video = np.stack(
            [
                recoded(clip, "libx264", int(rate)) if is_stored else clip
                for clip, is_stored, rate in zip(video, stored, rates, strict=True)
            ]
        )
        return np.asarray(encode(encoder(vae, params), video))

    return again


def editor(folder: Path) -> Callable[[Any, list[str], float, Array], Array]:
    """A model as a function: latents, prompts, a time, a key -> the latents noised to that time and denoised again.

    Raises ValueError where it is no flow map or has no text.
    """
    config, params, source = load_model(folder, SoraConfig)
    if source is None or not config.is_flow_map:
        raise ValueError(f"{folder} cannot edit clips: give a distilled model of configs/distill_world.py, with text")
    tokenizer, step = Tokenizer(source, config.text.tokens), jax.jit(partial(_edited, config))

    def edit(latent: Any, prompts: list[str], start: float, key: Array) -> Array:
        return step(params, latent, *tokenizer.encode(prompts), jnp.float32(start), key)

    return edit


def _edited(
    config: SoraConfig,
    params: Any,
    latent: Float[Array, "b t h w c"],
    ids: Array,
    mask: Array,
    start: Array,
    key: Array,
) -> Float[Array, "b t h w c"]:
    variables = {"params": params["dit"]}
    text = read_once(config.dit, variables, embed(config, params, ids, mask), None)
    noise = config.temperature * jax.random.normal(key, latent.shape)
    noised = (1 - start) * latent + start * noise
    return flow_map(velocity_of(config.dit, variables, text), noised, times_from(start, STEPS, config.shift))
