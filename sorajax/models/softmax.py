"""Attention, softmax(scale * q k^T + bias) v, in plain matrix products, for every platform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SCORES_LIMIT = 1 << 26
"""Most attention scores (b * n * queries * keys) in memory at once: 256 MiB in float32."""


def plain(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    bias: Float[Array, "#b n s m"] | None,
    scale: float,
) -> Float[Array, "b s n k"]:
    """Attention in matrix products; above SCORES_LIMIT scores in blocks of queries, recomputed in the backward pass."""
    b, s, n, _ = q.shape
    blocks = min(s, -(-b * n * s * k.shape[1] // SCORES_LIMIT))
    if blocks <= 1:
        return _block(q, k, v, bias, scale)
    rows = -(-s // blocks)
    blocks = -(-s // rows)

    def split(x: Array, axis: int) -> Array:
        """Pads and splits the axis of queries into [blocks, rows], and moves blocks to the front."""
        x = jnp.pad(x, [(0, rows * blocks - s if i == axis else 0) for i in range(x.ndim)])
        return jnp.moveaxis(x.reshape(*x.shape[:axis], blocks, rows, *x.shape[axis + 1 :]), axis, 0)

    parts = split(q, 1), None if bias is None else split(bias, 2)
    block = jax.checkpoint(lambda part: _block(part[0], k, v, part[1], scale), prevent_cse=False)
    return jnp.moveaxis(jax.lax.map(block, parts), 0, 1).reshape(b, rows * blocks, n, -1)[:, :s]


def _block(q, k, v, bias, scale):
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (scaled(q, scale), k, v))  # heads first: a quarter faster on CPU
    scores = jnp.einsum("bnsk,bnmk->bnsm", q, k, preferred_element_type=jnp.float32)
    scores = scores if bias is None else scores + bias
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, -1, keepdims=True)))
    total = jnp.sum(weights, -1, keepdims=True)  # divides the output, which has fewer values than the weights
    mixed = jnp.einsum("bnsm,bnmk->bnsk", weights.astype(v.dtype), v) / total
    return jnp.swapaxes(mixed, 1, 2).astype(v.dtype)


def scaled(q: Array, scale: float) -> Array:
    """scale * q in q's dtype, multiplied in float32: a rounded scale would bias all scores in the same direction."""
    return (q.astype(jnp.float32) * scale).astype(q.dtype)
