"""Checkpoints at an address that Orbax does not write: whole steps are there, others do not count."""

import uuid

import jax
import numpy as np

from sorajax.files import as_path, storage
from sorajax.training.checkpoint import Checkpoints
from sorajax.training.remote import WHOLE


def state(seed):
    return {"kernel": jax.numpy.full((4, 8), seed, np.float32)}


def test_steps_at_an_address_are_those_of_a_folder():
    address = as_path(f"memory://{uuid.uuid4()}/checkpoints")
    checkpoints = Checkpoints(address, keep=1)
    assert checkpoints.steps() == []
    for step, metric in ((1, 0.5), (2, 2.0), (3, 1.0)):
        checkpoints.save(step, state(step), {"depth": 3}, {"next_index": step}, metric)
        checkpoints.wait()
        assert (address / str(step) / WHOLE).is_file(), "it is there before the run ends"
    checkpoints.close()
    assert not (address / "2").exists(), "the best and the newest are kept"
    with storage(address) as (files, name):
        files.rm(f"{name}/3/{WHOLE}")  # as if it had been cut short
    again = Checkpoints(address, keep=1)
    found = again.restore(jax.eval_shape(lambda: state(0)))
    assert (found.step, found.data, again.steps()) == (1, {"next_index": 1}, [1])
    np.testing.assert_array_equal(found.state["kernel"], state(1)["kernel"])
    again.save(3, state(30), {}, {}, 0.1)
    again.close()
    assert Checkpoints(address, read_only=True).restore(jax.eval_shape(lambda: state(0))).state["kernel"][0, 0] == 30
    assert not (address / "1").exists()
