"""Evaluates the autoencoder: PSNR, SSIM and flicker on unseen clips, and the reader's accuracy on reconstructions, an
upper bound for clips of the model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sorajax.data.videos.decode import BrokenVideo, read_clip
from sorajax.data.videos.listing import listing
from sorajax.evaluation import markdown, options
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.world import GROUPS, Results, evaluate_truth, percent
from sorajax.evaluation.world import table as accuracies
from sorajax.models.folder import BUNDLED
from sorajax.models.vae import VAEConfig
from sorajax.sampling.loading import load
from sorajax.training.autoencoder import is_autoencoder, load_vae, reconstructed
from sorajax.training.perceptual import flicker, ssim
from sorajax.world.draw import render
from sorajax.world.reader.scores import OBJECT_WORDS
from sorajax.world.scenes import FULL, WorldMix, sample_scenes

Clips = Float[np.ndarray, "b t h w c"]
BAR, BAR_POINTS = 32, 1
"""Targets of the project: least PSNR in dB, and most points of reading accuracy lost."""


@dataclass(frozen=True)
class Quality:
    """Quality of reconstructions: means over `num` clips."""

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
    """Quality on all kinds of clips and by split, and the reader's accuracies on original and reconstructed clips."""

    all: Quality
    splits: dict[str, Quality]
    pixels: Results
    through: Results


def psnr(original: Clips, made: Clips) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio of each clip in dB; both in [-1, 1], a range of 2."""
    error = np.square(np.clip(made, -1, 1) - original).mean((1, 2, 3, 4))
    return 10 * np.log10(4 / np.maximum(error, 1e-10))


def quality(pairs: Sequence[tuple[Clips, Clips]]) -> Quality:
    """Quality over pairs of clips [b t h w 3] in [-1, 1] and their reconstructions; shapes may differ between pairs."""
    measures: tuple[Callable[..., Any], ...] = (psnr, _ssim, _flicker)
    ratios, similar, unsteady = (
        np.concatenate([np.asarray(measure(*pair)) for pair in pairs]).astype(np.float64) for measure in measures
    )
    return Quality(
        float(ratios.mean()), float(ratios.min()), float(similar.mean()), float(unsteady.mean()), len(ratios)
    )


_ssim, _flicker = jax.jit(ssim), jax.jit(flicker)


class Autoencoder:
    """Encodes and decodes clips in batches of one size, so that it compiles once; large clips are streamed."""

    def __init__(self, config: VAEConfig, params: Any, batch: int = 8):
        self._config, self._params, self._batch = config, params, batch

    def __call__(self, video: Clips) -> Clips:
        parts = []
        for start in range(0, len(video), self._batch):
            part = video[start : start + self._batch]
            padded = np.concatenate([part, np.repeat(part[-1:], self._batch - len(part), 0)])
            parts.append(np.asarray(reconstructed(self._config, self._params, padded))[: len(part)])
        return np.concatenate(parts)


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
    """Renders clips of held-out triples, which training never saw, and of the splits, and compares them with their
    reconstructions. `size` is (height, width). Raises ValueError for `num` below 1."""
    if num < 1:
        raise ValueError(f"{num} clips cannot be evaluated: use at least 1, e.g. 64")
    autoencoder = Autoencoder(config, params)
    scene = sample_scenes(np.random.default_rng([seed, 7]), num, "held_out", mix)
    video = np.asarray(render(scene, frames, *size)[0])
    overall = quality([(video, autoencoder(video))])
    read = partial(evaluate_truth, num=num, seed=seed, frames=frames, size=size)
    through: Results = {}
    qualities: dict[str, Quality] = {}
    for split in splits:
        pairs: list[tuple[Clips, Clips]] = []

        def reconstruct(video: Clips, pairs: list[tuple[Clips, Clips]] = pairs) -> Clips:
            pairs.append((video, autoencoder(video)))
            return pairs[-1][1]

        through |= read(reconstruct, splits=(split,))
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
    """Quality on the first clip of the first `num` videos of a folder, manifest or tar, and a reason per skipped video.

    Clips are resized to cover `size` (height, width) and cropped. A video that cannot be read or is too short is
    skipped. Raises ValueError if none is left, or the autoencoder does not take the shape.
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
        raise ValueError(f"{source} has no clip of {frames} frames at {fps:g} per second, e.g. {example}: use fewer")
    return quality(pairs), left_out


def table(qualities: dict[str, Quality]) -> str:
    """Qualities as text, one line each."""
    lines = [f"{'clips of':10} {'PSNR dB':>8} {'worst':>6} {'SSIM':>7} {'flicker':>8} {'clips':>6}"]
    for name, q in qualities.items():
        lines.append(f"{name:10} {q.psnr:8.2f} {q.worst:6.2f} {q.ssim:7.4f} {q.flicker:8.5f} {q.num:6d}")
    return "\n".join(lines)


def measure(command: options.Reconstruction) -> Measured:
    """Reconstructs clips, and prints their quality and the reader's accuracies."""
    config, params = autoencoder(command.model)
    settings, weights = f"num {command.num}, seed {command.seed}", markdown.folder_of(command.model)
    if command.folder is not None:
        found, left_out = evaluate_videos(
            config, params, command.folder, command.num, command.frames, command.size[::-1], command.fps
        )
        print(table({"videos": found}) + "".join(f"\nleft out: {reason}" for reason in left_out.values()))
        return Measured(asdict(found) | {"left_out": left_out}, {}, settings, weights)
    made = evaluate_reconstruction(
        config, params, command.num, command.seed, splits=command.splits, frames=command.frames
    )
    print(f"PSNR {made.all.psnr:.2f} dB (worst clip {made.all.worst:.2f})\n")
    print(f"{table({'all kinds': made.all, **made.splits})}\n\nfrom pixels\n{accuracies(made.pixels)}")
    print(f"\nthrough the autoencoder\n{accuracies(made.through)}")
    figures = {"psnr": made.all.psnr, "worst": made.all.worst, "pixels": made.pixels, "through": made.through}
    figures |= {"quality": {name: asdict(one) for name, one in {"all": made.all, **made.splits}.items()}}
    return Measured(figures, {name: TABLES[name](made) for name in command.tables}, settings, weights)


def autoencoder(model: str) -> tuple[VAEConfig, Any]:
    """Config and parameters of a model's autoencoder; the model may be an autoencoder alone."""
    if model not in BUNDLED and is_autoencoder(Path(model).expanduser()):
        return load_vae(Path(model).expanduser())
    pipeline = load(model)
    return pipeline.config.vae, pipeline.params["vae"]


def whole_table(made: Reconstruction) -> str:
    """Quality by split, and below it every attribute read from pixels and through the autoencoder."""
    named = {"all kinds": made.all, **made.splits}
    rows = [
        [name.replace("_", " "), f"{q.psnr:.1f} dB", f"{q.worst:.1f} dB", f"{q.ssim:.4f}", f"{q.flicker:.5f}"]
        for name, q in named.items()
    ]
    qualities = markdown.table(["clips of", "PSNR", "worst clip", "SSIM", "flicker"], rows)
    read = [(made.pixels[split], made.through[split]) for split in ("seen", "held_out")]
    rows = [[name, *(percent(one.get(name), interval=False) for pair in read for one in pair)] for name in read[0][0]]
    header = ["attribute", "seen, in pixels", "through the autoencoder", "held out, in pixels", "through it"]
    return f"{qualities}\n{markdown.table(header, rows)}"


def short_table(made: Reconstruction) -> str:
    """The figures that have a bar."""
    points = [f"{word} {lost(made, 'seen', word):.1f} / {lost(made, 'held_out', word):.1f}" for word in WORDS]
    return markdown.table(
        ["the autoencoder on unseen clips", "measured", "bar"],
        [
            ["PSNR", f"{made.all.psnr:.1f} dB", f"at least {BAR} dB"],
            ["accuracy lost by the autoencoder in points, seen / held out", ", ".join(points), f"at most {BAR_POINTS}"],
        ],
    )


def lost(made: Reconstruction, split: str, word: str) -> float:
    """Percentage points of reading accuracy that the autoencoder costs, at least 0."""
    before, after = (results[split][word]["accuracy"] for results in (made.pixels, made.through))
    return max(0.0, 100 * (before - after))


WORDS = (*OBJECT_WORDS, "background")
TABLES: dict[str, Callable[[Reconstruction], str]] = {
    "reconstruction": whole_table,
    "reconstruction-short": short_table,
}
"""The tables of `sorajax.evaluate reconstruction`, by the name of their marks."""
