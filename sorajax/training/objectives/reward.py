"""Learning from a reward: the model samples clips, a function scores them, and good ones become likelier (DiffusionNFT,
Zheng et al. 2025, arXiv 2509.16117).

    v+ = b v + (1 - b) v_old          v- = (1 + b) v_old - b v          clean(v) = x_t - t v
    loss = r / b |clean(v+) - x_0|^2 / w+ + (1 - r) / b |clean(v-) - x_0|^2 / w- + k |v - v_start|^2

with x_0 a clip that v_old made, r in [0, 1] how good it is among the clips of its prompt, w the mean of |clean - x_0|
(stop-gradient). v_old is a moving average of the parameters, v_start the model that training begins from. Of a flow
map, a share of the velocities are mean velocities of its steps. Clips are sampled, decoded and scored by `collect`.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sorajax.data.worlds import WorldBatch
from sorajax.diffusion.fixed_frames import Latent
from sorajax.diffusion.flow import frame_time, interpolate
from sorajax.training.flow_map import Inputs
from sorajax.training.objectives.lora import LoRAStage
from sorajax.training.optimizer import Decay
from sorajax.training.rewards import optimality
from sorajax.training.rollout import Rollout, Rollouts, random_times
from sorajax.training.state import TrainState
from sorajax.training.step import Stage
from sorajax.training.student import WholeStudent
from sorajax.training.velocity import predict

OLD = "old"


@dataclass(frozen=True)
class RewardObjective:
    """How clips are sampled, and how strongly the model learns from them."""

    group: int = 16
    """Clips of each prompt; a batch of the data has as many prompts as clips."""
    steps: int = 4
    """Steps of a roll-out."""
    points: int = 2
    """Times of each clip that a step learns from."""
    strength: float = 0.5
    """b: smaller is faster and less stable."""
    kl: float = 0.02
    """k: weight of the penalty for leaving the initial model."""
    anchor: float = 0.0
    """Weight of plain flow matching on the data's own clips."""
    clip: float = 3.0
    """Standard deviations at which advantages are cut off."""
    old: tuple[float, float] = (0.01, 0.5)
    """Decay of the sampling policy v_old: its increase per update, and its highest value."""
    temperature: tuple[float, float] = (0.7, 1.0)
    """Range of the initial noise's standard deviation."""
    on_steps: float = 0.6
    """Share of times that are steps of the roll-out; for flow maps only."""

    def __post_init__(self) -> None:
        for name, least in (("group", 2), ("steps", 1), ("points", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"objective.{name} is {value}: it must be {least} or more")
        if self.strength <= 0:
            raise ValueError(f"objective.strength is {self.strength}: it must be above 0, e.g. 0.5")


@flax.struct.dataclass
class RewardStage(Stage):
    """A model that learns from the rewards of its own clips. `policy` determines what is trained and exported,
    `rollout` how clips are sampled, with the initial model."""

    rollout: Rollout
    policy: WholeStudent | LoRAStage
    objective: RewardObjective = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array) -> Any:
        return self.policy.init(key)

    def averages(self) -> dict[str, Decay]:
        rate, most = self.objective.old
        return {OLD: lambda updates: jnp.minimum(rate * updates, most)}

    def velocity(self, params: Any, inputs: Inputs, x: Latent, time: Array, until: Array | None) -> Any:
        return predict(self.policy.config, params, inputs.context, x, time, inputs.extra, inputs.positions, until)

    def collect(self, state: TrainState, batch: WorldBatch, key: jax.Array) -> Rollouts:
        objective, config = self.objective, self.policy.config
        many = partial(jax.tree.map, lambda x: jnp.tile(x, (objective.points, *[1] * (x.ndim - 1))))
        begin_key, noise_key, time_key = jax.random.split(key, 3)
        conditions, noise = self.rollout.conditions(batch, objective.group, begin_key)
        policy, start = self.policy.whole(state.averages[OLD]), self.rollout.model.params
        clean = self.rollout.clips(policy, conditions, noise)
        rewards = self.rollout.rewards(batch, objective.group, clean)
        generated = many(jnp.where(conditions.known.mask, 0.0, 1.0))
        inputs = Inputs(generated, many(conditions.context), many(conditions.extra), conditions.positions)
        share = objective.on_steps if config.is_flow_map else 0.0
        time, until = random_times(time_key, len(generated), conditions.times, share, config.shift)
        times = time * generated, until * generated if config.is_flow_map else None
        clean = many(clean)
        x = interpolate(clean, jax.random.normal(noise_key, clean.shape), times[0])
        old, reference = (self.velocity(whole, inputs, x, *times) for whole in (policy, start))
        good = many(optimality(rewards, objective.group, objective.clip))
        return Rollouts(x, clean, *times, good, old, reference, inputs, rewards, batch if objective.anchor else None)

    def loss(self, params: Any, batch: Rollouts, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        b, generated, whole = self.objective.strength, batch.inputs.generated, self.policy.whole(params)
        velocity = self.velocity(whole, batch.inputs, batch.x, batch.time, batch.until)

        def mean(x: Latent) -> Float[Array, " n"]:
            return jnp.sum(jnp.mean(x, (2, 3, 4)) * generated, 1) / jnp.sum(generated, 1)

        def distance(velocity: Latent) -> Float[Array, " n"]:
            error = batch.x - frame_time(batch.time) * velocity - batch.clean
            return mean(jnp.square(error)) / jnp.maximum(jax.lax.stop_gradient(mean(jnp.abs(error))), 1e-5)

        plus, minus = b * velocity + (1 - b) * batch.old, (1 + b) * batch.old - b * velocity
        good = batch.optimality
        policy = jnp.mean(good / b * distance(plus) + (1 - good) / b * distance(minus))
        kl = jnp.mean(mean(jnp.square(velocity - batch.start)))
        loss = policy + self.objective.kl * kl
        if batch.clips is not None:
            loss += self.objective.anchor * self.policy.flow.loss(whole, batch.clips, key)[0]
        return loss, {"reward": jnp.mean(batch.rewards), "kl": kl}

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        """The mean reward of one clip of each prompt."""
        clips = self.rollout.clips(self.policy.whole(params), *self.rollout.conditions(batch, 1, key))
        reward = jnp.mean(self.rollout.rewards(batch, 1, clips))
        return {"loss": -reward, "reward": reward}

    def compiler_options(self) -> dict[str, Any] | None:
        return self.policy.flow.compiler_options()

    def tokens(self, batch: WorldBatch) -> float:
        return self.objective.group * self.policy.flow.tokens(batch)

    def check(self, mesh: Mesh) -> None:
        self.policy.flow.check(mesh)

    def export(self, directory: Path, params: Any) -> None:
        self.policy.export(directory, params)

    def load(self, directory: Path) -> Any:
        return self.policy.load(directory)
