"""A model's parts in memory: which are kept, which are evicted, and how many clips fit beside them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.devices.residency import WEIGHTS_SHARE, Parts


def parts(memory, **sizes):
    """Parts that are their own names."""
    return Parts({name: lambda name=name: name for name in sizes}, sizes, int(memory / WEIGHTS_SHARE))


def test_the_least_recently_used_part_is_evicted_first():
    made = parts(100, text=60, dit=30, vae=30)
    assert [made[name] for name in ("text", "dit", "vae")] == ["text", "dit", "vae"]
    assert list(made.loaded) == ["dit", "vae"]
    assert made["dit"] == "dit"
    assert list(made.loaded) == ["vae", "dit"]


def test_an_expert_is_evicted_first_for_the_other():
    made = parts(100, vae=10, dit=60, dit_low=60)
    for name in ("vae", "dit", "dit_low", "dit"):
        assert made[name] == name
        assert set(made.loaded) - {"vae"} <= {name}
        assert "vae" in made.loaded
    both = parts(200, vae=10, dit=60, dit_low=60)
    assert [both[name] for name in ("vae", "dit", "dit_low")] == ["vae", "dit", "dit_low"]
    assert len(both.loaded) == 3


def test_a_part_that_does_not_fit_alone_is_refused_and_a_pair_need_not_fit_together():
    with pytest.raises(ValueError, match=r"text takes 0.0 GB of 0.0 GB: use more devices, half the bytes with --dtype"):
        Parts({"text": lambda: None}, {"text": 101}, 100)
    Parts({}, {"dit": 90, "dit_low": 90}, 100)


def test_a_batch_reduces_the_memory_for_parts():
    made = parts(600, dit=100)  # of 1000
    assert [made.batch_that_fits(8, "dit", values) for values in (50, 60, 110, 210, 900)] == [8, 4, 2, 1, 1]
    assert Parts.of({"dit": 0}).batch_that_fits(8, "dit", 10**12) == 8


@pytest.mark.parametrize("room", [True, False])
def test_evicted_parts_stay_in_host_memory_if_there_is_room(monkeypatch, room):
    monkeypatch.setattr("sorajax.devices.residency.host_has_room", lambda size: room)
    read = []

    def load(name):
        read.append(name)
        return {"kernel": jnp.full((2, 3), len(name), jnp.bfloat16)}

    made = Parts({name: partial(load, name) for name in ("dit", "dit_low")}, {"dit": 60, "dit_low": 60}, 100)
    for name in ("dit", "dit_low") * 3:
        kernel = made[name]["kernel"]
        assert isinstance(kernel, jax.Array)
        assert kernel.dtype == jnp.bfloat16
        assert kernel[0, 0] == len(name)
        assert list(made.loaded) == [name]
    assert read == ["dit", "dit_low"] * (1 if room else 3)


def test_an_exported_model_loads_in_the_requested_dtype(tiny_model):
    own, small = sorajax.load(tiny_model), sorajax.load(tiny_model, dtype="bfloat16")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(dict(own.params))} == {"float32"}
    assert (small.config.dit.dtype, small.config.text.dtype) == ("bfloat16", "bfloat16")
    assert small.params["dit"]["blocks"]["self_attention"]["q"]["kernel"].dtype == "bfloat16"
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(small.params["vae"])} == {"float32"}
    frames = [next(iter(model("a red ball", frames=5, steps=2))).frames.astype(int) for model in (own, small)]
    assert 0 < np.abs(frames[0] - frames[1]).mean() < 4
