"""Latent video <-> spacetime tokens, and the rotary position embedding of the tokens.

Rotary position embedding (Su et al. 2021, eq. 34) over three axes: a head's k/2 complex pairs are split between time,
rows and columns, and each pair is rotated by `position / 10000**(i / pairs of that axis)`. Scores then depend on
differences of positions only.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

Patch = tuple[int, int, int]
THETA = 10_000.0


def patchify(z: Float[Array, "b t h w c"], patch: Patch) -> Float[Array, "b s p"]:
    """Splits latents into spacetime patches, one token each, in (t, h, w) raster order."""
    pt, ph, pw = patch
    return rearrange(z, "b (t pt) (h ph) (w pw) c -> b (t h w) (pt ph pw c)", pt=pt, ph=ph, pw=pw)


def unpatchify(x: Float[Array, "b s p"], grid: tuple[int, int, int], patch: Patch) -> Float[Array, "b t h w c"]:
    """The inverse of `patchify`; `grid` counts patches in (t, h, w)."""
    (t, h, w), (pt, ph, pw) = grid, patch
    return rearrange(x, "b (t h w) (pt ph pw c) -> b (t pt) (h ph) (w pw) c", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def rope_angles(times: Float[Array, " t"], rows: int, columns: int, head_width: int) -> Float[Array, "s k2"]:
    """Rotation angles of every token, in (t, h, w) raster order, float32.

    `times` are temporal positions in units of one latent frame at the model's base frame rate; a clip at another frame
    rate has other, possibly fractional, positions.
    """
    space = 2 * (head_width // 6)
    axes = (times, head_width - 2 * space), (jnp.arange(rows), space), (jnp.arange(columns), space)
    angles = [
        jnp.asarray(position, jnp.float32)[:, None] / THETA ** (jnp.arange(0, width, 2, dtype=jnp.float32) / width)
        for position, width in axes
    ]
    t, h, w = (len(a) for a in angles)
    grid = [
        jnp.broadcast_to(jnp.expand_dims(a, other), (t, h, w, a.shape[-1]))
        for a, other in zip(angles, ((1, 2), (0, 2), (0, 1)), strict=True)
    ]
    return rearrange(jnp.concatenate(grid, -1), "t h w k -> (t h w) k")


class Rope(NamedTuple):
    """The factors of `rotate`: cosines and signed sines of every token's angles, each repeated for a pair, float32."""

    cos: Float[Array, "s k"]
    sin: Float[Array, "s k"]


def rope(angles: Float[Array, "s k2"]) -> Rope:
    """Cosines and sines of rotation angles, computed once for all layers."""
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return Rope(jnp.repeat(cos, 2, -1), jnp.stack([-sin, sin], -1).reshape(len(sin), -1))


def rotate(x: Float[Array, "b s n k"], by: Rope) -> Float[Array, "b s n k"]:
    """Rotates each interleaved pair (x[2i], x[2i+1]) by its angle, in float32: x * cos + (-x[2i+1], x[2i]) * sin."""
    x32 = x.astype(jnp.float32)
    swapped = x32.reshape(*x.shape[:-1], -1, 2)[..., ::-1].reshape(x.shape)
    return (x32 * by.cos[:, None] + swapped * by.sin[:, None]).astype(x.dtype)
