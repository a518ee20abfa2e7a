"""The compilation cache is on by default, where the user or jax says."""

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
