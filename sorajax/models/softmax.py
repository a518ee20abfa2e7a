"""softmax(scale * q k^T + bias) v in matrix products: what every platform can compute."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SCORES_LIMIT = 1 << 26
"""Most score values (b * n * queries * keys) that the plain formulation holds at once: 256 MB in float32."""


def plain(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    bias: Float[Array, "#b n s m"] | None,
    scale: float,
) -> Float[Array, "b s n k"]:
    """Attention in matrix products; above SCORES_LIMIT in blocks of queries, whose scores the backward pass repeats."""
    b, s, n, _ = q.shape
    blocks = min(s, -(-b * n * s * k.shape[1] // SCORES_LIMIT))
    if blocks <= 1:
        return _block(q, k, v, bias, scale)
    rows = -(-s // blocks)
    blocks = -(-s // rows)

    def split(x: Array, axis: int) -> Array:
        """Cuts the axis of queries, padded, into [blocks, rows], blocks first."""
        x = jnp.pad(x, [(0, rows * blocks - s if i == axis else 0) for i in range(x.ndim)])
        return jnp.moveaxis(x.reshape(*x.shape[:axis], blocks, rows, *x.shape[axis + 1 :]), axis, 0)

    parts = split(q, 1), None if bias is None else split(bias, 2)
    block = jax.checkpoint(lambda part: _block(part[0], k, v, part[1], scale), prevent_cse=False)
    return jnp.moveaxis(jax.lax.map(block, parts), 0, 1).reshape(b, rows * blocks, n, -1)[:, :s]


def _block(q, k, v, bias, scale):
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (scaled(q, scale), k, v))  # on CPU a quarter faster, heads before tokens
    scores = jnp.einsum("bnsk,bnmk->bnsm", q, k, preferred_element_type=jnp.float32)
    scores = scores if bias is None else scores + bias
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, -1, keepdims=True)))
    total = jnp.sum(weights, -1, keepdims=True)  # divided by last: fewer values
    mixed = jnp.einsum("bnsm,bnmk->bnsk", weights.astype(v.dtype), v) / total
    return jnp.swapaxes(mixed, 1, 2).astype(v.dtype)


def scaled(q: Array, scale: float) -> Array:
    """scale * q in q's dtype; multiplied in float32, because a rounded scale would change every score the same way."""
    return (q.astype(jnp.float32) * scale).astype(q.dtype)
