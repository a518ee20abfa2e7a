"""Conditioning frames: fix any frames of a clip, and the model generates the others.

Each latent frame has a diffusion time of its own, its clock (Chen et al. 2024, Diffusion Forcing). Conditioning frames
stay at time 0 while the others are denoised from time 1 to 0. Text to video has no conditioning frames; image to video
fixes the first frame; extension fixes the head or the tail; in-betweening fixes both ends. Editing begins below time 1,
from all frames of a clip with noise added. Inpainting fixes every position outside a region: fixed positions follow
their own straight path, velocity = noise - data, while the region is generated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sorajax.diffusion.flow import interpolate, velocity_target

Latent = Float[Array, "b t h w c"]
Velocity = Callable[..., Latent]
"""(x, time [b t]) -> velocity; of a flow map (x, time, until [b t]) -> mean velocity from `time` to `until`."""

KINDS = ("none", "head", "tail", "both ends", "scattered")
CHANCES = (0.35, 0.3, 0.2, 0.15)  # of the kinds after "none", in clips that have conditioning frames


class FixedLatents(NamedTuple):
    """Conditioning frames of a clip.

    latent: normalised latents; outside the mask they matter only where `start` is below 1.
    mask: true where latents are fixed: whole frames [b t], or positions in frames [b t h w].
    start: the time, in (0, 1], at which denoising of the other frames begins; below 1 they begin as noised `latent`.
    """

    latent: Float[Array, "b t h w c"]
    mask: Bool[Array, "b t"] | Bool[Array, "b t h w"]
    start: Float[Array, ""] | float = 1.0


def no_fixed_frames(shape: tuple[int, ...]) -> FixedLatents:
    """No conditioning frames, for a latent of shape [b, t, h, w, c]: text to video."""
    values: Any = np.zeros(shape, np.float32), np.zeros(shape[:2], bool), np.ones((), np.float32)
    return FixedLatents(*values)


def initial(known: FixedLatents, noise: Latent, clocks: bool = True) -> Latent:
    """The latents that sampling begins from: conditioning frames without noise, the others noised to time `start`.

    With `clocks=False` (one time for all frames) conditioning frames are noised to `start`, too.
    """
    return interpolate(known.latent, noise, clock(known, known.start) if clocks else known.start)


def clock(known: FixedLatents, time: Float[Array, "*any"] | float) -> Float[Array, "b t"]:
    """The diffusion time of every frame: 0 for conditioning frames, `time` (a scalar or [b, t]) for the others."""
    return jnp.where(whole_frames(known), 0.0, jnp.asarray(time, jnp.float32))


def whole_frames(known: FixedLatents) -> Bool[Array, "b t"]:
    """The frames that are fixed at every position."""
    return known.mask if known.mask.ndim == 2 else jnp.all(known.mask, (2, 3))


def hold_fixed(velocity: Velocity, known: FixedLatents, noise: Latent, clocks: bool = True) -> Velocity:
    """Wraps a velocity so that conditioning frames end at their values; sampling begins with `initial` of the same
    arguments.

    The model sees conditioning frames at time 0, and their velocity is exactly 0, so they do not change by a bit. Fixed
    positions of the other frames share their frame's time, follow their straight path and reach their values at time 0.
    With `clocks=False`, for a model trained with one time for all frames, whole conditioning frames follow their
    straight path, too: replacement (Lugmayr et al. 2022, eq. 8), in flow form.
    """
    if not clocks:
        mask = known.mask if known.mask.ndim == 4 else known.mask[..., None, None]

        def replaced(x: Latent, *times: Float[Array, "b t"]) -> Latent:
            return jnp.where(mask[..., None], velocity_target(known.latent, noise), velocity(x, *times))

        return replaced

    def wrapped(x: Latent, *times: Float[Array, "b t"]) -> Latent:
        moving = velocity(x, *(clock(known, time) for time in times))
        if known.mask.ndim == 4:
            moving = jnp.where(known.mask[..., None], velocity_target(known.latent, noise), moving)
        return jnp.where(whole_frames(known)[..., None, None, None], 0.0, moving)

    return wrapped


def drop_conditioning(
    known: FixedLatents, noise: Latent, x: Latent, *times: Float[Array, "b t"]
) -> tuple[Latent, *tuple[Float[Array, "b t"], ...]]:
    """Latents and times of an unconditional branch: conditioning frames are noised to the time of the others.

    Classifier-free guidance with this branch also drops the conditioning frames (history guidance, Song et al. 2025).
    """
    times = tuple(jnp.broadcast_to(jnp.max(time, 1, keepdims=True), time.shape) for time in times)
    frames = whole_frames(known)[..., None, None, None]
    return jnp.where(frames, interpolate(known.latent, noise, times[0]), x), *times


def anchored(first: Int[Array, ""] | int, count: int, max_anchor_gap: int, step: float = 1.0) -> Float[Any, " t"]:
    """Temporal positions of a film's window: the anchor, which is the film's first latent frame, at 0, then those of
    `count` - 1 consecutive latent frames, the first of which has index `first` in the film.

    That frame is placed at most max(`max_anchor_gap` + 1, `step`) after the anchor, however long ago the film began,
    because training has no larger gap. `step` is the distance between latent frames in units of one latent frame at the
    model's base frame rate.
    """
    limit = max(max_anchor_gap + 1.0, step)
    start = jnp.minimum(first * step, limit) if isinstance(first, jax.Array) else np.float32(min(first * step, limit))
    later = np.arange(count) > 0
    return later * (start + np.float32(step) * np.arange(-1, count - 1, dtype=np.float32))


def random_window(key: jax.Array, data: Latent, count: int, max_anchor_gap: int) -> tuple[Latent, Float[Array, " t"]]:
    """Training windows of `count` latent frames, cut from longer clips, and their `anchored` positions.

    A window is the clip's first latent frame followed by consecutive ones from a random index, the same for the batch.
    """
    first = jax.random.randint(key, (), 1, data.shape[1] - count + 2)
    stretch = jax.lax.dynamic_slice_in_dim(data, first, count - 1, 1)
    return jnp.concatenate([data[:, :1], stretch], 1), anchored(first, count, max_anchor_gap)


def random_fixed_frames(
    key: jax.Array, b: int, t: int, share: float = 0.5, has_anchor: bool = False
) -> Bool[Array, "b t"]:
    """A random mask of conditioning frames for training, drawn per clip; at least one frame is generated.

    A `share` of the clips has conditioning frames: the KINDS after "none", with probabilities CHANCES. A head or a tail
    is 1 to t - 1 frames long, both ends together at most t - 1; scattered frames are fixed with a probability that is
    itself uniform in [0, 1]. A single frame (an image) is never fixed. has_anchor: clips are windows of a film,
    whose anchor is fixed in all clips, together with some of the other frames.
    """
    if has_anchor:
        return jnp.pad(random_fixed_frames(key, b, t - 1, 1.0), ((0, 0), (1, 0)), constant_values=True)
    if t == 1:
        return jnp.zeros((b, t), bool)
    kind_key, length_key, other_key, rate_key, frame_key, spare_key = jax.random.split(key, 6)
    chances = jnp.array([1 - share, *(share * chance for chance in CHANCES)])
    kind = jax.random.choice(kind_key, len(KINDS), (b, 1), p=chances)
    frame = jnp.arange(t)[None]
    first = jax.random.randint(length_key, (b, 1), 1, t)
    last = jnp.minimum(jax.random.randint(other_key, (b, 1), 1, t), t - 1 - first)
    scattered = jax.random.uniform(frame_key, (b, t)) < jax.random.uniform(rate_key, (b, 1))
    spared = frame == jax.random.randint(spare_key, (b, 1), 0, t)
    head, tail, ends = frame < first, frame >= t - first, (frame < first) | (frame >= t - last)
    none = jnp.zeros((b, t), bool)
    return jnp.select([kind == 1, kind == 2, kind == 3, kind == 4], [head, tail, ends, scattered & ~spared], none)
