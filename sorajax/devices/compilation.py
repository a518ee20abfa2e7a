"""Process-wide settings of compiler and memory: the compilation cache, glibc's malloc, JAX's share of a GPU's memory,
compiler options."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from sorajax.files import cache_folder

MALLOPT = {-8: 1, -4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of mallopt(3): one heap that only grows."""

FRACTIONS = {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"}
SHARE = 0.92  # of a GPU's memory; the driver and the display need some

UNFUSED_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def enable_compilation_cache() -> None:
    """Turns on JAX's persistent compilation cache for all programs, however small, in the user's cache folder.

    `JAX_COMPILATION_CACHE_DIR` chooses another folder; `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off. A
    folder that cannot be written leaves it off.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = cache_folder() / "sorajax" / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # a read-only home only costs compile time
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    for name, value in (("min_entry_size_bytes", -1), ("min_compile_time_secs", 0)):
        if f"JAX_PERSISTENT_CACHE_{name}".upper() not in os.environ:
            jax.config.update(f"jax_persistent_cache_{name}", value)


@contextmanager
def compiling_anew() -> Iterator[None]:
    """Turns off the persistent compilation cache inside the block, so that compile times are not those of reading a
    file."""
    before = jax.config.values["jax_enable_compilation_cache"]
    reset_cache()  # jax checks only once whether there is a cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        reset_cache()


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory where the CPU computes: returning memory to the system after each call and
    allocating it again takes a seventh of a gradient's time.

    Call it before JAX starts its threads. It does nothing where the environment sets MALLOC_*, or where the process may
    feed an accelerator, whose threads need separate heaps.
    """
    plugins = importlib.metadata.entry_points(group="jax_plugins") or importlib.util.find_spec("libtpu")
    may_use_accelerator = plugins and os.environ.get("JAX_PLATFORMS") != "cpu"
    if sys.platform != "linux" or may_use_accelerator or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in MALLOPT.items():
            library.mallopt(option, value)


def claim_memory() -> None:
    """Lets JAX allocate 92 % of a GPU's memory instead of its default of 75 %.

    Call it before JAX initialises its devices. `XLA_CLIENT_MEM_FRACTION` in the environment chooses another share.
    """
    if not FRACTIONS & os.environ.keys():
        os.environ["XLA_CLIENT_MEM_FRACTION"] = str(SHARE)


@cache
def gradient_compiler_options() -> dict[str, str] | None:
    """XLA options for the gradient of a transformer on CPU; None on other platforms or where jaxlib lacks the option.

    With them XLA gives YNNPACK single matrix products only, instead of fusions around them: a transformer's gradient
    has many sums over tokens, and a sum that YNNPACK fuses with the elementwise product before it takes five times as
    long. The gradient of convolutions is faster without these options.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=UNFUSED_PRODUCTS).lower().compile()
    except jax.errors.JaxRuntimeError:  # this jaxlib's compiler lacks the option
        return None
    return UNFUSED_PRODUCTS
