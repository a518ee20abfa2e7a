"""The captioner of the package: a video -> `Caption`, read through the autoencoder of its model.

A clip is resized to a shorter side of 64 pixels and 8 frames a second, as those that the captioner was trained on. One
of more than `LONGEST` frames is captioned shot by shot, each by its first frames, and the captions are joined as the
world's own join two shots.
"""

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.language import Caption
from sorajax.language.network import REGISTERS, Memory, Words, WordsConfig, generate
from sorajax.media.resize import fit_clip
from sorajax.media.video import Frames, Video
from sorajax.models.folder import BUNDLED, CONFIG, WORLD, load_model
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.models.vae import VAE, VAEConfig
from sorajax.world.captions import Register

LANGUAGE = WORLD.with_name("language")
"""The folder of the captioner in the package."""
FPS, SIDE, LONGEST = 8.0, 64, 33
WIDEST = 2
"""Largest aspect ratio that is read; of a wider frame only the middle is read."""
CUT = 14.0
"""Change of the median pixel, of 255, from which on two frames belong to two shots."""
TEMPERATURE = 0.7
"""Sampling temperature of captions, where the seed is not 0."""


class Writer:
    """The network with its parameters: memories of clips and prompts, and captions of them."""

    def __init__(self, config: WordsConfig, params: Any, tokenizer: str):
        self.config, self.params = config, jax.device_put(params)
        self.tokenizer = Tokenizer(tokenizer, config.tokens)
        read = partial(Words(config).apply, {"params": self.params})
        self.read_clip = jax.jit(partial(read, method="read_clip"))
        self.read_prompt = jax.jit(partial(read, method="read_prompt"))
        self.generate = jax.jit(partial(generate, config))

    def write(
        self, memory: Memory, register: Register, seed: int = 0, temperature: float = 0.0
    ) -> tuple[list[str], Int[np.ndarray, "b m"]]:
        """The texts that the network writes for each memory, in lower case, and their tokens. temperature: 0 takes the
        likeliest words, whatever the seed."""
        chosen = jnp.full(len(memory.mask), REGISTERS.index(register))
        ids = np.asarray(self.generate(self.params, memory, chosen, jax.random.key(seed), jnp.float32(temperature)))
        return self.tokenizer.decode(ids, ids > 0), ids


class VideoCaptioner:
    """A writer with the encoder of its autoencoder: a `Captioner`."""

    def __init__(self, writer: Writer, vae: VAEConfig, params: Any, folder: Path):
        self.folder, self.writer, self.params = folder, writer, jax.device_put(params)
        self.encode = jax.jit(lambda params, video: VAE(vae).apply({"params": params}, video, method="encode"))

    def __call__(self, video: Video, seed: int = 0) -> Caption:
        """Both captions of a video. seed: 0 takes the likeliest words, others draw among synonyms."""
        parts = shots(seen(video))
        short, detailed = (
            [self.describe([part], register, seed)[0] for part in parts] for register in ("short", "detailed")
        )
        return Caption(joined(short), sentences(joined(detailed)))

    def describe(self, clips: Sequence[Frames], register: Register, seed: int = 0) -> list[str]:
        """Captions, in lower case, of clips of one size and length, which `seen` returned."""
        memory = self.writer.read_clip(self.latents(clips))
        return self.writer.write(memory, register, seed, TEMPERATURE if seed else 0.0)[0]

    def latents(self, clips: Sequence[Frames]) -> Float[Array, "b t h w c"]:
        """The normalised latents of clips of one size and length."""
        return self.encode(self.params, np.stack(clips).astype(np.float32) / 127.5 - 1)


def open_writer(model: str | Path = "world") -> Writer:
    """The network of the package, or of a run of configs/captioner.py. Raises FileNotFoundError and ValueError."""
    folder = LANGUAGE if str(model) == "world" else Path(model)
    if folder == LANGUAGE and not (folder / CONFIG).is_file():
        raise FileNotFoundError("the captioner's weights are not in this installation: train configs/captioner.py")
    config, params, tokenizer = load_model(folder, WordsConfig)
    assert tokenizer is not None  # it is written with the weights
    return Writer(config, params, tokenizer)


@lru_cache(maxsize=1)
def open_captioner(model: str | Path = "world") -> VideoCaptioner:
    """The captioner of the package, or of a run of configs/captioner.py. Raises FileNotFoundError and ValueError."""
    writer = open_writer(model)
    name = writer.config.autoencoder
    config, params, _ = load_model(BUNDLED.get(name, name), SoraConfig)
    return VideoCaptioner(writer, config.vae, params["vae"], LANGUAGE if str(model) == "world" else Path(model))


def seen(video: Video) -> Frames:
    """The frames of a video as the captioner reads them."""
    _, y, x, _ = video.frames.shape
    longer = min(WIDEST * SIDE, max(1, round(max(x, y) / min(x, y) * SIDE / 16)) * 16)
    width, height = (longer, SIDE) if x >= y else (SIDE, longer)
    return fit_clip(video, width, height, FPS if len(video.frames) > 1 else video.fps)


def shots(frames: Frames) -> list[Frames]:
    """A clip that the captioner reads at once, as the only one; or the beginnings of a longer clip's shots. Each has
    4n+1 frames, which the autoencoder takes; the last one is repeated where a clip has fewer than five."""
    starts = [0]
    if len(frames) > LONGEST:
        median = [np.median(frame.reshape(-1, 3), 0) for frame in frames]
        changes = np.abs(np.diff(median, axis=0)).max(1)
        starts += [int(i) + 1 for i in np.flatnonzero(changes > CUT)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(frames)], strict=True):
        part = frames[start : min(end, start + LONGEST)]
        if 1 < len(part) < 5:
            part = np.concatenate([part, np.repeat(part[-1:], 5 - len(part), 0)])
        found.append(part[: (len(part) - 1) // 4 * 4 + 1])
    return found


def joined(captions: Sequence[str]) -> str:
    """The captions of a film's shots as one."""
    return ". cut to: ".join(caption.rstrip(". ") for caption in captions) if len(captions) > 1 else captions[0]


def sentences(text: str) -> str:
    """Lower-case text with the capitals and the full stop of sentences."""
    text = re.sub(r"(^|[.] )([a-z])", lambda found: found[1] + found[2].upper(), text)
    return text if text.endswith(".") else f"{text}."
