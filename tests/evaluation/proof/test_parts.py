"""Every part is a module of the proof, and PyTorch, whose time cannot be predicted, comes last."""

from importlib.util import find_spec

from sorajax.evaluation.proof.parts import SECTIONS


def test_every_part_has_a_module_and_a_share_of_the_time():
    assert all(find_spec(f"sorajax.evaluation.proof.{section.module}") for section in SECTIONS.values())
    assert all(section.weight > 0 for section in SECTIONS.values())
    assert list(SECTIONS)[-1] == "torch"
