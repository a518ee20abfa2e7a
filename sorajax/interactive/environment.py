"""Gymnasium environments: `sorajax/World-v0`, the learned world, and `sorajax/TrueWorld-v0`, the simulator.

    import gymnasium
    world = gymnasium.make("sorajax/TrueWorld-v0", prompt="a red ball on a grey floor")

Observations are frames, uint8 [h w 3]; actions are 0 nothing, 1 left, 2 right, 3 jump. There is no task yet: rewards
are 0, and an episode lasts until it is truncated.
"""

from typing import Any

import gymnasium
import numpy as np

from sorajax.interactive.session import Player, Session, open_player
from sorajax.world.actions import ACTIONS, play_prompts, steered_scenes

EPISODE = 480  # frames: a minute
ENVIRONMENTS = {"World-v0": "play", "TrueWorld-v0": "true"}


class WorldEnv(gymnasium.Env):
    """A play of one object. Without a prompt each episode draws one."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 (as in Gymnasium's own)

    def __init__(self, model: str = "true", prompt: str | None = None, render_mode: str | None = None):
        self.player: Player = open_player(model)
        self.prompt, self.render_mode = prompt, render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (*self.player.size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self.session: Session | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = int(self.np_random.integers(2**31))
        prompt = self.prompt or play_prompts(steered_scenes(np.random.default_rng(start), 1))[0]
        self.session = self.player.begin([prompt], start)
        return self.session.frame[0], {"prompt": prompt}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.session is not None, "call reset first"
        return self.session.step([int(action)])[0], 0.0, False, False, {}

    def render(self) -> Any:
        return None if self.session is None or self.render_mode is None else self.session.frame[0]


def register() -> None:
    """Registers the environments; Gymnasium calls it through the package's entry point."""
    for name, model in ENVIRONMENTS.items():
        gymnasium.register(name, f"{__name__}:{WorldEnv.__name__}", max_episode_steps=EPISODE, kwargs={"model": model})
