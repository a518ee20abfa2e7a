"""A world in a terminal: frames as half blocks in 24-bit colours, and keys.

A terminal reports keys as they are pressed and repeated, not when they are released, so a key counts as held for
`HELD` seconds after its last report.
"""

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import UInt8

from sorajax.world.actions import JUMPS, NOTHING, TO_LEFT, TO_RIGHT

HELD = 0.3
KEYS = {
    "a": TO_LEFT,
    "d": TO_RIGHT,
    "w": JUMPS,
    " ": JUMPS,
    "\x1b[D": TO_LEFT,
    "\x1b[C": TO_RIGHT,
    "\x1b[A": JUMPS,
}
QUIT = ("q", "\x03", "\x04")
LETTERS = {"l": TO_LEFT, "r": TO_RIGHT, "j": JUMPS, ".": NOTHING}
"""Of a script of actions, one letter a frame."""


def half_blocks(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as text: each character is two pixels, one above the other."""
    lines = []
    for upper, lower in zip(frame[::2], frame[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]}m\x1b[48;2;{b[0]};{b[1]};{b[2]}m▀"
            for a, b in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def scripted(script: str) -> list[int]:
    """The actions of a script such as "rrrjll..". Raises ValueError for other letters."""
    if wrong := [letter for letter in script if letter not in LETTERS]:
        raise ValueError(f"{wrong[0]!r} is no action: use l for left, r for right, j for jump and . for nothing")
    return [LETTERS[letter] for letter in script]


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys arrive at once and are not shown, and the cursor is hidden; everything is as before afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    sys.stdout.write("\x1b[?25l\x1b[2J")
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write("\x1b[?25h\n")


def pressed(seconds: float) -> str:
    """What was typed within this time, "" for nothing."""
    ready, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
    return os.read(sys.stdin.fileno(), 32).decode(errors="ignore") if ready else ""


def typed_actions(fps: float) -> Iterator[int]:
    """The action of each frame, at most `fps` a second, until a key that quits."""
    action, last, due = NOTHING, 0.0, time.monotonic()
    while True:
        due = max(due + 1 / fps, time.monotonic())
        while True:
            keys = pressed(due - time.monotonic())
            if any(key in keys for key in QUIT):
                return
            for key, meaning in KEYS.items():
                if key in keys:
                    action, last = meaning, time.monotonic()
            if time.monotonic() >= due:
                break
        yield action if time.monotonic() - last < HELD else NOTHING
