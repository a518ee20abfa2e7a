"""The compilation cache is on by default, where the user or jax says; freed memory is kept where the CPU computes."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from sorajax.compilation import cache_folder, keep_compiled

OPTIONS = ("compilation_cache_dir", "persistent_cache_min_entry_size_bytes", "persistent_cache_min_compile_time_secs")


@pytest.fixture
def unset(monkeypatch):
    """jax as if nobody had configured its cache; restored afterwards."""
    before = {option: jax.config.values[f"jax_{option}"] for option in OPTIONS}
    for option in OPTIONS:
        monkeypatch.delenv(f"JAX_{option}".upper(), raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for option, value in before.items():
        jax.config.update(f"jax_{option}", value)


@pytest.mark.skipif(sys.platform != "linux", reason="XDG is a Linux convention")
def test_by_default_it_is_the_users_cache_folder(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "sorajax" / "compiled")
    assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 0
    assert jax.config.values["jax_persistent_cache_min_entry_size_bytes"] == -1


def test_a_folder_chosen_by_the_user_stays(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    keep_compiled()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


def test_a_home_that_cannot_be_written_only_costs_time(unset, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sorajax.compilation.cache_folder", lambda: tmp_path / "file")
    keep_compiled()
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_without_xdg_it_is_below_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Path.home() in cache_folder().parents


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="a C library without mallopt")
def test_a_gradient_finds_its_memory_where_it_left_it():
    """Of a process that keeps it, most calls fault in no page; a few still do, where freed pieces lie badly."""
    program = """
import resource, statistics, sys
import jax, jax.numpy as jnp
from sorajax.compilation import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
x = jnp.ones((1536, 1536))
gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.tanh(x @ x) @ jnp.tanh(x @ x))))
faults = []
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    gradient(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(statistics.median(faults[10:])))
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "XLA_FLAGS"))}

    def faults(how, **more):
        environment = clean | {"JAX_PLATFORMS": "cpu", **more}
        done = subprocess.run([sys.executable, "-c", program, how], env=environment, capture_output=True, text=True)
        return int(done.stdout)

    assert faults("kept") < 1000 < faults("plain")
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="131072") > 1000  # what the environment says stays
