"""Attention, softmax(scale * q k^T + bias) v, with the kernel of the platform that the program is compiled for.

    cpu, other   matrix products, in blocks of queries so that the scores in memory stay bounded    `plain`
    cuda         cuDNN's flash attention, for half precision                                        `cudnn`
    tpu          splash attention, FlashAttention's tiles (Dao et al. 2022) as a Pallas kernel      `splash`

Where a mesh shards the tokens of a clip over devices (`spread`), `sorajax.models.sequence` does sequence parallelism.
`jax.lax.platform_dependent` chooses the kernel, not the devices of this process: a program compiled ahead of time for
another platform gets that platform's kernel. Short sequences and biased scores use `plain` on every platform.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from sorajax.devices.sharding import BATCH, fitting, other_axes
from sorajax.models import sequence
from sorajax.models.softmax import plain, scaled

KERNEL_LENGTH = 512
"""Shortest sequence, of queries and of keys, for a kernel: a shorter one fills no tile, and XLA is as fast."""

LANES = 128
"""Width of a TPU register: tile lengths and the head width in memory are multiples of it."""

TILE = 1024 * LANES
"""Most values of one splash tile, length * head width: twice as many exceed the VMEM of v5e."""


def attend(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    bias: Float[Array, "#b n s m"] | None = None,
    scale: float | None = None,
    spread: bool = False,
) -> Float[Array, "b s n k"]:
    """Multi-head attention of every query to every key; `bias` is added to the scores, `scale` defaults to k**-0.5.

    `spread`: queries and keys are the same tokens, and the current mesh may shard them over its axis `seq`.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if spread and sequence.ways(jax.sharding.get_abstract_mesh(), q.shape) > 1:
        return sequence.spread(partial(_on_one_device, scale=scale), q, k, v, scale)
    if bias is not None or min(q.shape[1], k.shape[1]) < KERNEL_LENGTH:
        return plain(q, k, v, bias, scale)
    kernels = {"tpu": partial(splash, scale=scale)}
    if cudnn_supports(q) and cudnn_is_available():
        kernels["cuda"] = partial(over_mesh, partial(cudnn, scale=scale))
    return jax.lax.platform_dependent(q, k, v, default=partial(plain, bias=None, scale=scale), **kernels)


def _on_one_device(q: Array, k: Array, v: Array, scale: float) -> Array:
    """`attend` inside `shard_map`, on the arrays of one device."""
    if min(q.shape[1], k.shape[1]) < KERNEL_LENGTH:
        return plain(q, k, v, None, scale)
    kernels = {"tpu": partial(_splash, scale=scale, interpret=False)}
    if cudnn_supports(q) and cudnn_is_available():
        kernels["cuda"] = partial(cudnn, scale=scale)
    return jax.lax.platform_dependent(q, k, v, default=partial(plain, bias=None, scale=scale), **kernels)


def cudnn_supports(q: Float[Array, "b s n k"]) -> bool:
    """Whether cuDNN's flash attention supports these heads on every GPU since Ampere: half precision, head width a
    multiple of 8 up to 128."""
    return q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128


@cache
def cudnn_is_available() -> bool:
    """Whether JAX's CUDA plugin is installed, without which `cudnn` cannot be traced, and no GPU predates Ampere."""
    installed = any("cuda" in plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins"))
    gpus = jax.local_devices() if installed and jax.default_backend() == "gpu" else []
    return installed and all(float(gpu.compute_capability) >= 8 for gpu in gpus)


def cudnn(
    q: Float[Array, "b s n k"], k: Float[Array, "b m n k"], v: Float[Array, "b m n k"], scale: float
) -> Float[Array, "b s n k"]:
    """cuDNN's flash attention on one device."""
    return jax.nn.dot_product_attention(q, k, v, scale=scale, implementation="cudnn")


def splash(
    q: Float[Array, "b s n k"],
    k: Float[Array, "b m n k"],
    v: Float[Array, "b m n k"],
    scale: float,
    interpret: bool = False,
) -> Float[Array, "b s n k"]:
    """TPU splash attention, sharded over batch, queries and heads; `interpret` runs it on any platform.

    The compiler cannot partition a Pallas kernel, so `shard_map` does over the current mesh, see `over_mesh`.
    """
    return over_mesh(partial(_splash, scale=scale, interpret=interpret), q, k, v)


def over_mesh(
    kernel: sequence.Kernel, q: Float[Array, "b s n k"], k: Float[Array, "b m n k"], v: Float[Array, "b m n k"]
) -> Float[Array, "b s n k"]:
    """A kernel for one device, on the current mesh: cuDNN's own rules refuse queries that are split where keys are not.

    Each device holds all keys of its clips and heads. A mesh axis that does not divide its dimension is not used: its
    devices repeat the work.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return kernel(q, k, v)
    queries = fitting(P(BATCH, other_axes(len(q), q.shape[2]), "tensor", None), q.shape, mesh)
    if not queries[1]:
        queries = fitting(P(BATCH, "seq", "tensor", None), q.shape, mesh)
    keys = P(queries[0], None, queries[2], None)
    # check_vma=False: a Pallas kernel does not declare over which mesh axes its results vary.
    return jax.shard_map(kernel, in_specs=(queries, keys, keys), out_specs=queries, check_vma=False)(q, k, v)


def _splash(q, k, v, scale, interpret):
    from jax.experimental.pallas.ops.tpu import splash_attention  # Pallas is slow to import

    m = k.shape[1]
    _, s, n, width = q.shape
    longest = max(LANES, TILE // ceil_to(width, LANES) // LANES * LANES)
    tile_q, tile_kv = even_tile(s, longest), even_tile(m, longest)
    q, k, v = (
        jnp.moveaxis(jnp.pad(x, ((0, 0), (0, ceil_to(x.shape[1], tile) - x.shape[1]), (0, 0), (0, 0))), 1, 2)
        for x, tile in ((scaled(q, scale), tile_q), (k, tile_kv), (v, tile_kv))
    )
    # Queries and real keys are segment 0; padded keys are segment 1, to which no query attends.
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
    """Length of the tiles, a multiple of LANES, that cover `length` in the fewest tiles and with the least padding."""
    return ceil_to(-(-length // -(-length // longest)), LANES)
