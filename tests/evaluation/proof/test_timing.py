"""Figures of a timed program: speed by the formula's FLOPs, and a check of those that were counted."""

import pytest

from sorajax.evaluation.proof.figures import Setting
from sorajax.evaluation.proof.sizes import TOY
from sorajax.evaluation.proof.timing import compile_figure, counted, profiled, rates
from sorajax.evaluation.speed import Figures

FOUND = Figures(1.0, 2.0, 1.5, 100e12, 50e12, 0.25, None)


def test_speed_and_utilisation_count_the_formulas_flops():
    seconds, speed, utilisation = rates("step", FOUND, 80e12, 0.5, "aim")
    assert (seconds.value, seconds.note) == (2.0, "fastest 1.5 s")
    assert speed.value == pytest.approx(40)
    assert utilisation.value == pytest.approx(0.2)
    assert utilisation.met is False
    assert not utilisation.failed


def test_other_flops_than_the_formulas_are_an_error():
    assert not counted("step", FOUND, 100.5e12).failed
    assert counted("step", FOUND, 80e12).failed


def test_a_compiled_program_from_disk_is_said_so():
    assert compile_figure("step", 1.0, cached=True).note == "read from the cache on disk"
    assert compile_figure("step", 1.0, cached=False).note == ""
    assert not list(profiled(Setting(TOY, 1.0), "step", lambda: pytest.fail("it was called")))
