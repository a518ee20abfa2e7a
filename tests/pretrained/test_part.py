"""Parts that are not loaded yet: their size, the dtype of each parameter, and how much memory loading takes."""

from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import jax
import numpy as np
import pytest

from sorajax.models.folder import write_shards
from sorajax.models.sora import init_text
from sorajax.models.text import TextConfig
from sorajax.pretrained import export, wan
from sorajax.pretrained.part import Part, map_parameters
from sorajax.pretrained.safetensors import Tensors


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what a process holds")
def test_loading_needs_host_memory_for_two_more_tensors_at_most(tmp_path):
    """A text encoder of 0.2 GB in float32, in shards, comes into bfloat16: files are mapped, not read into memory."""
    config = TextConfig(vocabulary=20_000, width=512, hidden=2048, depth=8, heads=8, head_width=64)
    rows = wan.text_table(config)
    shapes = jax.eval_shape(lambda key: init_text(config, key), jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)  # costs no memory: nobody writes them
    write_shards(tmp_path, "model", export.export_tensors(rows, zeros), 25 * 10**6)
    part = Part(rows, lambda: wan.untied(Tensors(tmp_path)), init_text, config)
    assert len(list(tmp_path.glob("*.safetensors"))) > 5
    before, most, done = held(), 0, Event()

    def watch():
        nonlocal most
        while not done.wait(0.002):
            most = max(most, held())

    watcher = Thread(target=watch)
    watcher.start()
    params = jax.block_until_ready(part.load("bfloat16"))
    done.set()
    watcher.join()
    weights, largest = part.bytes("bfloat16"), 4 * max(leaf.size for leaf in jax.tree.leaves(shapes))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(params)) == weights
    print(f"{(most - before - weights) / 1e6:.0f} MB beside {weights / 1e6:.0f} MB of parameters")
    assert most - before - weights < 3 * largest


def held() -> int:
    """Bytes of memory of this process that are not pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


SHAPES = {
    "blocks": {"q": {"kernel": (2, 8, 8), "bias": (2, 8)}, "norm": {"scale": (2, 8)}},
    "time_in": {"kernel": (4, 8)},
    "out": {"kernel": (8, 3), "bias": (3,)},
}


def init(config, key):
    return jax.tree.map(np.zeros, SHAPES, is_leaf=lambda shape: isinstance(shape, tuple))


def part_of(**tensors):
    return Part([], lambda: tensors, init, None)


def test_matrices_have_the_dtype_and_norms_biases_and_time_are_float32():
    shapes = part_of().abstract("bfloat16")
    assert shapes["out"]["kernel"].dtype == "bfloat16"
    assert shapes["time_in"]["kernel"].dtype == "float32"
    assert shapes["out"]["bias"].dtype == "float32"
    exact = replace(part_of(), keep_float32=True)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(exact.abstract("bfloat16"))} == {"float32"}


def test_bytes_are_those_of_each_parameters_dtype():
    small, rest = 8 * 3 + 2 * 2 * 8, 4 * (4 * 8 + 3)  # in bfloat16: matrices, and the blocks' stacked vectors
    assert part_of().bytes("bfloat16") == 2 * (2 * 8 * 8 + small) + rest
    assert part_of().bytes("bfloat16", "int8") == 2 * 8 * 8 + 2 * small + rest


def test_a_signature_depends_on_names_and_norms_alone():
    one = part_of(norm=np.ones(3), kernel=np.ones(4))
    assert one.signature() == part_of(kernel=np.zeros(4), norm=np.ones(3)).signature()
    assert one.signature() != part_of(norm=np.zeros(3), kernel=np.ones(4)).signature()
    assert one.signature() != part_of(norm=np.ones(3), other=np.ones(4)).signature()


def test_tensors_of_another_model_are_refused():
    with pytest.raises(ValueError, match="kernel"):
        part_of(kernel=np.ones(4)).check()


def test_parameters_are_replaced_by_their_paths():
    made = map_parameters({"a": {"b": 1}, "c": 2}, lambda name, value: f"{name} {value}")
    assert made == {"a": {"b": "a/b 1"}, "c": "c 2"}
