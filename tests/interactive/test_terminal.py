"""A frame as text, and keys as actions."""

import os
import pty
import time

import numpy as np
import pytest

from sorajax.interactive import terminal
from sorajax.interactive.terminal import half_blocks, scripted, typed_actions
from sorajax.world.actions import JUMPS, NOTHING, TO_LEFT, TO_RIGHT


def test_a_character_is_two_pixels():
    frame = np.zeros((4, 3, 3), np.uint8)
    frame[0, 0], frame[1, 0] = (1, 2, 3), (4, 5, 6)
    lines = half_blocks(frame).split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("\x1b[38;2;1;2;3m\x1b[48;2;4;5;6m▀")
    assert [line.count("▀") for line in lines] == [3, 3]


def test_a_script_is_one_letter_a_frame():
    assert scripted("lrj.") == [TO_LEFT, TO_RIGHT, JUMPS, NOTHING]
    with pytest.raises(ValueError, match="'x' is no action: use l for left"):
        scripted("lx")


def test_keys_are_held_for_a_moment_and_q_quits(monkeypatch):
    main, other = pty.openpty()
    with os.fdopen(other, "r", closefd=True) as stdin:
        monkeypatch.setattr(terminal.sys, "stdin", stdin)
        import tty

        tty.setcbreak(stdin)
        actions = typed_actions(50.0)
        assert next(actions) == NOTHING
        os.write(main, b"\x1b[D")
        assert next(actions) == TO_LEFT
        assert next(actions) == TO_LEFT
        time.sleep(terminal.HELD)
        assert next(actions) == NOTHING
        os.write(main, b"w")
        assert next(actions) == JUMPS
        os.write(main, b"q")
        assert list(actions) == []
    os.close(main)
