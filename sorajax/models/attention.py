"""The one door to attention kernels: softmax(q k^T / sqrt(k)) v, chosen by the platform that is compiled for."""
from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SCORES_LIMIT = 1 << 26
"""Most score values (b * n * queries * keys) that the plain formulation holds at once: 256 MB in float32."""


def attend(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    bias: Float[Array, "#b n s m"] | None = None,
    scale: float | None = None,
) -> Float[Array, "b s n k"]:
    """Multi-head attention, every query to every key; `bias` is added to the scores, `scale` defaults to k**-0.5."""
    return plain(q, k, v, bias, scale)


def plain(q, k, v, bias=None, scale=None):
    """Attention in matrix products, in blocks of queries so that no more than SCORES_LIMIT scores exist at once."""
    b, s, n, width = q.shape
    scale = width**-0.5 if scale is None else scale
    blocks = -(-b * n * s * k.shape[1] // SCORES_LIMIT)
    if blocks <= 1 or bias is not None:
        return _block(q, k, v, bias, scale)
    rows = -(-s // blocks)
    padded = jnp.pad(q, ((0, 0), (0, rows * blocks - s), (0, 0), (0, 0)))
    padded = jnp.moveaxis(padded.reshape(b, blocks, rows, n, width), 1, 0)
    block = jax.checkpoint(lambda part: _block(part, k, v, None, scale))
    return jnp.moveaxis(jax.lax.map(block, padded), 0, 1).reshape(b, rows * blocks, n, width)[:, :s]


def _block(q, k, v, bias, scale):
    scores = jnp.einsum("bsnk,bmnk->bnsm", q * jnp.asarray(scale, q.dtype), k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores if bias is None else scores + bias, -1).astype(v.dtype)
    return jnp.einsum("bnsm,bmnk->bsnk", weights, v)
