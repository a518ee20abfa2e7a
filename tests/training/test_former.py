"""Command lines, configs and checkpoints of the version before are still read."""

import pytest

from sorajax.errors import Note
from sorajax.training.checkpoint import changes
from sorajax.training.experiments import load_experiment
from sorajax.training.former import FORMER, present_arguments, present_name
from tests import ROOT


def test_former_options_are_replaced_with_a_note():
    with pytest.warns(Note, match="--objective.guide-known is --objective.drop-conditioning-in-cfg now"):
        found = present_arguments(["--objective.guide-known", "--data.buckets.3.seen=9", "--data.ahead", "2"])
    assert found == ["--objective.drop-conditioning-in-cfg", "--data.buckets.3.window-frames=9", "--data.prefetch", "2"]
    assert present_arguments(["--objective.known", "0.4", "runs/ahead"]) == ["--objective.known", "0.4", "runs/ahead"]


def test_every_former_field_maps_to_one_that_exists():
    experiment = load_experiment(ROOT / "configs" / "world_dit.py")
    for former in (pattern.replace("\\", "").replace("(d+)", "0") for pattern in FORMER):
        value = experiment
        for name in present_name(former).split("."):
            value = value[int(name)] if name.isdigit() else getattr(value, name)


def test_a_renamed_field_does_not_count_as_a_change():
    assert changes({"objective": {"reach": 4}}, {"objective": {"max_anchor_gap": 4}}) == ""
    assert "4 -> 5" in changes({"objective": {"reach": 4}}, {"objective": {"max_anchor_gap": 5}})
