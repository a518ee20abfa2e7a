"""Where parameters lie: a mesh that divides the clip, and weights that are split where one device has no room."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from sorajax.devices.placement import ONE_DEVICE, Placement, choose_placement
from sorajax.devices.sharding import axes_text, make_mesh


def test_the_mesh_divides_the_clip():
    def axes(*model):
        chosen = choose_placement(None, *model, {"dit": 1}, 100, jax.devices())
        return axes_text(chosen.mesh.shape)

    assert axes(True, 384, 4) == "data=2,seq=4"
    assert axes(False, 384, 4) == "seq=8"
    assert axes(True, 6, 4) == "data=2,seq=2,tensor=2"
    assert axes(True, 5, 7) == "data=8"
    assert choose_placement(None, True, 384, 4, {}, 100, jax.devices()[:1]) == ONE_DEVICE


def test_a_chosen_mesh_splits_tokens_where_a_batch_does_not_divide():
    chosen, asked = (Placement(make_mesh("data=2,seq=2,tensor=2"), chosen=chosen) for chosen in (True, False))
    other = chosen.for_batch(3, 16)
    assert axes_text(other.mesh.shape) == "seq=4,tensor=2"
    assert list(other.mesh.devices.flat) == list(chosen.mesh.devices.flat)
    kernel = {"q": {"kernel": jax.ShapeDtypeStruct((16, 32), np.float32)}}
    for split in (True, False):
        before, after = (
            replace(one, split_weights=split).shardings(kernel)["q"]["kernel"].devices_indices_map((16, 32))
            for one in (chosen, other)
        )
        assert before == after
    assert chosen.for_batch(2, 16) is chosen
    assert chosen.for_batch(1, 6) is chosen
    assert asked.for_batch(1, 16) is asked
    assert ONE_DEVICE.for_batch(1, 16) is ONE_DEVICE


def test_weights_are_sharded_where_one_device_has_too_little_memory():
    sizes = {"text": 20, "dit": 30}
    small, large = (choose_placement("data=2,seq=4", True, 384, 4, sizes, memory) for memory in (100, 200))
    assert (small.split_weights, small.copies) == (True, 1)
    assert (large.split_weights, large.copies) == (False, 8)
    kernel = {"q": {"kernel": jax.ShapeDtypeStruct((16, 32), np.float32)}}
    assert small.shardings(kernel)["q"]["kernel"].shard_shape((16, 32)) == (2, 32)
    assert large.shardings(kernel)["q"]["kernel"].is_fully_replicated


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("data=3", r"^mesh data=3 does not fill 8 devices: .* must be that, e\.g\. data=2,seq=4$"),
        ("fast", "mesh part 'fast' is not axis=size"),
    ],
)
def test_a_mesh_that_cannot_be_is_one_line_with_one_that_can(mesh, message):
    with pytest.raises(ValueError, match=message):
        choose_placement(mesh, True, 384, 4, {}, 100, jax.devices())


def test_a_clip_that_the_users_mesh_does_not_divide_is_refused():
    asked = Placement(make_mesh("seq=8"), chosen=False)
    asked.check(16, 1)
    with pytest.raises(ValueError, match="mesh seq=8 does not divide 12 tokens: use seq=1, 2, 4"):
        asked.check(12, 1)
    Placement(make_mesh("seq=8"), chosen=True).check(12, 1)
    ONE_DEVICE.check(12, 1)
