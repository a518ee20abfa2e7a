"""What no model can be."""

from dataclasses import replace

import pytest

from sorajax.models.conditioning import FrameClocks, Replacement
from tests.conftest import TINY


def test_guidance_away_from_what_does_not_know_needs_clocks():
    assert replace(TINY, drop_conditioning_in_cfg=True).conditioning == FrameClocks()
    with pytest.raises(
        ValueError,
        match=r"a clock per frame, and conditioning is replaced",
    ):
        replace(TINY, conditioning=Replacement(), drop_conditioning_in_cfg=True)


def test_a_window_keeps_no_more_than_it_makes():
    with pytest.raises(ValueError, match="redo_latents -1 is not allowed: 0 keeps all"):
        replace(TINY, redo_latents=-1)
