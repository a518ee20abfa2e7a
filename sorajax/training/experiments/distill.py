"""The experiment that distills a trained model into one of few evaluations; see `objectives.distill`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.models.folder import Storage, load_model
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.lora import TARGETS
from sorajax.pretrained.wan_folder import open_config
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.experiments.start import described
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.distill import DistillObjective, DistillStage
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.objectives.lora import LoRAStage
from sorajax.training.sampled import SampledModel
from sorajax.training.student import WholeStudent


@dataclass(frozen=True)
class DistillTraining:
    """An experiment: distill a model into a flow map, which samples in 1 to 8 evaluations without guidance."""

    teacher: Path
    """The model to learn from: an exported one, a training directory, a folder of open weights, or the name of such on
    the Hugging Face hub."""
    until_blocks: int = 3
    """How many of the last blocks read the time at which a step ends; about a third."""
    steps: int = 4
    """Default number of steps of the exported model."""
    negative_scale: float = 1.5
    """Guidance scale of the exported model for requests with a negative prompt."""
    rank: int = 0
    """Rank of low-rank adapters, which are trained instead of the transformer; 0 trains the transformer."""
    alpha: float = 16.0
    targets: str = TARGETS
    """See `LoRATraining`."""
    dtype: Dtype = "float32"
    """Type in which open weights are stored and multiplied."""
    objective: DistillObjective = DistillObjective()
    known: float = 0.4
    """Share of clips with conditioning frames."""
    data: WorldData | VideoData = WorldData()
    latents: Path | None = None
    """Folder of encoded clips, as in `FlowTraining`."""
    encoded: int = 0
    validation: int = 4
    loop: LoopConfig = LoopConfig()
    storage: Storage = "float32"

    def build(self, directory: Path) -> tuple[DistillStage, grain.IterDataset]:
        """The stage, and its batches."""
        found, batches = self._frozen().build(directory)
        negative = jax.tree.map(lambda rows: jnp.asarray(rows[:1]), found.flow.prompts)
        return self._stage(found, negative), batches

    def held_out(self, stage: DistillStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation."""
        adapted = LoRAStage(stage.teacher.params, stage.student.flow, self.rank, self.alpha, self.targets)
        return self._frozen().held_out(adapted, directory)

    def planned(self, mesh: Mesh) -> tuple[DistillStage, list[WorldBatch]]:
        """As `FlowTraining.planned`; of open weights only the configs and headers are read, or their name."""
        found, batches = self._frozen().planned(mesh)
        text = {name: getattr(batches[0], name) for name in ("ids", "mask", "context")}
        row = {k: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for k, x in text.items() if x is not None}
        return self._stage(found, row), batches

    def _frozen(self) -> LoRATraining:
        """The frozen teacher with data, and with new adapters if those are trained."""
        config = self._config()
        if config.boundary is not None:
            raise ValueError(f"{self.teacher} has two experts, and models of one transformer can be distilled")
        if config.is_flow_map:
            raise ValueError(f"{self.teacher} is distilled already: name the model that it was distilled from")
        if (scales := self.objective.guidance) is not None:
            if self.rank:
                raise ValueError(f"rank is {self.rank}: adapters read no guidance scale, leave out objective.guidance")
            if not 1 <= scales[0] <= config.guidance_scale <= scales[1]:
                raise ValueError(
                    f"objective.guidance is {scales[0]:g} to {scales[1]:g}: use a range from 1 up with the teacher's "
                    f"own scale, {config.guidance_scale:g}, in it"
                )
        known = self.known if config.conditioning.frame_clocks else 0.0
        return LoRATraining(
            base=self.teacher,
            dtype=self.dtype,
            rank=max(1, self.rank),
            alpha=self.alpha,
            targets=self.targets,
            objective=FlowObjective(known=known, prompts=(config.negative,)),
            data=self.data,
            latents=self.latents,
            encoded=self.encoded,
            validation=self.validation,
            loop=replace(self.loop, preview_every=0),
        )

    def _config(self) -> SoraConfig:
        """The teacher's. Raises ValueError for a folder that holds no model."""
        teacher = described(self.teacher)
        config = open_config(teacher, self.dtype) or load_model(teacher, SoraConfig)[0]
        return replace(config, dit=replace(config.dit, unroll=1))  # a loop compiles sooner, and batches are large

    def _stage(self, found: LoRAStage, negative: Any) -> DistillStage:
        config = self._config()
        student = replace(
            config,
            dit=replace(config.dit, until_blocks=self.until_blocks),
            steps=self.steps,
            guidance_scale=1.0,
            negative_scale=self.negative_scale,
            drop_conditioning_in_cfg=False,  # both nulls are in the student's velocity
        )
        if (scales := self.objective.guidance) is not None:
            dit = replace(student.dit, guidance=config.guidance_scale, guidance_range=scales)
            student = replace(student, dit=dit)
        folder = replace(found.flow.folder, storage=self.storage)
        flow = replace(found.flow, config=student, folder=folder)
        return DistillStage(
            teacher=SampledModel(found.base, negative, jnp.float32(config.guidance_scale), config),
            student=replace(found, flow=flow, makes_flow_map=True) if self.rank else WholeStudent(found.base, flow),
            objective=self.objective,
        )
