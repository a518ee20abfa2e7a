"""A step is bound by its slowest resource, on the chips of a topology that is known by its name."""

import pytest

from sorajax.devices.sharding import axes_text
from sorajax.training.ahead import CHIPS, StepPlan, Topology, alternatives, plan_step


def test_the_slowest_resource_bounds_the_step():
    step = StepPlan(10, 8e15, arguments=2**30, temporary=2**30, peak=2**31, collectives={"all-gather": (3, 10**9)})
    sides = step.seconds(CHIPS["v5e"], 8)
    assert sides["computing"] == pytest.approx(1e15 / 197e12)
    assert sides["memory"] == pytest.approx(2**32 / 819e9)
    assert sides["links"] == pytest.approx(1e9 / 200e9)
    assert [axes_text(sizes) for sizes in alternatives(8, 6)[:3]] == ["fsdp=8", "fsdp=4,seq=2", "fsdp=4,tensor=2"]
    assert Topology("v5p:4x4x4").chip.memory == 95 * 2**30
    assert (Topology("tpu7x:2x2x1").chip.memory, Topology("tpu7x:2x2x1").device) == (96 * 2**30, "half a tpu7x")
    assert callable(plan_step)
