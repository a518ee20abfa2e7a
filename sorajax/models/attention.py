"""The one door to attention kernels: softmax(scale * q k^T + bias) v, by the platform that is compiled for.

    cpu, other   matrix products, in blocks of queries so that the scores in memory stay bounded    `plain`
    cuda         cuDNN's flash attention, for half precision                                        `cudnn`
    tpu          splash attention, FlashAttention's tiles (Dao et al. 2022) as a Pallas kernel      `splash`

Where a mesh spreads the tokens of a clip over devices (`spread`), `sorajax.models.sequence` brings them together.
The choice is `jax.lax.platform_dependent`'s, not a look at the devices of this process: what is compiled ahead of time
for another platform gets that platform's kernel. Short sequences and biased scores stay with `plain` everywhere.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from sorajax.devices.sharding import BATCH, fitting
from sorajax.models import sequence
from sorajax.models.softmax import plain, scaled

KERNEL_LENGTH = 512
"""Shorter sequences, of queries or of keys, leave a kernel's tiles empty; XLA is as fast on them."""

LANES = 128
"""A TPU register's width: tiles and the head widths in memory are multiples of it."""

TILE = 1024 * LANES
"""Most values of one splash tile, length * head width: twice this no longer fits the VMEM of v5e."""


def attend(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    bias: Float[Array, "#b n s m"] | None = None,
    scale: float | None = None,
    spread: bool = False,
) -> Float[Array, "b s n k"]:
    """Multi-head attention, every query to every key; `bias` is added to the scores, `scale` defaults to k**-0.5.

    `spread` says that queries and keys are the same tokens, which the mesh in force may have spread over `seq`.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if spread and sequence.ways(jax.sharding.get_abstract_mesh(), q.shape) > 1:
        return sequence.spread(partial(_on_one_device, scale=scale), q, k, v, scale)
    if bias is not None or min(q.shape[1], k.shape[1]) < KERNEL_LENGTH:
        return plain(q, k, v, bias, scale)
    kernels = {"tpu": partial(splash, scale=scale)}
    if cudnn_takes(q) and cudnn_is_here():
        kernels["cuda"] = partial(cudnn, scale=scale)
    return jax.lax.platform_dependent(q, k, v, default=partial(plain, bias=None, scale=scale), **kernels)


def _on_one_device(q: Array, k: Array, v: Array, scale: float) -> Array:
    """What `attend` does inside `shard_map`, where every array is one device's own."""
    if min(q.shape[1], k.shape[1]) < KERNEL_LENGTH:
        return plain(q, k, v, None, scale)
    kernels = {"tpu": partial(_splash, scale=scale, interpret=False)}
    if cudnn_takes(q) and cudnn_is_here():
        kernels["cuda"] = partial(cudnn, scale=scale)
    return jax.lax.platform_dependent(q, k, v, default=partial(plain, bias=None, scale=scale), **kernels)


def cudnn_takes(q: Float[Array, "b s n k"]) -> bool:
    """Whether cuDNN has a flash attention for these heads on every GPU since Ampere (float32 it has on none)."""
    return q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128


@cache
def cudnn_is_here() -> bool:
    """Whether JAX has its CUDA plugin, without which `cudnn` cannot even be traced, and no GPU older than Ampere."""
    installed = any("cuda" in plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins"))
    gpus = jax.local_devices() if installed and jax.default_backend() == "gpu" else []
    return installed and all(float(gpu.compute_capability) >= 8 for gpu in gpus)


def cudnn(
    q: Float[Array, "b s n k"], k: Float[Array, "b m n k"], v: Float[Array, "b m n k"], scale: float
) -> Float[Array, "b s n k"]:
    """cuDNN's flash attention; its own partitioning rules split batch and heads over the mesh."""
    return jax.nn.dot_product_attention(q, k, v, scale=scale, implementation="cudnn")


def splash(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    scale: float,
    interpret: bool = False,
) -> Float[Array, "b s n k"]:
    """TPU splash attention on each device's own batch, queries and heads; `interpret` runs it on any platform.

    The compiler cannot split a kernel, so `shard_map` does, over the mesh in force: a device holds the keys of its
    clips and heads whole. Axes that do not divide their dimension are left out, and their devices repeat the work.
    """
    kernel = partial(_splash, scale=scale, interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel(q, k, v)
    queries = fitting(P(BATCH, "seq", "tensor", None), q.shape, mesh)
    keys = P(queries[0], None, queries[2], None)
    # check_vma: the kernel does not say over which axes its results vary.
    return jax.shard_map(kernel, in_specs=(queries, keys, keys), out_specs=queries, check_vma=False)(q, k, v)


def _splash(q, k, v, scale, interpret):
    from jax.experimental.pallas.ops.tpu import splash_attention  # nobody else pays for importing Pallas

    m = k.shape[1]
    _, s, n, width = q.shape
    longest = max(LANES, TILE // ceil_to(width, LANES) // LANES * LANES)
    tile_q, tile_kv = even_tile(s, longest), even_tile(m, longest)
    q, k, v = (
        jnp.moveaxis(jnp.pad(x, ((0, 0), (0, ceil_to(x.shape[1], tile) - x.shape[1]), (0, 0), (0, 0))), 1, 2)
        for x, tile in ((scaled(q, scale), tile_q), (k, tile_kv), (v, tile_kv))
    )
    # Queries and real keys are segment 0, padded keys segment 1, which nobody looks at.
    segments = splash_attention.SegmentIds(
        jnp.zeros(q.shape[2], jnp.int32), (jnp.arange(k.shape[2]) >= m).astype(jnp.int32)
    )
    kernel = splash_attention.make_splash_mha(
        splash_attention.MultiHeadMask([splash_attention.FullMask((q.shape[2], k.shape[2]))] * n),
        block_sizes=splash_attention.BlockSizes(
            block_q=tile_q,
            block_kv=tile_kv,
            block_q_dkv=tile_q,
            block_kv_dkv=tile_kv,
            block_q_dq=tile_q,
            block_kv_dq=tile_kv,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    attended = jax.vmap(partial(kernel, segment_ids=segments if k.shape[2] > m else None))(q, k, v)
    return jnp.moveaxis(attended, 1, 2)[:, :s]


def ceil_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def even_tile(length: int, longest: int) -> int:
    """The length of a tile, in whole registers, that covers `length` in the fewest tiles with the least padding."""
    return ceil_to(-(-length // -(-length // longest)), LANES)
