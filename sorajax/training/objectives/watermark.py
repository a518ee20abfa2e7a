"""Training the watermark: the signal added to frames, and the reader that finds it after a file was changed.

    marked   = round(frame + strength * g q)                        `safety.signal`
    received = resample(luma(codec(colour(marked))))                gradients pass through codec and rounding
    F        = correlations(mean of response(received) over time)
    r        = sum_k w_k Re(F_k conj C_k) / sqrt(n sum_k w_k^2 |F_k|^2)
    loss     = -log(r + 0.3) + visible * log V

r is the correlation, at most 1, of what is read with the random phases C_k that were written. V is how much of the
mark's energy lies in flat parts, relative to a mark without a gain.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sorajax.data.worlds import WorldBatch
from sorajax.media.recoding import recoded
from sorajax.safety import signal
from sorajax.safety.watermark import GROUP, export_weights, load_weights, peak_strength
from sorajax.training.step import Stage


@dataclass(frozen=True)
class WatermarkObjective:
    """The mark's peak signal-to-noise ratio, the weight of V, and the distortions of files."""

    decibels: float = 42.0
    visible: float = 0.1
    crop: float = 0.6
    """Smallest share of height and width that a crop keeps."""
    plain: float = 0.1
    jpeg: float = 0.15
    h265: float = 0.2
    """Shares of clips that are not compressed, or become JPEG or H.265; the others become H.264."""
    quality: tuple[int, int] = (20, 32)
    """Range of the constant rate factor."""
    noise: float = 2.0
    """Largest standard deviation of noise, in grey levels."""


@flax.struct.dataclass
class WatermarkStage(Stage):
    """A mark and its reader learning from each other."""

    objective: WatermarkObjective = flax.struct.field(pytree_node=False, default=WatermarkObjective())

    def init(self, key: jax.Array) -> Any:
        return jax.tree.map(jnp.asarray, signal.init(np.random.default_rng(0)))

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        phase_key, codec_key, view_key = jax.random.split(key, 3)
        frames = batch.pixels.astype(jnp.float32)
        angles = 2 * jnp.pi * jax.random.uniform(phase_key, (len(frames), *signal.SHAPE))
        phases = jnp.exp(1j * angles)
        marked, seen = jax.vmap(partial(mark, params, self.objective.decibels))(frames, phases)
        received = straight_through(partial(self.received, codec_key), marked)
        keys = jax.random.split(view_key, len(frames))
        found = jax.vmap(partial(self.read, params))(received, keys)
        weight = signal.band() * jnp.exp(params["weight"])
        agreement = (weight * (found * phases.conj()).real).sum((1, 2))
        energy = jnp.square(weight * jnp.abs(found)).sum((1, 2))
        r = agreement / jnp.sqrt(energy * signal.band().sum() + 1e-12)
        loss = jnp.mean(-jnp.log(jnp.maximum(r, -0.2) + 0.3))
        metrics = {"correlation": r.mean(), "lowest": r.min(), "visible": seen.mean()}
        return loss + self.objective.visible * jnp.log(seen).mean(), metrics

    def received(self, key: jax.Array, marked: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        """Clips after rounding, a change of colour, and a codec."""
        shape = jax.ShapeDtypeStruct(marked.shape, jnp.float32)
        return jax.pure_callback(self.compressed, shape, marked, jax.random.bits(key, (), jnp.uint32))

    def compressed(self, marked: Any, seed: Any) -> np.ndarray:
        """The same in numpy, each clip by another codec."""
        chosen, rng = self.objective, np.random.default_rng(int(seed))
        clips = []
        for clip in np.asarray(marked):
            if rng.random() < 0.5:
                clip = rng.uniform(0.85, 1.1) * (clip - 128) + 128 + rng.uniform(-10, 10)
            clip = np.clip(np.round(clip), 0, 255).astype(np.uint8)
            draw, quality = rng.random(), int(rng.integers(*chosen.quality, endpoint=True))
            if draw < chosen.jpeg:
                clip = recoded(clip, "jpeg", int(rng.integers(50, 95)))
            elif draw < chosen.jpeg + chosen.h265:
                clip = recoded(clip, "libx265", quality, "ultrafast")
            elif draw < 1 - chosen.plain:
                clip = recoded(clip, "libx264", quality, str(rng.choice(["veryfast", "medium"])))
            clips.append(clip.astype(np.float32))
        return np.stack(clips)

    def read(self, params: Any, clip: Float[Array, "t h w c"], key: jax.Array) -> Any:
        """The correlations with all waves, of a random square of the clip at the reader's size."""
        (t, h, w, _), keys = clip.shape, jax.random.split(key, 6)
        size = signal.units(h, w) / min(h, w)
        side, view = signal.TILE // signal.PIXEL, signal.TILE / signal.units(h, w)
        share = jnp.where(
            jax.random.bernoulli(keys[0], 0.3), 1.0, jax.random.uniform(keys[1], (), minval=self.objective.crop)
        )
        span = view * share * min(h, w)
        blurred = jnp.where(jax.random.bernoulli(keys[2], 0.5), 2.0, 1.0)  # as if resized to half before
        luma = clip[: t // GROUP * GROUP] @ jnp.array(signal.LUMA)
        luma = luma.reshape(-1, GROUP, h, w).mean(1)
        places, matrices = [], []
        for number, place in zip((h, w), jax.random.uniform(keys[3], (2,)), strict=True):
            first = place * (number - span)
            matrices.append(signal.resampling(jnp, number, first, span / side, side, blurred))
            places.append((first + (jnp.arange(side) + 0.5) * span / side) * size)
        luma = matrices[0] @ luma @ matrices[1].T
        level = self.objective.noise * jax.random.uniform(keys[4])
        luma = luma + level * jax.random.normal(keys[5], luma.shape)
        left = signal.response(params, luma).mean(0)
        return signal.correlations(left, *places) / side**2

    def tokens(self, batch: WorldBatch) -> float:
        """Frames."""
        return float(np.prod(batch.pixels.shape[:2]))

    def export(self, directory: Path, params: Any) -> None:
        """As `safety.watermark` reads it."""
        export_weights(directory, params)

    def load(self, directory: Path) -> Any:
        return load_weights(directory)


def mark(params: Any, decibels: float, frames: Float[Array, "t h w c"], phases: Any) -> tuple[jax.Array, jax.Array]:
    """Marked frames, not rounded, and V."""
    _, h, w, _ = frames.shape
    size = signal.units(h, w) / min(h, w)
    luma = frames @ jnp.array(signal.LUMA)
    q = signal.signal(params, phases, (jnp.arange(h) + 0.5) * size, (jnp.arange(w) + 0.5) * size)
    gains = signal.gain(params, luma, size)
    added = gains * q
    added = added * peak_strength(decibels) / jnp.sqrt(jnp.mean(added**2, (1, 2), keepdims=True))
    detail = luma - signal.blur(luma, 2.0)
    flat = 1 / (signal.blur(detail * detail, 3.0) + 9)
    seen = jnp.mean(gains**2 * flat) / jnp.mean(flat) / jnp.mean(gains**2)
    return frames + added[..., None], seen


def straight_through(function: Any, x: jax.Array) -> jax.Array:
    """The function's value with the gradient of the identity (Bengio et al. 2013)."""
    return x + jax.lax.stop_gradient(function(jax.lax.stop_gradient(x)) - x)
