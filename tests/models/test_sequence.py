"""Attention over tokens that devices share: the ring's memory, and who does Ulysses and who a ring."""

from functools import partial

import jax
import numpy as np
import pytest

from sorajax.devices.sharding import make_mesh
from sorajax.models import attention, sequence, softmax


@pytest.mark.slow
def test_ring_attention_memory_does_not_grow_with_the_ring(monkeypatch):
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (1, 64, 3, 8)) for key in keys)
    whole = attention.attend(q, k, v)
    with jax.set_mesh(make_mesh("seq=8")):
        run = lambda: jax.jit(partial(attention.attend, spread=True))(q, k, v)  # noqa: E731
        np.testing.assert_allclose(run(), whole, atol=2e-6)
        monkeypatch.setattr(softmax, "SCORES_LIMIT", 50)
        jax.clear_caches()
        np.testing.assert_allclose(run(), whole, atol=2e-6)


@pytest.mark.parametrize(
    ("size", "heads", "expected"), [(8, 4, (4, 2)), (8, 3, (1, 8)), (4, 12, (4, 1)), (6, 4, (2, 3))]
)
def test_ulysses_is_over_as_many_devices_as_divide_the_heads(size, heads, expected):
    assert sequence.split(size, heads) == expected


def test_tokens_are_shared_where_the_axis_divides_them():
    mesh = make_mesh("data=2,seq=4")
    assert [sequence.ways(mesh, (2, tokens, 3, 8)) for tokens in (64, 60, 62)] == [4, 4, 1]
    assert sequence.ways(jax.sharding.AbstractMesh((), ()), (2, 64, 3, 8)) == 1
