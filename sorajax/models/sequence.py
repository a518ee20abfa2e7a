"""Sequence parallelism: attention over tokens sharded over devices, by Ulysses, a ring, or both combined.

    Ulysses    all-to-all from (all heads, local tokens) to (local heads, all tokens), and back     (Jacobs et al. 2023)
    ring       keys and values pass from device to device, with an online softmax on each           (Liu et al. 2023)

A `seq` axis of u * r devices does Ulysses within groups of u neighbours and a ring over the r groups (Fang and Zhao
2024, USP); u is the greatest common divisor of the axis size and a device's heads. It runs inside `shard_map`.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from sorajax.devices.sharding import BATCH, fitting

AXIS = "seq"
Kernel = Callable[[Array, Array, Array], Array]


def ways(mesh: Mesh | AbstractMesh, shape: tuple[int, ...]) -> int:
    """The number of devices that tokens of shape [b s n k] are sharded over; 1 where `seq` does not divide them."""
    if mesh.empty or AXIS not in mesh.shape or shape[1] % mesh.shape[AXIS]:
        return 1
    return mesh.shape[AXIS]


def split(size: int, heads: int) -> tuple[int, int]:
    """(Ulysses degree, ring degree) of a `seq` axis of `size` devices with `heads` heads per device."""
    ulysses = math.gcd(size, heads)
    return ulysses, size // ulysses


def spread(
    kernel: Kernel, q: Float[Array, "b s n k"], k: Float[Array, "b s n k"], v: Float[Array, "b s n k"], scale: float
) -> Float[Array, "b s n k"]:
    """Attention of all tokens to all tokens, sharded over `seq`; `kernel` computes attention on one device."""
    mesh = jax.sharding.get_abstract_mesh()
    spec = fitting(P(BATCH, AXIS, "tensor", None), q.shape, mesh)
    heads = q.shape[2] // (mesh.shape["tensor"] if spec[2] else 1)
    ulysses, ring = split(mesh.shape[AXIS], heads)
    local = partial(_local, kernel=kernel, scale=scale, ulysses=ulysses, ring=ring)
    # check_vma=False: a Pallas kernel does not declare over which mesh axes its results vary.
    return jax.shard_map(local, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)(q, k, v)


def _local(q: Array, k: Array, v: Array, kernel: Kernel, scale: float, ulysses: int, ring: int) -> Array:
    """The computation on one device: local tokens of its heads, in and out."""
    groups = [[group * ulysses + place for place in range(ulysses)] for group in range(ring)]
    swap = partial(lax.all_to_all, axis_name=AXIS, axis_index_groups=groups if ring > 1 else None, tiled=True)
    if ulysses > 1:
        q, k, v = (swap(x, split_axis=2, concat_axis=1) for x in (q, k, v))
    out = kernel(q, k, v) if ring == 1 else _ring(q, k, v, scale, ulysses, ring)
    return swap(out, split_axis=1, concat_axis=2) if ulysses > 1 else out


def _ring(q: Array, k: Array, v: Array, scale: float, ulysses: int, ring: int) -> Array:
    """Ring attention: an online softmax (Milakov & Gimelshein 2018) while keys and values go round the devices."""
    size = ulysses * ring
    onwards = [(device, (device + ulysses) % size) for device in range(size)]

    def turn(carry: tuple, _: None) -> tuple[tuple, None]:
        running, keys_values = carry
        received = jax.tree.map(lambda x: lax.ppermute(x, AXIS, onwards), keys_values)  # overlaps with the computation
        return (_add(q, *keys_values, *running, scale), received), None

    b, s, n, width = q.shape
    empty = jnp.full((b, n, s), -jnp.inf), jnp.zeros((b, n, s)), jnp.zeros((b, s, n, width))
    ((_, total, out), _), _ = lax.scan(turn, (empty, (k, v)), None, length=ring)
    return (out / jnp.swapaxes(total, 1, 2)[..., None]).astype(q.dtype)


@partial(jax.checkpoint, static_argnums=6)
def _add(q: Array, k: Array, v: Array, maximum: Array, total: Array, out: Array, scale: float) -> tuple[Array, ...]:
    """One update of the online softmax: each query's maximum score, sum of weights and sum of weighted values, float32.

    Queries are processed in blocks, so that at maximum SCORES_LIMIT scores are in memory; the backward pass recomputes
    them.
    """
    from sorajax.models.softmax import SCORES_LIMIT, scaled

    b, s, n, _ = q.shape
    fewest = min(s, max(1, -(-b * n * s * k.shape[1] // SCORES_LIMIT)))
    blocks = next(count for count in range(fewest, s + 1) if s % count == 0)
    query = scaled(q, scale)

    def block(part: tuple[Array, ...]) -> tuple[Array, ...]:
        query, maximum, total, out = part
        scores = jnp.einsum("bsnk,bmnk->bnsm", query, k, preferred_element_type=jnp.float32)
        new_maximum = jnp.maximum(maximum, lax.stop_gradient(jnp.max(scores, -1)))
        weights, decay = jnp.exp(scores - new_maximum[..., None]), jnp.exp(maximum - new_maximum)
        values = jnp.einsum("bnsm,bmnk->bsnk", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return new_maximum, total * decay + jnp.sum(weights, -1), out * jnp.swapaxes(decay, 1, 2)[..., None] + values

    if blocks == 1:
        return block((query, maximum, total, out))

    def split_blocks(x: Array, axis: int) -> Array:
        return jnp.moveaxis(x.reshape(*x.shape[:axis], blocks, -1, *x.shape[axis + 1 :]), axis, 0)

    def merge(x: Array, axis: int) -> Array:
        x = jnp.moveaxis(x, 0, axis)
        return x.reshape(*x.shape[:axis], s, *x.shape[axis + 2 :])

    parts = lax.map(
        jax.checkpoint(block),
        (split_blocks(query, 1), split_blocks(maximum, 2), split_blocks(total, 2), split_blocks(out, 1)),
    )
    return merge(parts[0], 2), merge(parts[1], 2), merge(parts[2], 1)
