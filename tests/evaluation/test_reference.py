"""The reference transformer is timed beside ours, and with our weights computes the same velocities and gradients."""

import pytest

from sorajax.evaluation.reference import compare
from sorajax.models.dit import DiTConfig

pytest.importorskip("torch", reason="the parity extra is not installed")
pytest.importorskip("diffusers", reason="the parity extra is not installed")


def test_the_reference_is_timed_beside_ours_and_agrees():
    config = DiTConfig(
        width=24, hidden=40, depth=2, heads=2, in_channels=4, out_channels=6, text_width=8, frequencies=8, remat="none"
    )
    found = compare(config, clips=2, latent=(3, 4, 6), tokens=5, repeats=2)
    assert set(found["versions"]) == {"torch", "diffusers"}
    assert found["threads"] >= 1
    for name in "forward", "forward_backward":
        part = found[name]
        assert part["ratio"] * part["seconds"] == pytest.approx(part["reference_seconds"])
        assert 0 < part["difference"] < 1e-4
