"""Distilling a trained transformer into a flow map, which makes a clip in a few evaluations.

    loss = mean over pairs of  e / (sg(e) + c),    e = mean over generated frames of (u(x_t, t, r) - target)^2

The target is the mean velocity of the teacher's guided trajectory from t to r, see `training.flow_map`; guidance, with
the dropped prompt and the dropped conditioning frames, becomes part of the student. Conditioning frames stay at
t = r = 0. The student begins as the teacher, which it equals at r = t. The weight of a pair is that of improved
MeanFlow (Geng et al. 2025, arXiv 2512.02012). Trajectories are made inside the training step, by `collect`.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sorajax.data.worlds import WorldBatch
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.training.flow_map import (
    DERIVATIVES,
    Inputs,
    MeanVelocities,
    by_student,
    on_trajectories,
    random_pairs,
    random_points,
    trajectory,
)
from sorajax.training.objectives.lora import LoRAStage
from sorajax.training.sampled import SampledModel
from sorajax.training.state import TrainState
from sorajax.training.step import Stage
from sorajax.training.student import WholeStudent
from sorajax.training.velocity import predict


@dataclass(frozen=True)
class DistillObjective:
    """Which mean velocities of the teacher the student learns. Raises ValueError for values that cannot be."""

    target: Literal["trajectory", "jump", "derivative", "difference"] = "trajectory"
    """See `training.flow_map`. derivative (forward mode) and difference (central) make jumps at times above `calm`."""
    teacher_steps: int = 12
    """Steps of the teacher's trajectories."""
    sampler: Literal["unipc", "dpmpp_2m", "euler"] = "unipc"
    """The teacher's sampler."""
    pairs: int = 6
    """Pairs of times of each trajectory."""
    grids: tuple[int, ...] = (4, 4, 2, 1)
    """Numbers of steps from whose schedules the pairs come, each as often as it is named."""
    grid_share: float = 0.75
    """Share of pairs on those schedules; the others are between any two times."""
    noised: float = 0.15
    """Share of batches that begin below time 1, as edits do."""
    temperature: tuple[float, float] = (0.6, 1.0)
    """Range of the initial noise's standard deviation; half of the clips have the teacher's own."""
    guidance: tuple[float, float] | None = None
    """Range of guidance scales that the student reads as an input, see `SampledModel.at_random_scales`; None: one."""
    least_jump: float = 0.15
    calm: float = 0.75
    """The latest time at which derivatives are taken: above, those of a guided velocity are too large."""
    constant: float = 0.01
    """c of the loss."""

    def __post_init__(self) -> None:
        if wrong := [count for count in self.grids if count < 1 or self.teacher_steps % count]:
            raise ValueError(f"objective.grids has {wrong[0]}: use divisors of teacher_steps, {self.teacher_steps}")


@flax.struct.dataclass
class DistillStage(Stage):
    """A flow map learning from a teacher. `student` determines what is trained and exported, and has the data."""

    teacher: SampledModel
    student: WholeStudent | LoRAStage
    objective: DistillObjective = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array) -> Any:
        return self.student.init(key)

    def mean_velocity(self, params: Any, inputs: Inputs, x: Array, time: Array, until: Array) -> Any:
        """The student's mean velocity."""
        model = self.student.config, self.student.whole(params)
        return predict(*model, inputs.context, x, time, inputs.extra, inputs.positions, until)

    def collect(self, state: TrainState, batch: WorldBatch, key: jax.Array) -> MeanVelocities:
        return self.mean_velocities(self.objective, state.params, batch, key)

    def mean_velocities(self, objective: DistillObjective, params: Any, batch: WorldBatch, key: jax.Array) -> Any:
        """The mean velocities that the student learns, from new noise; `params` are the student's."""
        begin_key, pair_key, size_key = jax.random.split(key, 3)
        steps, on_teacher = objective.teacher_steps, objective.target == "trajectory"
        drawn = begin_key, steps, objective.noised, objective.temperature
        conditions, noise = self.teacher.conditions(self.student.flow, batch, *drawn)
        conditions = self.teacher.at_random_scales(conditions, jax.random.fold_in(key, 3), objective.guidance)
        teacher, known, b = self.teacher.velocity(conditions, noise), conditions.known, len(noise)
        generated, pairs = jnp.where(known.mask, 0.0, 1.0), objective.pairs if on_teacher else 1
        copies = partial(jax.tree.map, lambda x: jnp.tile(x, (pairs, *[1] * (x.ndim - 1))))
        text, extra = copies((conditions.context[:b], conditions.extra))
        inputs = Inputs(copies(generated), text, extra, conditions.positions)
        if on_teacher:
            x = self.teacher.config.conditioning.initial(known, noise)
            latents = trajectory(SAMPLERS[objective.sampler], teacher, x, conditions.times)
            chosen = random_pairs(pair_key, (pairs, b), steps, objective.grids, objective.grid_share)
            return MeanVelocities(on_trajectories(latents, conditions.times, generated, chosen), inputs)
        points = random_points(pair_key, known, noise, generated, self.teacher.config.shift)
        student = partial(self.mean_velocity, params, inputs)
        derivative = DERIVATIVES.get(objective.target)
        found = by_student(size_key, derivative, teacher, student, points, objective.least_jump, objective.calm)
        return MeanVelocities(found, inputs)

    def loss(self, params: Any, batch: MeanVelocities, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        error = self.error(params, batch)
        weighted = error / (jax.lax.stop_gradient(error) + self.objective.constant)
        return jnp.mean(weighted), {"error": jnp.mean(error)}

    def error(self, params: Any, batch: MeanVelocities) -> Float[Array, " n"]:
        """The mean squared error of each mean velocity."""
        (x, time, until, target), inputs = batch
        squares = jnp.square(self.mean_velocity(params, inputs, x, time, until) - target)
        return jnp.sum(jnp.mean(squares, (2, 3, 4)) * inputs.generated, 1) / jnp.sum(inputs.generated, 1)

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        """The error on steps of each number of steps, on trajectories of the teacher whatever the target is."""
        found, exact = {}, replace(self.objective, target="trajectory", grid_share=1.0, noised=0.0, pairs=1)
        for steps in sorted(set(self.objective.grids)):
            error = self.error(params, self.mean_velocities(replace(exact, grids=(steps,)), params, batch, key))
            found[f"error_{steps}_steps"] = jnp.mean(error)
        return {"loss": sum(found.values()) / len(found), **found}

    def compiler_options(self) -> dict[str, Any] | None:
        return self.student.flow.compiler_options()

    def tokens(self, batch: WorldBatch) -> float:
        return self.student.flow.tokens(batch)

    def check(self, mesh: Mesh) -> None:
        self.student.flow.check(mesh)

    def export(self, directory: Path, params: Any) -> None:
        """A model of few steps, or an adapter that makes the teacher one."""
        self.student.export(directory, params)

    def load(self, directory: Path) -> Any:
        return self.student.load(directory)
