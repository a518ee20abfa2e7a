"""The process of interactive sessions: its worlds and plays. The server calls these functions in it.

It computes on the CPU: accelerators belong to the worker that samples.
"""

import io
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8

from sorajax.devices.compilation import enable_compilation_cache
from sorajax.errors import BadRequest
from sorajax.interactive.recording import Recording, begin
from sorajax.interactive.session import Player, open_player
from sorajax.interactive.terminal import LETTERS
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import read_policy
from sorajax.server.content import Content
from sorajax.server.engine import stored
from sorajax.server.jobs import Result
from sorajax.server.workers import end_with_parent


@dataclass(frozen=True)
class Setting:
    """The settings of the process. worlds: a name of `open_player` for each world of a request; files, data: where
    clips are stored, as for `Content`; policy: a policy file."""

    worlds: dict[str, str]
    files: str
    data: Path
    policy: Path | None


@dataclass(frozen=True)
class Begun:
    """The start of a play: frame rate, width and height, and the first frame as PNG."""

    fps: float
    width: int
    height: int
    frame: bytes


class Players:
    """The worlds that are open, and plays by name."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.worlds: dict[str, Player] = {}
        self.plays: dict[str, Recording] = {}


ONLY: list[Players] = []  # of this process


def start(setting: Setting, parent: int) -> None:
    """Prepares a process of its own, which ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the parent ends this one
    end_with_parent(parent)
    jax.config.update("jax_platforms", "cpu")
    enable_compilation_cache()
    prepare(setting)


def prepare(setting: Setting) -> None:
    """Prepares this process."""
    ONLY[:] = [Players(setting)]


def begin_play(name: str, world: str, prompt: str, seed: int) -> Begun:
    """Begins a play. Raises ValueError where the prompt names no object of a world that needs one."""
    (players,) = ONLY
    if world not in players.worlds:
        players.worlds[world] = open_player(players.setting.worlds[world])
    player = players.worlds[world]
    play = players.plays[name] = begin(player, world, prompt, seed)
    height, width = player.size
    return Begun(player.fps, width, height, png(play.frames[-1]))


def step(name: str, action: int) -> bytes:
    """The frame of a play after an action, as PNG."""
    return png(found(name).step(action))


def keep(name: str) -> tuple[Result, str]:
    """Stores the play as a clip, and also returns its keys, one letter per frame. Raises Refused, OSError."""
    (players,) = ONLY
    play, setting = found(name), players.setting
    letters = {action: letter for letter, action in LETTERS.items()}
    with tempfile.TemporaryDirectory() as folder:
        video = play.video(Safety(read_policy(setting.policy)))
        result = stored(Content(setting.files, setting.data), video, Path(folder) / f"{name}.mp4")
    return result, "".join(letters[action] for action in play.actions[1:])


def end(name: str) -> None:
    """Forgets a play."""
    (players,) = ONLY
    players.plays.pop(name, None)


def found(name: str) -> Recording:
    """A play by its name. Raises BadRequest for one that has ended, as all have when the process ends."""
    (players,) = ONLY
    if name not in players.plays:
        raise BadRequest("the process that plays was started again: begin a new play")
    return players.plays[name]


def png(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A frame as a file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, "png", compress_level=1)
    return out.getvalue()
