"""What the autoencoder keeps: PSNR on unseen clips, and what the instrument can still read through it (the ceiling)."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from sorajax.data.scenes import FULL, WorldMix, sample_scenes
from sorajax.data.world import render
from sorajax.evaluation.world import GROUPS, Results, evaluate_truth
from sorajax.models.vae import VAE, VAEConfig


@dataclass(frozen=True)
class Reconstruction:
    """PSNR in dB over clips, and accuracies read from the pixels and through the autoencoder."""

    psnr: float  # mean over clips
    worst: float  # lowest of any clip
    pixels: Results
    through: Results


def psnr(original: Float[np.ndarray, "b t h w c"], made: Float[np.ndarray, "b t h w c"]) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio of each clip in dB; both in [-1, 1], a range of 2."""
    error = np.square(np.clip(made, -1, 1) - original).mean((1, 2, 3, 4))
    return 10 * np.log10(4 / np.maximum(error, 1e-10))


class Autoencoder:
    """Encodes and decodes clips in batches of one size, so that it compiles once."""

    def __init__(self, config: VAEConfig, params, batch: int = 8):
        model = VAE(config)

        @jax.jit
        def reconstruct(video):
            latent = model.apply({"params": params}, video, method="encode")
            return model.apply({"params": params}, latent, method="decode")

        self._reconstruct, self._batch = reconstruct, batch

    def __call__(self, video: Float[np.ndarray, "b t h w c"]) -> Float[np.ndarray, "b t h w c"]:
        made = []
        for start in range(0, len(video), self._batch):
            part = video[start : start + self._batch]
            padded = np.concatenate([part, np.repeat(part[-1:], self._batch - len(part), 0)])
            made.append(np.asarray(self._reconstruct(padded))[: len(part)])
        return np.concatenate(made)


def evaluate_reconstruction(
    config: VAEConfig,
    params,
    num: int = 64,
    seed: int = 0,
    mix: WorldMix = FULL,
    splits: tuple[str, ...] = tuple(GROUPS),
    frames: int = 17,
    size: tuple[int, int] = (64, 64),
) -> Reconstruction:
    """Renders clips with held-out triples, which no training saw, and compares them with what comes back."""
    if num < 1:
        raise ValueError(f"{num} clips cannot be evaluated: ask for at least 1, e.g. 64")
    autoencoder = Autoencoder(config, params)
    scene = sample_scenes(np.random.default_rng([seed, 7]), num, "held_out", mix)
    video = np.asarray(render(scene, frames, *size)[0])
    ratios = psnr(video, autoencoder(video))
    read = partial(evaluate_truth, num=num, seed=seed, splits=splits, frames=frames, size=size)
    return Reconstruction(
        psnr=float(ratios.mean()),
        worst=float(ratios.min()),
        pixels=read(None),
        through=read(autoencoder),
    )
