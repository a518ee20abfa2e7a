"""The experiment in which a trained model learns from a reward of its own clips; see `objectives.reward`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.models.folder import Storage, load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.lora import TARGETS
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.experiments.start import described
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.objectives.lora import LoRAStage
from sorajax.training.objectives.reward import RewardObjective, RewardStage
from sorajax.training.rewards import Judge, load_reward
from sorajax.training.rollout import Rollout
from sorajax.training.sampled import SampledModel
from sorajax.training.student import WholeStudent

WORLD_REWARD = "sorajax.world.reader.reward:accuracy"


@dataclass(frozen=True)
class RewardTraining:
    """An experiment: increase a reward of the model's own clips."""

    model: Path
    """The initial model: an exported one or a training directory. Distilled ones sample fastest."""
    reward: str = WORLD_REWARD
    """The function, as MODULE:FUNCTION. It takes uint8 clips [n t y x 3] and n prompts, and returns n numbers."""
    objective: RewardObjective = RewardObjective()
    known: float = 0.2
    """Share of prompts whose clips have conditioning frames, from the data's clips."""
    data: WorldData = WorldData(register="canonical", dropout=0.0)
    rank: int = 0
    """Rank of low-rank adapters, which are trained instead of the transformer; 0 trains the transformer."""
    alpha: float = 16.0
    targets: str = TARGETS
    """See `LoRATraining`."""
    latents: Path | None = None
    """Folder of encoded clips, as in `FlowTraining`."""
    encoded: int = 0
    validation: int = 4
    loop: LoopConfig = LoopConfig()
    storage: Storage = "float32"

    def build(self, directory: Path) -> tuple[RewardStage, grain.IterDataset]:
        """The stage, and its batches. Raises ValueError where the reward cannot be imported."""
        load_reward(self.reward)
        found, batches = self._frozen().build(directory)
        negative = jax.tree.map(lambda rows: jnp.asarray(rows[:1]), found.flow.prompts)
        return self._stage(found, negative), batches

    def held_out(self, stage: RewardStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation."""
        flow = stage.policy.flow
        frozen = LoRAStage(stage.rollout.model.params, flow, max(1, self.rank), self.alpha, self.targets)
        return self._frozen().held_out(frozen, directory)

    def planned(self, mesh: Mesh) -> tuple[RewardStage, list[WorldBatch]]:
        """As `FlowTraining.planned`. Raises ValueError where the reward cannot be imported."""
        load_reward(self.reward)
        found, batches = self._frozen().planned(mesh)
        text = {name: getattr(batches[0], name) for name in ("ids", "mask")}
        row = {name: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for name, x in text.items()}
        return self._stage(found, row), batches

    def _frozen(self) -> LoRATraining:
        """The frozen model with data, and with new adapters if those are trained."""
        config = self._config()
        return LoRATraining(
            base=self.model,
            rank=max(1, self.rank),
            alpha=self.alpha,
            targets=self.targets,
            objective=FlowObjective(
                known=self.known if config.conditioning.frame_clocks else 0.0, prompts=(config.negative,)
            ),
            data=self.data,
            latents=self.latents,
            encoded=self.encoded,
            validation=self.validation,
            loop=replace(self.loop, preview_every=0),
        )

    def _config(self) -> SoraConfig:
        config = load_model(described(self.model), SoraConfig)[0]
        return replace(config, dit=replace(config.dit, unroll=1))  # a loop compiles sooner, and batches are large

    def _stage(self, found: LoRAStage, negative: Any) -> RewardStage:
        config = self._config()
        folder = replace(found.flow.folder, storage=self.storage)
        flow = replace(found.flow, config=config, folder=folder)
        model = SampledModel(found.base, negative, jnp.float32(1.0), config)
        judge = Judge(self.reward, folder.tokenizer)
        return RewardStage(
            rollout=Rollout(model, flow, judge, self.objective.steps, self.objective.temperature),
            policy=replace(found, flow=flow) if self.rank else WholeStudent(found.base, flow),
            objective=self.objective,
        )
