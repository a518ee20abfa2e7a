"""What no model can be."""

from dataclasses import replace

import pytest

from tests.conftest import TINY


def test_guidance_away_from_what_does_not_know_needs_clocks():
    assert replace(TINY, drop_conditioning_in_cfg=True).known == "clock"
    with pytest.raises(ValueError, match=r"enter by replaced, .* set drop_conditioning_in_cfg to false"):
        replace(TINY, known="replaced", drop_conditioning_in_cfg=True)


def test_a_window_keeps_no_more_than_it_makes():
    with pytest.raises(ValueError, match="ahead -1 is not allowed: 0 keeps all"):
        replace(TINY, redo_latents=-1)
