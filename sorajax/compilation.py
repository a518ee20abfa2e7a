"""What XLA has compiled once is kept on disk: a second run of the same program starts in seconds."""

import os
import sys
from pathlib import Path

import jax


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


def cache_folder() -> Path:
    """Where this system keeps a user's caches."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
