"""The compilation cache is on by default, where the user or jax says; the CPU keeps memory, and options of its own."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from sorajax.devices.compilation import cache_folder, claim_memory, enable_compilation_cache, gradient_compiler_options

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


@pytest.mark.parametrize("said", [{}, {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}])
def test_gpu_memory_is_preallocated_unless_a_share_is_set(said, monkeypatch):
    environment = dict(said)
    monkeypatch.setattr(os, "environ", environment)
    claim_memory()
    assert environment == (said or {"XLA_CLIENT_MEM_FRACTION": "0.92"})


@pytest.mark.skipif(sys.platform != "linux", reason="XDG is a Linux convention")
def test_the_default_cache_is_the_users_cache_folder(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    enable_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "sorajax" / "compiled")
    assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 0
    assert jax.config.values["jax_persistent_cache_min_entry_size_bytes"] == -1


def test_a_cache_folder_set_by_the_user_is_kept(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    enable_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


def test_an_unwritable_home_only_disables_the_cache(unset, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sorajax.devices.compilation.cache_folder", lambda: tmp_path / "file")
    enable_compilation_cache()
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_without_xdg_the_cache_is_below_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Path.home() in cache_folder().parents


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="a C library without mallopt")
def test_cpu_memory_is_reused_between_steps():
    """Of a process that keeps it, most calls fault in no page; a few still do, where freed pieces lie badly."""
    program = """
import resource, statistics, sys
import jax, jax.numpy as jnp
from sorajax.devices.compilation import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
x = jnp.ones((3072, 8))  # their products take 36 MiB, more than what the C library ever keeps by itself
gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.tanh(x @ x.T))))
faults = []
for _ in range(20):
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


@pytest.fixture
def asked_anew():
    gradient_compiler_options.cache_clear()
    yield
    gradient_compiler_options.cache_clear()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the CPU's compiler")
def test_dot_products_are_excluded_from_cpu_library_fusions(asked_anew):
    def compiled(options):
        x = jnp.ones((7, 64, 384))
        return jax.jit(lambda x, y: jnp.sum(x * y, 1), compiler_options=options).lower(x, x).compile().as_text()

    if "ynn" not in compiled(None):
        pytest.skip("this jaxlib fuses no sum of products: where none does any more, gradient_compiler_options can go")
    assert "ynn" not in compiled(gradient_compiler_options())


def test_unknown_compiler_options_are_left_out(asked_anew, monkeypatch):
    monkeypatch.setattr("sorajax.devices.compilation.UNFUSED_PRODUCTS", {"xla_cpu_no_such_option": "1"})
    assert gradient_compiler_options() is None


def test_an_accelerator_has_no_options_of_the_cpu(asked_anew, monkeypatch):
    monkeypatch.setattr("sorajax.devices.compilation.jax.default_backend", lambda: "tpu")
    assert gradient_compiler_options() is None
