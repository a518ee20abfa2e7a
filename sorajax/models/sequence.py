"""Attention over tokens that lie on several devices: Ulysses, ring, and both together when the heads run out.

    Ulysses    an all-to-all turns (all heads, my tokens) into (my heads, all tokens), and back     (Jacobs et al. 2023)
    ring       keys and values pass from device to device; each adds its part by a running softmax  (Liu et al. 2023)

A mesh's `seq` axis of u * r devices does Ulysses within groups of u neighbours and a ring over the r groups (Fang and
Zhao 2024, "USP"); u is the largest divisor that the heads of a device allow. All of it runs inside `shard_map`.
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
    """Over how many devices tokens of shape [b s n k] are spread: 1 where `seq` does not divide them."""
    if mesh.empty or AXIS not in mesh.shape or shape[1] % mesh.shape[AXIS]:
        return 1
    return mesh.shape[AXIS]


def split(size: int, heads: int) -> tuple[int, int]:
    """(Ulysses, ring) for `size` devices, each with `heads` heads of all its tokens."""
    ulysses = math.gcd(size, heads)
    return ulysses, size // ulysses


def spread(
    kernel: Kernel, q: Float[Array, "b s n k"], k: Float[Array, "b s n k"], v: Float[Array, "b s n k"], scale: float
) -> Float[Array, "b s n k"]:
    """Attention of all tokens to all tokens, which are sharded over `seq`; `kernel` attends on one device."""
    mesh = jax.sharding.get_abstract_mesh()
    spec = fitting(P(BATCH, AXIS, "tensor", None), q.shape, mesh)
    heads = q.shape[2] // (mesh.shape["tensor"] if spec[2] else 1)
    ulysses, ring = split(mesh.shape[AXIS], heads)
    local = partial(_local, kernel=kernel, scale=scale, ulysses=ulysses, ring=ring)
    # check_vma: a Pallas kernel does not say over which axes its results vary.
    return jax.shard_map(local, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)(q, k, v)


def _local(q: Array, k: Array, v: Array, kernel: Kernel, scale: float, ulysses: int, ring: int) -> Array:
    """On one device: its tokens of all its heads, in and out."""
    groups = [[group * ulysses + place for place in range(ulysses)] for group in range(ring)]
    swap = partial(lax.all_to_all, axis_name=AXIS, axis_index_groups=groups if ring > 1 else None, tiled=True)
    if ulysses > 1:
        q, k, v = (swap(x, split_axis=2, concat_axis=1) for x in (q, k, v))
    out = kernel(q, k, v) if ring == 1 else _ring(q, k, v, scale, ulysses, ring)
    return swap(out, split_axis=1, concat_axis=2) if ulysses > 1 else out


def _ring(q: Array, k: Array, v: Array, scale: float, ulysses: int, ring: int) -> Array:
    """Keys and values go round; the softmax's maximum and total run along (Milakov & Gimelshein 2018)."""
    size = ulysses * ring
    onwards = [(device, (device + ulysses) % size) for device in range(size)]

    def turn(carry: tuple, _: None) -> tuple[tuple, None]:
        seen, passing = carry
        following = jax.tree.map(lambda x: lax.ppermute(x, AXIS, onwards), passing)  # while this part is computed
        return (_add(q, *passing, *seen, scale), following), None

    b, s, n, width = q.shape
    nothing = jnp.full((b, n, s), -jnp.inf), jnp.zeros((b, n, s)), jnp.zeros((b, s, n, width))
    ((_, total, out), _), _ = lax.scan(turn, (nothing, (k, v)), None, length=ring)
    return (out / jnp.swapaxes(total, 1, 2)[..., None]).astype(q.dtype)


@partial(jax.checkpoint, static_argnums=6)
def _add(q: Array, k: Array, v: Array, most: Array, total: Array, out: Array, scale: float) -> tuple[Array, ...]:
    """The running maximum and total of each query's weights, and weighted values, after more keys; float32.

    Queries go in blocks, so that no more than SCORES_LIMIT scores are in memory, and the backward pass makes them anew.
    """
    from sorajax.models.softmax import SCORES_LIMIT, scaled

    b, s, n, _ = q.shape
    fewest = min(s, max(1, -(-b * n * s * k.shape[1] // SCORES_LIMIT)))
    blocks = next(count for count in range(fewest, s + 1) if s % count == 0)
    query = scaled(q, scale)

    def block(part: tuple[Array, ...]) -> tuple[Array, ...]:
        query, most, total, out = part
        scores = jnp.einsum("bsnk,bmnk->bnsm", query, k, preferred_element_type=jnp.float32)
        now = jnp.maximum(most, lax.stop_gradient(jnp.max(scores, -1)))
        weights, fade = jnp.exp(scores - now[..., None]), jnp.exp(most - now)
        values = jnp.einsum("bnsm,bmnk->bsnk", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return now, total * fade + jnp.sum(weights, -1), out * jnp.swapaxes(fade, 1, 2)[..., None] + values

    if blocks == 1:
        return block((query, most, total, out))

    def cut(x: Array, axis: int) -> Array:
        return jnp.moveaxis(x.reshape(*x.shape[:axis], blocks, -1, *x.shape[axis + 1 :]), axis, 0)

    def joined(x: Array, axis: int) -> Array:
        x = jnp.moveaxis(x, 0, axis)
        return x.reshape(*x.shape[:axis], s, *x.shape[axis + 2 :])

    parts = lax.map(jax.checkpoint(block), (cut(query, 1), cut(most, 2), cut(total, 2), cut(out, 1)))
    return joined(parts[0], 2), joined(parts[1], 2), joined(parts[2], 1)
