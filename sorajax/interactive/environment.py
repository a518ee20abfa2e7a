"""Gymnasium environments: `sorajax/World-v0`, the learned world, and `sorajax/TrueWorld-v0`, the simulator; with a task
for each episode, `sorajax/Reach-v0` and `sorajax/TrueReach-v0`.

    import gymnasium
    world = gymnasium.make("sorajax/TrueWorld-v0", prompt="a red ball on a grey floor")

Observations are frames, uint8 [h w 3]; actions are 0 nothing, 1 left, 2 right, 3 jump. A prompt may state a task, as in
`world/reaching.py`: it is rewarded, and frames show a mark on what is to be reached. Other rewards are 0. An episode
lasts until it is truncated, also where its task is done. `gymnasium.make_vec` with
`vectorization_mode="vector_entry_point"` makes plays that go on together, in one session.
"""

from typing import Any

import gymnasium
import numpy as np

from sorajax.interactive.reaching import LENGTH, Reaching, random_tasks
from sorajax.interactive.session import Player, open_player
from sorajax.world.actions import ACTIONS, play_prompts, steered_scenes
from sorajax.world.reaching import parse_task

EPISODE = 480  # frames: a minute
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "World-v0": {"model": "play"},
    "TrueWorld-v0": {"model": "true"},
    "Reach-v0": {"model": "play", "task": True},
    "TrueReach-v0": {"model": "true", "task": True},
}


def drawn_prompts(prompt: str | None, task: bool, num: int, seed: int) -> list[str]:
    """The prompts of `num` plays: the given one, or random ones, with a task or without."""
    rng = np.random.default_rng(seed)
    if prompt is not None:
        return [prompt] * num
    return random_tasks(rng, num) if task else play_prompts(steered_scenes(rng, num))


class WorldEnv(gymnasium.Env):
    """A play of one object. Without a prompt each episode draws one; task: one that states a task."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 (as in Gymnasium's own)

    def __init__(
        self, model: str = "true", prompt: str | None = None, task: bool = False, render_mode: str | None = None
    ):
        """Raises ValueError for a prompt whose task is unknown."""
        parse_task(prompt or "")
        self.player: Player = open_player(model)
        self.prompt, self.task, self.render_mode = prompt, task, render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (*self.player.size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self.plays: Reaching | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = int(self.np_random.integers(2**31))
        prompts = drawn_prompts(self.prompt, self.task, 1, start)
        self.plays = Reaching(self.player, prompts, start)
        return self.plays.frame[0], {"prompt": prompts[0]}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.plays is not None, "call reset first"
        reward = float(self.plays.step([int(action)])[0])
        return self.plays.frame[0], reward, False, False, {}

    def render(self) -> Any:
        return None if self.plays is None or self.render_mode is None else self.plays.frame[0]


class WorldVectorEnv(gymnasium.vector.VectorEnv):
    """Plays that go on together. They end together, too: the step after the last one begins new plays."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        model: str = "true",
        prompt: str | None = None,
        task: bool = False,
        max_episode_steps: int = EPISODE,
    ):
        """Raises ValueError for a prompt whose task is unknown."""
        parse_task(prompt or "")
        self.player: Player = open_player(model)
        self.prompt, self.task, self.num_envs, self.length = prompt, task, num_envs, max_episode_steps
        self.single_observation_space = gymnasium.spaces.Box(0, 255, (*self.player.size, 3), np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self.plays: Reaching | None = None
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        start = int(self.np_random.integers(2**31))
        prompts = drawn_prompts(self.prompt, self.task, self.num_envs, start)
        self.plays, self.steps = Reaching(self.player, prompts, start), 0
        return self.plays.frame, {"prompt": np.array(prompts, object)}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        assert self.plays is not None, "call reset first"
        none = np.zeros(self.num_envs, bool)
        if self.steps >= self.length:
            seen, info = self.reset()
            return seen, np.zeros(self.num_envs), none, none.copy(), info
        self.steps += 1
        rewards = self.plays.step(np.asarray(actions).tolist()).astype(np.float64)
        return self.plays.frame, rewards, none, np.full(self.num_envs, self.steps >= self.length), {}


def register() -> None:
    """Registers the environments; Gymnasium calls it through the package's entry point."""
    for name, arguments in ENVIRONMENTS.items():
        gymnasium.register(
            name,
            f"{__name__}:{WorldEnv.__name__}",
            vector_entry_point=f"{__name__}:{WorldVectorEnv.__name__}",
            max_episode_steps=LENGTH if "task" in arguments else EPISODE,
            kwargs=arguments,
        )
