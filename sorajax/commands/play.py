"""Plays in a world: a prompt says what is steered, and keys steer it.

    python -m sorajax.play "a red ball on a grey floor"           arrows or a, d, w; q quits
    python -m sorajax.play "a blue star on navy" --world true     the simulator that the model learned from
    python -m sorajax.play "a red ball on grey" --keys rrrrjjjj.... --record play.mp4

Without a terminal, --keys gives the actions: l left, r right, j jump, . nothing, one letter a frame.

Exit codes: 0 done, 1 a file cannot be read or written, 2 an option is wrong, 130 interrupted.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from sorajax.commands.failures import Failure, attempt, complain, notes_printed
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest
from sorajax.interactive.terminal import half_blocks, raw_terminal, scripted, typed_actions
from sorajax.media.video import check_output
from sorajax.safety.finishing import Safety


@dataclass(frozen=True)
class PlayOptions:
    """What to play, and where the recording goes."""

    prompt: tyro.conf.Positional[str]
    """The steered object and the floor, e.g. "a red ball on a grey floor"."""
    world: str = "play"
    """`play`, the bundled model; the folder of a training run of configs/play_dit.py; or `true`, the simulator."""
    keys: str | None = None
    """Actions in place of a keyboard: l, r, j and . for nothing, one letter a frame."""
    record: Path | None = None
    """A file for the recording: mp4, gif or webp."""
    overwrite: bool = False
    """Replace the file of --record where it exists."""
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(PlayOptions, "python -m sorajax.play", argv, __doc__)
        with notes_printed():
            play(options)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BadRequest as error:
        return complain(error, 2)
    except Failure as error:
        return complain(error, 1)
    return 0


def play(options: PlayOptions) -> None:
    """Plays, and writes the recording. Raises BadRequest and Failure."""
    safety = Safety()
    safety.check_prompts([options.prompt])
    record = options.record
    if record is not None:
        attempt(lambda: check_output(record, options.overwrite))
    actions = None if options.keys is None else attempt(lambda: scripted(options.keys or ""))
    if actions is None and not sys.stdin.isatty():
        raise BadRequest("there is no keyboard here: give the actions with --keys, e.g. --keys rrrj....")
    from sorajax.interactive.recording import begin  # importing jax takes seconds
    from sorajax.interactive.session import open_player

    player = attempt(lambda: open_player(options.world))
    recording = attempt(lambda: begin(player, options.world, options.prompt, options.seed))
    begun = time.monotonic()
    if actions is None:
        with raw_terminal():
            for action in shown(typed_actions(player.fps), recording.frames):
                recording.step(action)
    else:
        for action in actions:
            recording.step(action)
    rate = (len(recording.frames) - 1) / max(time.monotonic() - begun, 1e-6)
    print(f"{len(recording.frames)} frames, {rate:.1f} frames/s")
    if record is not None:
        print(attempt(lambda: recording.video(safety).save(record, options.overwrite)))


def shown(actions: Iterator[int], frames: list[np.ndarray]) -> Iterator[int]:
    """The actions; before each, the last frame is drawn, with the number of frames a second."""
    begun = time.monotonic()
    for number, action in enumerate(actions):
        rate = number / max(time.monotonic() - begun, 1e-6)
        sys.stdout.write(f"\x1b[H{half_blocks(frames[-1])}\n{rate:.1f} frames/s   arrows: move, jump   q: quit\x1b[K")
        sys.stdout.flush()
        yield action
