"""Calls are timed alternately, figures are medians, and random parameters are nowhere zero."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from sorajax.devices.compilation import compiling_anew
from sorajax.devices.sharding import make_mesh
from sorajax.evaluation import speed
from sorajax.models.sora import init_dit
from tests.conftest import TINY


def test_calls_alternate_and_the_first_is_not_counted(monkeypatch):
    called, clock = [], iter([0, 9, 10, 19, 20, 21, 30, 33, 40, 42, 50, 56, 60, 63, 70, 79])
    monkeypatch.setattr(speed.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    found = speed.alternating({name: partial(called.append, name) for name in ("ours", "theirs")}, 3)
    assert called == ["ours", "theirs"] * 4
    assert found == {"ours": 2, "theirs": 6}


def test_utilisation_is_relative_to_the_devices_in_use(monkeypatch):
    monkeypatch.setattr(speed, "peak_flops", lambda: 100.0 * len(jax.devices()))
    program = jax.jit(lambda x: x @ x).lower(jnp.ones((8, 8))).compile()
    found = speed.summary(program, 1.0, [2.0, 1.0, 4.0], flops=100.0, devices=2)
    assert (found.seconds, found.fastest, found.flops_per_second) == (2.0, 1.0, 50.0)
    assert found.utilisation == pytest.approx(0.25)
    assert found.bytes >= 2 * 8 * 8 * 4


@pytest.mark.slow
def test_random_parameters_have_the_same_variance_on_accelerators(monkeypatch):
    drawn = {}
    for backend in "cpu", "gpu":
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        with jax.set_mesh(make_mesh("", jax.devices()[:1])):
            drawn[backend] = speed.random_on_device(partial(init_dit, TINY.dit), "bfloat16")
    assert jax.tree.structure(drawn["cpu"]) == jax.tree.structure(drawn["gpu"])
    hosts = jax.tree.leaves_with_path(drawn["cpu"])
    for (path, host), device in zip(hosts, jax.tree.leaves(drawn["gpu"]), strict=True):
        assert (host.shape, host.dtype, device.dtype) == (device.shape, jnp.bfloat16, jnp.bfloat16)
        mean, deviation = speed.distribution(path, host)
        margin = 5 * deviation / host.size**0.5 + 0.01
        assert all(abs(float(jnp.mean(x.astype(jnp.float32))) - mean) < margin for x in (host, device))


def test_temporary_values_count_as_memory():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.tanh(jnp.tanh(x @ x) @ x))))
    program = gradient.lower(jnp.ones((256, 256))).compile()
    assert speed.planned_bytes(program) >= 3 * 256 * 256 * 4  # one product at least lives beside argument and result


def test_the_compilation_cache_is_off_while_compile_time_is_measured():
    before = jax.config.jax_enable_compilation_cache
    with compiling_anew():
        assert not jax.config.jax_enable_compilation_cache
    assert jax.config.jax_enable_compilation_cache == before


def test_random_parameters_are_nowhere_zero():
    params = speed.random_parameters(partial(init_dit, TINY.dit))
    assert all((leaf != 0).all() for leaf in jax.tree.leaves(params))
