"""The time to load a transformer is measured only where all ways load the same parameters."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from dataclasses import replace

import jax
import pytest

from sorajax.evaluation import opening
from sorajax.models.sora import init_dit
from sorajax.pretrained.converted import ConvertedPart

pytest.importorskip("torch", reason="the parity extra is not installed")
pytest.importorskip("diffusers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

TINY = {"width": 24, "hidden": 40, "depth": 2, "heads": 2, "frequencies": 8}


def test_each_way_to_load_is_timed():
    found = opening.opening(1, **TINY)
    assert all(found[way] > 0 for way in opening.WAYS)
    config = replace(opening.known_config(opening.MODEL, opening.DTYPE).dit, **TINY)
    shapes = jax.eval_shape(lambda key: init_dit(config, key), jax.random.key(0))
    values = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert 2 * values < found["bytes"] < 4 * values  # biases and norms stay float32


def test_loading_is_not_timed_where_parameters_differ(monkeypatch):
    streamed = opening.streamed_source

    def otherwise(part, dtype):
        source = streamed(part, dtype)
        if isinstance(part, ConvertedPart):
            return source
        return source._replace(load=lambda *where: jax.tree.map(lambda leaf: leaf + 1, source.load(*where)))

    monkeypatch.setattr(opening, "streamed_source", otherwise)
    with pytest.raises(
        RuntimeError, match="converted files open with other values than the originals: nothing is timed"
    ):
        opening.opening(1, **TINY)
