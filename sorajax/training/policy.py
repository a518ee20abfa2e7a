"""Training a small policy for the task of `interactive/reaching.py` in one world, by proximal policy optimization.

The policy is a network of two hidden layers that reads the instrument's features of a frame, not its pixels, and gives
logits of the actions and the value. With the ratio r of new to old probabilities of an action and its advantage A
(Schulman et al. 2017, eq. 7, and 2016, eq. 16):

    loss = -mean(min(r A, clip(r, 1 - clip, 1 + clip) A)) + mean((value - target)^2) / 2 - entropy * H
    A_n  = sum over l of (discount trace)^l (reward + discount value_next - value)_{n+l}
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from sorajax.interactive.reaching import FEATURES, LENGTH, Reaching, random_tasks
from sorajax.interactive.session import Player
from sorajax.world.actions import ACTIONS
from sorajax.world.reaching import SIDES

Act = Callable[[Float[np.ndarray, "b f"], int], Int[np.ndarray, " b"]]
"""(features, frame of the episode) -> actions."""
MIRRORED = np.array([-1 if name in ("x", "change of x", "side") else 1 for name in FEATURES], np.float32)
MIRROR = np.array([ACTIONS.index({"left": "right", "right": "left"}.get(name, name)) for name in ACTIONS])
"""Mirrored actions: the world is symmetric, so each frame is also used mirrored."""


@dataclass(frozen=True)
class PolicyConfig:
    """The network, and how it is trained."""

    width: int = 64
    plays: int = 8
    """Episodes that run in parallel, for one update."""
    episodes: int = 4
    """Episodes of each play, one after the other from where it is: beginning a play costs as much as an episode."""
    frames: int = 3_200
    """Frames of the world in all."""
    learning_rate: float = 3e-3
    epochs: int = 12
    """Times that each update goes through its frames."""
    batch: int = 80
    discount: float = 0.95
    trace: float = 0.9
    clip: float = 0.2
    entropy: float = 0.01

    @property
    def updates(self) -> int:
        return max(1, self.frames // (self.plays * LENGTH))


class Policy(nn.Module):
    """Logits of the actions, and the value of the features."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b f"]) -> tuple[Float[Array, "b a"], Float[Array, " b"]]:
        for layer in range(2):
            x = nn.tanh(nn.Dense(self.width, name=f"hidden_{layer}")(x))
        small = nn.initializers.normal(0.01)
        logits = nn.Dense(len(ACTIONS), kernel_init=small, name="logits")(x)
        return logits, nn.Dense(1, kernel_init=small, name="value")(x)[:, 0]


class Frames(NamedTuple):
    """The training data of an update, one row per frame."""

    features: Float[np.ndarray, "n f"]
    actions: Int[np.ndarray, " n"]
    logs: Float[np.ndarray, " n"]
    """Logarithms of the probabilities with which the actions were drawn."""
    advantages: Float[np.ndarray, " n"]
    targets: Float[np.ndarray, " n"]


class Episode(NamedTuple):
    """Observations, actions and rewards of episodes that run in parallel."""

    features: Float[np.ndarray, "t b f"]
    actions: Int[np.ndarray, "t b"]
    rewards: Float[np.ndarray, "t b"]
    stage: Int[np.ndarray, " b"]
    """The stage of the task at the end."""


def begin(player: Player, num: int, seed: int) -> Reaching:
    """Plays with random tasks."""
    return Reaching(player, random_tasks(np.random.default_rng(seed), num), seed)


def play(plays: Reaching, act: Act) -> Episode:
    """An episode of each play."""
    seen, done, paid = list[Any](), list[Any](), list[Any]()
    for frame in range(LENGTH):
        seen.append(plays.features())
        done.append(act(seen[-1], frame))
        paid.append(plays.step(done[-1].tolist()))
    return Episode(np.stack(seen), np.stack(done), np.stack(paid), plays.progress.stage)


def returns(rewards: Float[np.ndarray, "t b"], discount: float) -> Float[np.ndarray, " b"]:
    """The discounted sum of the rewards of each episode."""
    return discount ** np.arange(len(rewards)) @ rewards


def train(player: Player, config: PolicyConfig, seed: int) -> tuple[Any, list[float]]:
    """Parameters of a policy that was trained in one world, and the mean return of the episodes of each update."""
    key = jax.random.key(seed)
    network, rng = Policy(config.width), np.random.default_rng(seed)
    params = network.init(key, jnp.zeros((1, len(FEATURES))))["params"]
    optimizer = optimizer_of(config)
    state, history = optimizer.init(params), list[float]()
    for number in range(config.updates):
        if number % config.episodes == 0:
            plays = begin(player, config.plays, int(rng.integers(2**31)))
        else:
            plays.set_sides(rng.choice(list(SIDES.values()), config.plays))
        episode = play(plays, partial(drawn, config, params, jax.random.fold_in(key, number)))
        history.append(float(returns(episode.rewards, config.discount).mean()))
        frames = frames_of(config, params, episode)
        for _ in range(config.epochs):
            order = rng.permutation(len(frames.actions))
            for start in range(0, len(order) - config.batch + 1, config.batch):
                rows = order[start : start + config.batch]
                batch = Frames(*(leaf[rows] for leaf in frames))
                params, state = update(config, params, state, batch)
    return params, history


def optimizer_of(config: PolicyConfig) -> optax.GradientTransformation:
    """Adam with gradients of at most unit norm; the rate falls to zero."""
    steps = config.updates * config.epochs * (2 * config.plays * LENGTH // config.batch)
    rate = optax.linear_schedule(config.learning_rate, 0.0, max(1, steps))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


@partial(jax.jit, static_argnums=0)
def evaluated(config: PolicyConfig, params: Any, features: Float[Array, "b f"]) -> Any:
    """Logarithms of the actions' probabilities, and values."""
    logits, value = Policy(config.width).apply({"params": params}, features)  # type: ignore[misc]
    return jax.nn.log_softmax(logits), value


def drawn(config: PolicyConfig, params: Any, key: Array, features: Any, frame: int) -> Int[np.ndarray, " b"]:
    """Actions drawn from the policy."""
    return np.asarray(jax.random.categorical(jax.random.fold_in(key, frame), evaluated(config, params, features)[0]))


def likeliest(config: PolicyConfig, params: Any, features: Any, frame: int) -> Int[np.ndarray, " b"]:
    """The action with the highest probability."""
    return np.asarray(evaluated(config, params, features)[0]).argmax(-1)


def frames_of(config: PolicyConfig, params: Any, episode: Episode) -> Frames:
    """The frames of episodes and their mirror images, with advantages (of mean 0 and variance 1) and the value's
    targets."""
    t, b = episode.actions.shape
    flat = episode.features.reshape(t * b, -1)
    value = np.asarray(evaluated(config, params, flat)[1])
    value = np.concatenate([value.reshape(t, b), np.zeros((1, b), np.float32)])  # an episode ends with its length
    error = episode.rewards + config.discount * value[1:] - value[:-1]
    advantage = np.zeros_like(error)
    for n in reversed(range(t)):
        later = advantage[n + 1] if n + 1 < t else 0.0
        advantage[n] = error[n] + config.discount * config.trace * later
    targets = (advantage + value[:-1]).reshape(-1)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    features = np.concatenate([flat, flat * MIRRORED])
    actions = np.concatenate([episode.actions.reshape(-1), MIRROR[episode.actions.reshape(-1)]])
    logs = np.asarray(evaluated(config, params, features)[0])[np.arange(2 * t * b), actions]
    return Frames(features, actions, logs, np.tile(scaled.reshape(-1), 2), np.tile(targets, 2))


@partial(jax.jit, static_argnums=0)
def update(config: PolicyConfig, params: Any, state: Any, batch: Frames) -> tuple[Any, Any]:
    """Parameters and the optimizer's state after one step."""

    def loss(params: Any) -> Array:
        logs, value = evaluated(config, params, batch.features)
        chosen = jnp.take_along_axis(logs, batch.actions[:, None], 1)[:, 0]
        ratio = jnp.exp(chosen - batch.logs)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        gain = jnp.minimum(ratio * batch.advantages, clipped * batch.advantages)
        entropy = -jnp.sum(jnp.exp(logs) * logs, -1)
        return jnp.mean(jnp.square(value - batch.targets) / 2 - gain - config.entropy * entropy)

    changes, state = optimizer_of(config).update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, changes), state
