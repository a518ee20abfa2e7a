"""Laws of attention, whichever kernel computes it.

What runs where: `plain` runs here; splash runs here interpreted and, where libtpu is installed, is compiled for TPU;
cuDNN's kernel needs a GPU, so without one only the choice of it is tested.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.devices.sharding import AXES, BATCH, make_mesh
from sorajax.models import attention
from sorajax.models.attention import attend, splash
from sorajax.models.softmax import plain
from tests.models.test_softmax import assert_same, random, values_and_gradients

SCALE = 0.3
attended = jax.jit(attend, static_argnums=4)
BIAS = np.random.default_rng(1).standard_normal((1, 3, 5, 7), np.float32)


def by_hand(q, k, v, scale, bias=0.0):
    """Attention in float64, one line per equation."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    weights = np.exp(np.einsum("bsnk,bmnk->bnsm", q, k) * scale + bias)
    return np.einsum("bnsm,bmnk->bsnk", weights / weights.sum(-1, keepdims=True), v)


def test_attention_is_a_softmax_over_keys():
    q, k, v, _ = random(2, 5, 7, 3, 4)
    np.testing.assert_allclose(attended(q, k, v), by_hand(q, k, v, 0.5), atol=1e-5)
    np.testing.assert_allclose(attended(q, k, v, BIAS, 1.0), by_hand(q, k, v, 1.0, BIAS), atol=1e-5)


def test_a_constant_added_to_a_querys_scores_changes_nothing():
    q, k, v, _ = random(2, 5, 7, 3, 4)
    np.testing.assert_allclose(attended(q, k + 2, v), attended(q, k, v), atol=1e-5)
    np.testing.assert_allclose(attended(q, k, v, BIAS + 3), attended(q, k, v, BIAS), atol=1e-5)


def test_keys_have_no_order_and_can_be_masked():
    q, k, v, _ = random(2, 5, 7, 3, 4)
    order = np.random.default_rng(0).permutation(7)
    np.testing.assert_allclose(attended(q, k[:, order], v[:, order]), attended(q, k, v), atol=1e-5)
    hidden = np.where(np.arange(7) < 4, 0, -1e9).astype(np.float32) * np.ones((1, 3, 5, 1), np.float32)
    np.testing.assert_allclose(attended(q, k, v, hidden), attended(q, k[:, :4], v[:, :4]), atol=1e-5)


def platforms_kernel(platform, dtype=jnp.bfloat16, s=512, m=512, bias=None):
    """What attention is lowered to for a platform that need not be here."""
    q, k = (jax.ShapeDtypeStruct((2, size, 4, 64), dtype) for size in (s, m))
    lowered = jax.jit(partial(attend, bias=bias)).trace(q, k, k).lower(lowering_platforms=(platform,))
    return lowered.as_text()


def test_the_platform_compiled_for_chooses_the_kernel():
    assert "tpu_custom_call" in platforms_kernel("tpu")
    assert "tpu_custom_call" in platforms_kernel("tpu", jnp.float32, m=600)
    assert "custom_call" not in platforms_kernel("cpu")


def test_unsupported_shapes_use_plain_attention():
    assert "custom_call" not in platforms_kernel("tpu", s=100)
    assert "custom_call" not in platforms_kernel("tpu", m=48)
    assert "custom_call" not in platforms_kernel("tpu", bias=jnp.zeros((1, 4, 512, 512)))


def test_cudnn_is_chosen_for_supported_shapes(monkeypatch):
    """With a stand-in for the kernel, which cannot be traced without CUDA."""
    monkeypatch.setattr(attention, "cudnn_is_available", lambda: True)
    monkeypatch.setattr(attention, "cudnn", lambda q, k, v, scale: jnp.cos(q))
    assert "cosine" in platforms_kernel("cuda")
    assert "cosine" not in platforms_kernel("cuda", jnp.float32)
    assert "cosine" not in platforms_kernel("tpu") + platforms_kernel("cpu")
    heads = {width: attention.cudnn_supports(jnp.zeros((1, 1, 1, width), jnp.float16)) for width in (64, 100, 128, 256)}
    assert heads == {64: True, 100: False, 128: True, 256: False}


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN's attention runs on a GPU only, and there is none")
def test_cudnn_equals_plain():
    assert attention.cudnn_is_available()
    *qkv, weights = random(2, 700, 600, 4, 64, jnp.bfloat16)
    expected = values_and_gradients(partial(plain, bias=None, scale=SCALE), *qkv, weights)
    assert_same(values_and_gradients(partial(attend, scale=SCALE), *qkv, weights), expected, tolerance=3e-2)


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 128, so that a short sequence has more than one."""
    monkeypatch.setattr(attention, "TILE", 128 * 128)


@pytest.mark.parametrize(("s", "m"), [(200, 130), (130, 256)], ids=["padded keys", "whole tiles of keys"])
def test_splash_equals_plain(small_tiles, s, m):
    *qkv, weights = random(2, s, m, 2, 16)
    expected = values_and_gradients(partial(plain, bias=None, scale=SCALE), *qkv, weights)
    assert_same(values_and_gradients(partial(splash, scale=SCALE, interpret=True), *qkv, weights), expected)


@pytest.mark.parametrize(
    ("mesh", "b", "s", "n"),
    [("fsdp=2,seq=2,tensor=2", 2, 140, 2), ("data=4,tensor=2", 2, 131, 3)],
    ids=["everything split", "nothing divides"],
)
def test_splash_on_a_mesh_equals_plain(mesh, b, s, n):
    *qkv, weights = random(b, s, 130, n, 16)
    expected = values_and_gradients(partial(plain, bias=None, scale=SCALE), *qkv, weights)
    with jax.set_mesh(make_mesh(mesh)):
        assert_same(values_and_gradients(partial(splash, scale=SCALE, interpret=True), *qkv, weights), expected)


@pytest.mark.parametrize("length", [1, 127, 128, 1000, 1025, 1560, 32760])
def test_splash_tiles_are_whole_registers_with_little_padding(length):
    tile = attention.even_tile(length, 1024)
    padded = attention.ceil_to(length, tile)
    assert tile % attention.LANES == 0
    assert tile <= 1024
    assert padded - length < attention.LANES * (padded // tile)


@pytest.mark.parametrize("chip", ["v5e:2x2", "v6e:2x2"])
@pytest.mark.parametrize(
    ("s", "m", "width", "dtype"),
    [(32760, 32760, 128, jnp.bfloat16), (4100, 512, 64, jnp.float32), (1560, 1560, 384, jnp.float32)],
    ids=["Wan's clip", "text", "the autoencoder's wide head"],
)
def test_splash_compiles_for_tpu(monkeypatch, chip, s, m, width, dtype):
    """Forward and backward fit the chip's memories; the compiler needs libtpu, and no chip."""
    pytest.importorskip("libtpu", reason="compiling for TPU takes the compiler in libtpu: pip install 'jax[tpu]'")
    for name, value in {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}.items():
        monkeypatch.setenv(name, value)
    topology = topologies.get_topology_desc(platform="tpu", topology_name=chip)
    mesh = topologies.make_mesh(topology, (1, 2, 1, 2), AXES)
    placed = NamedSharding(mesh, P(BATCH, None, "tensor", None))
    q, k = (jax.ShapeDtypeStruct((2, size, 4, width), dtype, sharding=placed) for size in (s, m))
    gradient = jax.grad(lambda *a: attend(*a).astype(jnp.float32).sum(), (0, 1, 2))
    with jax.set_mesh(mesh):
        compiled = jax.jit(gradient).trace(q, k, k).lower(lowering_platforms=("tpu",)).compile()
    assert compiled.as_text().count("tpu_custom_call") >= 3  # forward, gradient of queries, gradient of keys and values
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * s * m  # less than one head's scores
