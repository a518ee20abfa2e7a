"""Plays with a task: reach a marked side, then a height (`world/reaching.py`). The task is read from each frame, in
the learned world as in the simulator."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from sorajax.interactive.session import Player
from sorajax.world import reaching
from sorajax.world.actions import play_prompts, steered_scenes
from sorajax.world.reader.places import places

FEATURES = ("x", "height", "change of x", "change of height", "side", "side reached", "height reached")
LENGTH = 20
"""Frames of an episode, 2.5 seconds: at most 16 are needed."""


class Reaching:
    """A batch of plays, with tasks where prompts state them: in others there is nothing to reach. `progress` says what
    is reached, `frame` shows it with the marks."""

    def __init__(self, player: Player, prompts: Sequence[str], seed: int = 0):
        """Raises ValueError for a task that is unknown."""
        tasks = [reaching.parse_task(prompt) or (prompt, 0) for prompt in prompts]
        self.session = player.begin([scene for scene, _ in tasks], seed)
        self.place = places(self.session.frame)
        self.change = np.zeros_like(self.place)
        self.progress = reaching.begin(np.array([side for _, side in tasks]), self.place)

    def set_sides(self, sides: Int[np.ndarray, " b"]) -> None:
        """New tasks, with the sides -1 or 1, for plays that go on from where they are."""
        self.progress = reaching.Progress(sides, self.progress.rest, np.zeros_like(self.progress.stage))

    @property
    def frame(self) -> UInt8[np.ndarray, "b h w 3"]:
        """What is seen, with the marks."""
        return reaching.marked(self.session.frame, self.progress)

    def step(self, actions: Sequence[int]) -> Float[np.ndarray, " b"]:
        """The reward of one action for each play."""
        frame = self.session.step(actions)
        seen = places(frame)
        width = frame.shape[2] / min(frame.shape[1:3])
        self.progress, reward = reaching.follow(self.progress, seen, width)
        place = np.where(np.isnan(seen), self.place, seen)  # an object that is not seen is where it was
        self.change, self.place = place - self.place, place
        return reward

    def features(self) -> Float[np.ndarray, "b f"]:
        """What a policy may know, in the order of `FEATURES`: places and changes in units, the rest as numbers."""
        side, rest, stage = self.progress
        x, y = np.nan_to_num(self.place).T
        right, down = 8 * np.nan_to_num(self.change).T
        columns = (x, np.nan_to_num(rest) - y, right, -down, side, stage == reaching.AT_SIDE, stage == reaching.DONE)
        return np.stack(columns, 1).astype(np.float32)


def random_tasks(rng: np.random.Generator, num: int) -> list[str]:
    """Prompts of random scenes and sides."""
    sides = rng.choice(list(reaching.SIDES), num)
    return [
        reaching.task_prompt(scene, side)
        for scene, side in zip(play_prompts(steered_scenes(rng, num)), sides, strict=True)
    ]
