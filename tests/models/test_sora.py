"""Configs that no model can have are refused."""

from dataclasses import replace

import pytest

from sorajax.models.conditioning import FrameClocks, Replacement
from tests.conftest import TINY


def test_drop_conditioning_in_cfg_needs_a_time_per_frame():
    assert replace(TINY, drop_conditioning_in_cfg=True).conditioning == FrameClocks()
    with pytest.raises(
        ValueError,
        match=r"a clock per frame, and conditioning is replaced",
    ):
        replace(TINY, conditioning=Replacement(), drop_conditioning_in_cfg=True)


def test_a_window_keeps_at_most_the_latents_that_it_generates():
    with pytest.raises(ValueError, match="redo_latents -1 is not allowed: 0 keeps all"):
        replace(TINY, redo_latents=-1)
