"""Gymnasium environments: `sorajax/World-v0`, the learned world, and `sorajax/TrueWorld-v0`, the simulator.

    import gymnasium
    world = gymnasium.make("sorajax/TrueWorld-v0", prompt="a red ball on a grey floor")

Observations are frames, uint8 [h w 3]; actions are 0 nothing, 1 left, 2 right, 3 jump. There is no task yet: rewards
are 0, and an episode lasts until it is truncated. `gymnasium.make_vec` with `vectorization_mode="vector_entry_point"`
makes plays that go on together, in one session.
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


class WorldVectorEnv(gymnasium.vector.VectorEnv):
    """Plays that go on together. They end together, too: the step after the last one begins new plays."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int, model: str = "true", prompt: str | None = None, max_episode_steps: int = EPISODE):
        self.player: Player = open_player(model)
        self.prompt, self.num_envs, self.length = prompt, num_envs, max_episode_steps
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (*self.player.size, 3), np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self.session: Session | None = None
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = int(self.np_random.integers(2**31))
        prompts = play_prompts(steered_scenes(np.random.default_rng(start), self.num_envs))
        prompts = prompts if self.prompt is None else [self.prompt] * self.num_envs
        self.session, self.steps = self.player.begin(prompts, start), 0
        return self.session.frame, {"prompt": np.array(prompts, object)}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        assert self.session is not None, "call reset first"
        rewards, none = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        if self.steps >= self.length:
            seen, info = self.reset()
            return seen, rewards, none, none.copy(), info
        self.steps += 1
        seen = self.session.step(np.asarray(actions).tolist())
        return seen, rewards, none, np.full(self.num_envs, self.steps >= self.length), {}


def register() -> None:
    """Registers the environments; Gymnasium calls it through the package's entry point."""
    for name, model in ENVIRONMENTS.items():
        gymnasium.register(
            name,
            f"{__name__}:{WorldEnv.__name__}",
            vector_entry_point=f"{__name__}:{WorldVectorEnv.__name__}",
            max_episode_steps=EPISODE,
            kwargs={"model": model},
        )
