"""Without PyTorch nothing is compared, which is no failure; what may take too long is not tried."""

import sys
from types import ModuleType

from sorajax.evaluation.proof import peer
from sorajax.evaluation.proof.figures import Setting
from sorajax.evaluation.proof.sizes import TOY


def test_missing_libraries_are_a_note(monkeypatch):
    monkeypatch.setattr(peer, "find_spec", lambda name: None)
    (piece,) = peer.pieces(Setting(TOY, 1.0)).values()
    (figure,) = piece()
    assert (figure.value, figure.failed) == (None, False)
    assert figure.note == "torch and diffusers not installed: nothing to compare with"


def test_a_compilation_that_may_take_too_long_is_not_tried(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))  # importing it takes seconds
    (figure,) = peer.SideBySide(Setting(TOY, 1.0), "cpu", end=0.0).whole(needed=10.0)
    assert (figure.value, figure.failed) == (None, False)
    assert figure.note.startswith("not tried: may take 10 s of -")
