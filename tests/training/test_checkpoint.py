"""Checkpoints: what is restored is what was saved; damage is detected."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.devices.sharding import make_mesh, shardings
from sorajax.models.folder import to_json
from sorajax.training.checkpoint import Checkpoints, changes, fingerprints
from tests import ROOT


def state(seed: int):
    mesh = make_mesh("fsdp=8")
    values = np.random.default_rng(seed).normal(size=(64, 96)).astype(np.float32)
    kernel = jax.device_put(values, NamedSharding(mesh, P("fsdp")))
    return {"step": jnp.int32(seed), "up": {"kernel": kernel, "bias": jnp.ones(96, jnp.bfloat16)}}


def abstract(mesh):
    shapes = jax.eval_shape(lambda: state(0))
    where = shardings(shapes, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, where)


def save(directory, steps, metrics=None, keep=2):
    checkpoints = Checkpoints(directory, keep)
    for step in steps:
        checkpoints.save(step, state(step), {"depth": 3}, {"next_index": step}, (metrics or {}).get(step, 1.0))
    checkpoints.close()


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file() and "d" in path.parts), key=os.path.getsize)


def test_a_config_survives_json():
    @dataclass(frozen=True)
    class Strides:
        strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 1))

    said = to_json(Strides())
    assert changes(json.loads(json.dumps(said)), said) == ""


def test_restores_on_another_mesh_with_config_and_position(tmp_path):
    save(tmp_path, [1, 2])
    mesh = make_mesh("data=2,tensor=4")
    found = Checkpoints(tmp_path, read_only=True).restore(abstract(mesh))
    assert (found.step, found.config, found.data) == (2, {"depth": 3}, {"next_index": 2})
    assert tuple(found.state["up"]["kernel"].sharding.spec) == ("fsdp", "tensor")
    for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(state(2)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keeps_the_newest_and_the_best(tmp_path):
    save(tmp_path, [1, 2, 3, 4, 5], {1: 3.0, 2: 0.5, 3: 2.0}, keep=1)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.steps() == [2, 5]


def test_a_flipped_bit_is_detected_and_an_older_step_restored(tmp_path, capsys):
    save(tmp_path, [1, 2])
    path = largest_file(tmp_path / "2" / "state")
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(abstract(make_mesh("fsdp=8"))).step == 1
    said = capsys.readouterr().err
    assert "fell back to step 1" in said
    assert said.count("\n") == 1
    checkpoints.save(2, state(2), {}, {}, 1.0)  # training goes on over the damaged step
    checkpoints.wait()
    assert checkpoints.restore(abstract(make_mesh("fsdp=8"))).step == 2
    checkpoints.close()


def test_a_run_without_a_usable_checkpoint_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        Checkpoints(tmp_path / "empty").restore(abstract(make_mesh("fsdp=8")))
    save(tmp_path / "damaged", [1])
    (tmp_path / "damaged" / "1" / "state" / "manifest.ocdbt").unlink()
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be used \(step 1: ") as error:
        Checkpoints(tmp_path / "damaged").restore(abstract(make_mesh("fsdp=8")))
    assert "\n" not in str(error.value)


def test_a_fingerprint_depends_on_values_and_places_only():
    x = np.arange(64, dtype=np.float32).reshape(8, 8)
    mesh = make_mesh("fsdp=8")
    there = jax.device_put(x, NamedSharding(mesh, P("fsdp")))
    assert fingerprints(there) == fingerprints(jnp.array(x))
    assert fingerprints(jnp.array(x)) != fingerprints(jnp.array(x.T))


SAVER = """
import sys
from tests.training.test_checkpoint import state, Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep=3)
for step in range(1, 1000):
    checkpoints.save(step, state(step), {}, {}, 1.0)
    print(step, flush=True)
"""


def test_a_kill_while_saving_leaves_the_older_steps_whole(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stdout:
        if line.strip() == "4":
            break
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = Checkpoints(tmp_path, read_only=True).restore(abstract(make_mesh("fsdp=8")))
    assert found.step >= 3
    np.testing.assert_array_equal(found.state["up"]["kernel"], state(found.step)["up"]["kernel"])
