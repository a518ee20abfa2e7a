"""Keys and values of frames that a transformer has seen, for one that is causal by frame.

With `DiTConfig.attended_frames` = n, frame i attends to frames i-n+1 to i, in every block:

    scores(i, j) = -inf   unless   0 <= i - j < n

So what a frame's tokens are in any block depends on frames before it only, and their keys and values can be kept while
a clip goes on: a frame costs its own tokens, however long the clip is. They are kept before the rotary embedding, which
depends on differences of positions only: positions count from the oldest frame that is kept, and do not grow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class KeysValues(NamedTuple):
    """Keys, RMS-normalised, and values of an attention, split into heads."""

    keys: Float[Array, "*depth b m n k"]
    values: Float[Array, "*depth b m n k"]


def frames_bias(before: int, now: int, tokens: int, attended: int) -> Float[Array, "1 1 s m"] | None:
    """The attention bias of `now` frames to themselves and to `before` frames before them, each of so many tokens.

    None where each frame attends to all, or `attended` is 0."""
    if not attended or (now == 1 and before < attended):
        return None
    distance = before + jnp.arange(now)[:, None] - jnp.arange(before + now)[None]
    allowed = (distance >= 0) & (distance < attended)
    bias = jnp.where(allowed, 0.0, -jnp.inf)
    return jnp.repeat(jnp.repeat(bias, tokens, 0), tokens, 1)[None, None]


def joined(past: Any, own: Any) -> Any:
    """Keys and values of past frames and those after them, of one block or of all."""
    return jax.tree.map(lambda *pair: jnp.concatenate(pair, -3), past, own)


def empty_cache(heads: int, head_width: int, depth: int, b: int, stacked: bool, dtype: str) -> Any:
    """The cache of no frame: stacked `KeysValues` of all blocks, or one for each, as the parameters are."""
    shape = (b, 0, heads, head_width)
    if stacked:
        empty = jnp.zeros((depth, *shape), dtype)
        return KeysValues(empty, empty)
    empty = jnp.zeros(shape, dtype)
    return tuple(KeysValues(empty, empty) for _ in range(depth))


def last_tokens(cache: Any, most: int) -> Any:
    """The last tokens of a cache, at most so many."""
    return jax.tree.map(lambda leaf: leaf[..., max(0, leaf.shape[-3] - most) :, :, :], cache)
