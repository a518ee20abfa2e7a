"""What is kept, so that it need not be made again: compiled programs on disk, freed memory in the process, a GPU's
memory."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path

import jax

MALLOPT = {-8: 1, -4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3): one heap, which only grows."""

FRACTIONS = {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"}
SHARE = 0.92  # the rest is for the driver, and what draws on the screen

ALONE = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def keep_compiled() -> None:
    """Turns on jax's persistent compilation cache, for everything compiled, in the user's cache folder.

    `JAX_COMPILATION_CACHE_DIR` chooses another folder; `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = cache_folder() / "sorajax" / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # a home that cannot be written only costs compile time
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    for name, value in (("min_entry_size_bytes", -1), ("min_compile_time_secs", 0)):
        if f"JAX_PERSISTENT_CACHE_{name}".upper() not in os.environ:
            jax.config.update(f"jax_persistent_cache_{name}", value)


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, where the CPU computes: giving memory back after each call and asking for it again
    is a seventh of a gradient's time.

    To be called before JAX starts its threads. What MALLOC_* in the environment say stays, and so does a process that
    may feed an accelerator, whose threads want heaps of their own.
    """
    plugins = importlib.metadata.entry_points(group="jax_plugins") or importlib.util.find_spec("libtpu")
    elsewhere = plugins and os.environ.get("JAX_PLATFORMS") != "cpu"
    if sys.platform != "linux" or elsewhere or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in MALLOPT.items():
            library.mallopt(option, value)


def claim_memory() -> None:
    """Has JAX take nearly all of a GPU's memory, where it would take three quarters; to be called before it looks for
    devices. `XLA_CLIENT_MEM_FRACTION` chooses another share."""
    if not FRACTIONS & os.environ.keys():
        os.environ["XLA_CLIENT_MEM_FRACTION"] = str(SHARE)


@cache
def products_alone() -> dict[str, str] | None:
    """Compiler options for the gradient of a transformer; None where they are not known, or the CPU does not compute.

    Matrix products stay with the library that XLA leaves them to (YNNPACK), and what surrounds them does not: of the
    sums over tokens that such a gradient is full of, those that the library takes together with the products of
    numbers before them last five times as long. A gradient of convolutions is faster without these options.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=ALONE).lower().compile()
    except jax.errors.JaxRuntimeError:  # another jaxlib's compiler
        return None
    return ALONE


def cache_folder() -> Path:
    """Where this system keeps a user's caches."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
