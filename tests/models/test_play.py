"""Models to play that cannot be."""

from dataclasses import replace

import pytest

from sorajax.models.dit import DiTConfig
from sorajax.models.play import PlayConfig

DIT = DiTConfig(width=16, hidden=32, depth=1, heads=2, in_channels=4, out_channels=4, text_width=8, actions=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dit": replace(DIT, actions=0)}, "reads no actions: set dit.actions"),
        ({"steps": 0}, "steps 0 is not allowed: use 1 or more"),
        ({"temperature": 1.5}, "temperature 1.5 is not allowed: use 0 to 1"),
        ({"window": 1}, "window 1 is not allowed: use 2 or more"),
        (
            {"window": 3, "dit": replace(DIT, attended_frames=4)},
            "attended_frames 4 is not allowed: use 2 to the window, 3",
        ),
    ],
)
def test_models_to_play_that_cannot_be_are_refused(change, message):
    assert PlayConfig(DIT, window=2).steps == 2
    with pytest.raises(ValueError, match=message):
        PlayConfig(**{"dit": DIT, **change})
