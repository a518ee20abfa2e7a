"""A play of one world that keeps its frames and actions, so that it becomes a clip.

The first frame is the one after a first action, nothing: with the same world, prompt and seed the same actions make the
same frames.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from sorajax.interactive.session import Player, Session
from sorajax.media.video import Video
from sorajax.safety.finishing import Safety
from sorajax.world.actions import NOTHING


@dataclass
class Recording:
    """A play, and what was seen and done in it. world: the world's name, for the clip's metadata."""

    session: Session
    fps: float
    world: str
    prompt: str
    seed: int
    frames: list[UInt8[np.ndarray, "h w 3"]] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)

    def step(self, action: int) -> UInt8[np.ndarray, "h w 3"]:
        """The frame after an action. Raises ValueError for an action that there is not."""
        frame: UInt8[np.ndarray, "h w 3"] = self.session.step([action])[0]
        self.frames.append(frame)
        self.actions.append(action)
        return frame

    def video(self, safety: Safety) -> Video:
        """The play as a clip, with its actions in the metadata."""
        metadata = {"prompt": self.prompt, "seed": self.seed, "task": "play", "world": self.world}
        finishing = safety.made_from("play", ())
        return Video(np.stack(self.frames), self.fps, {**metadata, "actions": self.actions}, finishing=finishing)


def begin(player: Player, world: str, prompt: str, seed: int) -> Recording:
    """A play that begins. Raises ValueError where the prompt names no object of a world that needs one."""
    recording = Recording(player.begin([prompt], seed), player.fps, world, prompt, seed)
    recording.step(NOTHING)  # compiles
    return recording
