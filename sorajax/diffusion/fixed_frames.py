"""What is already known: the one idea behind every request.

A latent video has a clock per frame. Frames that are known sit at time 0 and never move; the rest run from noise to
data beside them. Text to video knows nothing; image to video knows the first frame; extension knows the head or the
tail; in-betweening knows both ends; editing knows every frame roughly, and begins below time 1; replacing a region
knows the rest of every frame, which runs along its own straight path, velocity = noise - data, beside the region.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sorajax.diffusion.flow import interpolate, velocity_target

Latent = Float[Array, "b t h w c"]
Velocity = Callable[[Latent, Float[Array, "b t"]], Latent]

KINDS = ("none", "head", "tail", "both ends", "scattered")
CHANCES = (0.35, 0.3, 0.2, 0.15)  # of the kinds after "none", where something is known


class Known(NamedTuple):
    """What a request knows of its answer.

    latent: normalised latents; where nothing is known its values do not count.
    mask: true for what is exactly known, and stays: frames [b t], or positions of them [b t h w].
    start: the time where denoising of the other frames begins; below 1 they begin as their noised latents.
    """

    latent: Float[Array, "b t h w c"]
    mask: Bool[Array, "b t"] | Bool[Array, "b t h w"]
    start: Float[Array, ""] | float = 1.0


def nothing_known(shape: tuple[int, ...]) -> Known:
    """A request that knows nothing of a latent of shape [b, t, h, w, c]: text to video."""
    return Known(jnp.zeros(shape), jnp.zeros(shape[:2], bool), jnp.float32(1.0))


def initial(known: Known, noise: Latent, clocks: bool = True) -> Latent:
    """Where sampling begins: known frames as they are (without clocks: noised too), the others noised to `start`."""
    return interpolate(known.latent, noise, clock(known, known.start) if clocks else known.start)


def clock(known: Known, time: Float[Array, "*any"] | float) -> Float[Array, "b t"]:
    """The clock of every frame when the unknown ones stand at `time` (a scalar or [b, t])."""
    return jnp.where(whole_frames(known), 0.0, jnp.asarray(time, jnp.float32))


def whole_frames(known: Known) -> Bool[Array, "b t"]:
    """The frames of which everything is known."""
    return known.mask if known.mask.ndim == 2 else jnp.all(known.mask, (2, 3))


def hold_fixed(velocity: Velocity, known: Known, noise: Latent, clocks: bool = True) -> Velocity:
    """Holds what is known, where sampling begins with `initial(known, noise, clocks)`.

    The model sees known frames at time 0, and they do not move at all (to the bit). Known parts of other frames share
    their frame's clock and reach their values at time 0. For a model that was trained with one clock for all frames
    (`clocks=False`) known frames do as these parts do: they run along their own straight paths beside the rest, the
    replacement of Lugmayr et al. 2022, eq. 8, in flow form.
    """
    if not clocks:
        mask = known.mask if known.mask.ndim == 4 else known.mask[..., None, None]

        def replaced(x: Latent, time: Float[Array, "b t"]) -> Latent:
            return jnp.where(mask[..., None], velocity_target(known.latent, noise), velocity(x, time))

        return replaced

    def wrapped(x: Latent, time: Float[Array, "b t"]) -> Latent:
        moving = velocity(x, clock(known, time))
        if known.mask.ndim == 4:
            moving = jnp.where(known.mask[..., None], velocity_target(known.latent, noise), moving)
        return jnp.where(whole_frames(known)[..., None, None, None], 0.0, moving)

    return wrapped


def drop_conditioning(
    known: Known, noise: Latent, x: Latent, time: Float[Array, "b t"]
) -> tuple[Latent, Float[Array, "b t"]]:
    """Latents and clocks of a clip of which nothing is known: known frames are noised as far as the others are.

    Guidance away from it is away from clips that begin, or end, otherwise (history guidance, Song et al. 2025).
    """
    time = jnp.broadcast_to(jnp.max(time, 1, keepdims=True), time.shape)
    frames = whole_frames(known)[..., None, None, None]
    return jnp.where(frames, interpolate(known.latent, noise, time), x), time


def anchored(first: Int[Array, ""] | int, count: int, max_anchor_gap: int, step: float = 1.0) -> Float[Array, " t"]:
    """Temporal positions of a film's window: the anchor, which is the film's first latent frame, then `count` - 1
    consecutive latent frames beginning with number `first`.

    The first of these is placed at most `max_anchor_gap` + 1 after the anchor, however long ago the film began, because
    training shows no larger gap. `step` is the distance between latent frames in units of the model's base frame rate.
    """
    start = jnp.minimum(first * step, max(max_anchor_gap + 1.0, step))
    return jnp.concatenate([jnp.zeros(1), start + step * jnp.arange(count - 1)])


def random_window(key: jax.Array, data: Latent, count: int, max_anchor_gap: int) -> tuple[Latent, Float[Array, " t"]]:
    """Training-time windows of longer clips, `count` latent frames, and their `anchored` positions: each clip's first
    and, from a random one on, others in a row."""
    first = jax.random.randint(key, (), 1, data.shape[1] - count + 2)
    stretch = jax.lax.dynamic_slice_in_dim(data, first, count - 1, 1)
    return jnp.concatenate([data[:, :1], stretch], 1), anchored(first, count, max_anchor_gap)


def random_known(key: jax.Array, b: int, t: int, share: float = 0.5) -> Bool[Array, "b t"]:
    """Training-time known frames, drawn per clip; at least one frame stays unknown.

    In a `share` of the clips something is known, of the KINDS after "none" with probabilities CHANCES.
    A head or a tail is 1 to t - 1 frames long, both ends together at most t - 1; scattered frames are known with a
    probability that is itself uniform. A single frame (an image) has nothing known.
    """
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
