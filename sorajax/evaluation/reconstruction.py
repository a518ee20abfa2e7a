"""What the autoencoder keeps: PSNR, SSIM and flicker on unseen clips, and what the instrument can still read through it
(the ceiling)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sorajax.data.videos.decode import BrokenVideo, read_clip
from sorajax.data.videos.listing import listing
from sorajax.evaluation.world import GROUPS, Results, evaluate_truth
from sorajax.models.vae import VAEConfig
from sorajax.training.autoencoder import reconstructed
from sorajax.training.perceptual import flicker, ssim
from sorajax.world.draw import render
from sorajax.world.scenes import FULL, WorldMix, sample_scenes

Clips = Float[np.ndarray, "b t h w c"]


@dataclass(frozen=True)
class Quality:
    """How near reconstructions are to their clips: means over `num` clips."""

    psnr: float
    """In dB."""
    worst: float
    """The lowest PSNR of any clip."""
    ssim: float
    """Structural similarity, 1 for equal clips."""
    flicker: float
    """Mean absolute difference between the changes from frame to frame of both, in [-1, 1] units."""
    num: int


@dataclass(frozen=True)
class Reconstruction:
    """Quality on clips of all kinds and by split, and accuracies read from the pixels and through the autoencoder."""

    all: Quality
    splits: dict[str, Quality]
    pixels: Results
    through: Results


def psnr(original: Clips, made: Clips) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio of each clip in dB; both in [-1, 1], a range of 2."""
    error = np.square(np.clip(made, -1, 1) - original).mean((1, 2, 3, 4))
    return 10 * np.log10(4 / np.maximum(error, 1e-10))


def quality(pairs: Sequence[tuple[Clips, Clips]]) -> Quality:
    """Of pairs of clips [b t h w 3] in [-1, 1] and their reconstructions, whose shapes may differ from pair to pair."""
    measures: tuple[Callable[..., Any], ...] = (psnr, _ssim, _flicker)
    ratios, similar, unsteady = (
        np.concatenate([np.asarray(measure(*pair)) for pair in pairs]).astype(np.float64) for measure in measures
    )
    return Quality(
        float(ratios.mean()), float(ratios.min()), float(similar.mean()), float(unsteady.mean()), len(ratios)
    )


_ssim, _flicker = jax.jit(ssim), jax.jit(flicker)


class Autoencoder:
    """Encodes and decodes clips in batches of one size, so that it compiles once; large ones as a stream."""

    def __init__(self, config: VAEConfig, params: Any, batch: int = 8):
        self._config, self._params, self._batch = config, params, batch

    def __call__(self, video: Clips) -> Clips:
        made = []
        for start in range(0, len(video), self._batch):
            part = video[start : start + self._batch]
            padded = np.concatenate([part, np.repeat(part[-1:], self._batch - len(part), 0)])
            made.append(np.asarray(reconstructed(self._config, self._params, padded))[: len(part)])
        return np.concatenate(made)


def evaluate_reconstruction(
    config: VAEConfig,
    params: Any,
    num: int = 64,
    seed: int = 0,
    mix: WorldMix = FULL,
    splits: tuple[str, ...] = tuple(GROUPS),
    frames: int = 17,
    size: tuple[int, int] = (64, 64),
) -> Reconstruction:
    """Renders clips with held-out triples, which no training saw, and those of the splits, and compares them with what
    comes back. `size` is (height, width)."""
    if num < 1:
        raise ValueError(f"{num} clips cannot be evaluated: ask for at least 1, e.g. 64")
    autoencoder = Autoencoder(config, params)
    scene = sample_scenes(np.random.default_rng([seed, 7]), num, "held_out", mix)
    video = np.asarray(render(scene, frames, *size)[0])
    overall = quality([(video, autoencoder(video))])
    read = partial(evaluate_truth, num=num, seed=seed, frames=frames, size=size)
    through: Results = {}
    qualities: dict[str, Quality] = {}
    for split in splits:
        pairs: list[tuple[Clips, Clips]] = []

        def kept(video: Clips, pairs: list[tuple[Clips, Clips]] = pairs) -> Clips:
            pairs.append((video, autoencoder(video)))
            return pairs[-1][1]

        through |= read(kept, splits=(split,))
        qualities[split] = quality(pairs)
    return Reconstruction(overall, qualities, pixels=read(None, splits=splits), through=through)


def evaluate_videos(
    config: VAEConfig,
    params: Any,
    source: str | Path,
    num: int = 64,
    frames: int = 17,
    size: tuple[int, int] = (64, 64),
    fps: float = 8.0,
) -> tuple[Quality, dict[str, str]]:
    """Quality on the first clip of the first `num` videos of a folder, manifest or tar, and why others were left out.

    Clips are resized to cover `size` (height, width) and cut. A file that cannot be read or is too short is left out;
    raises ValueError where none is left or the autoencoder does not take the shape.
    """
    config.latent_shape(frames, *size)
    autoencoder = Autoencoder(config, params, batch=1)
    pairs: list[tuple[Clips, Clips]] = []
    left_out: dict[str, str] = {}
    for entry in listing(source):
        if len(pairs) == num:
            break
        try:
            pixels = read_clip(entry.path, entry.start or 0.0, frames, fps, size)
        except BrokenVideo as error:
            left_out[entry.path] = str(error)
            continue
        video = pixels[None].astype(np.float32) / 127.5 - 1
        pairs.append((video, autoencoder(video)))
    if not pairs:
        example = next(iter(left_out.values()))
        raise ValueError(f"{source} has no clip of {frames} frames at {fps:g} per second, e.g. {example}: ask for less")
    return quality(pairs), left_out


def table(qualities: dict[str, Quality]) -> str:
    """Qualities as text, a line each."""
    lines = [f"{'clips of':10} {'PSNR dB':>8} {'worst':>6} {'SSIM':>7} {'flicker':>8} {'clips':>6}"]
    for name, q in qualities.items():
        lines.append(f"{name:10} {q.psnr:8.2f} {q.worst:6.2f} {q.ssim:7.4f} {q.flicker:8.5f} {q.num:6d}")
    return "\n".join(lines)
