"""Training low-rank adapters on a frozen transformer, with the objective of `sorajax.training.flow`.

Parameters are the adapters alone: so are the optimizer's state, the average and what is saved.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.struct
import grain
import jax
import numpy as np
from jax.sharding import Mesh

from sorajax.checkpoint import load_model
from sorajax.data.batches import WorldBatch, WorldData
from sorajax.data.clips import VideoData
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.lora import TARGETS, adapted, init_adapters, load_lora, save_lora
from sorajax.pretrained.opened import Dtype, is_open_model, open_model
from sorajax.training.flow import FlowObjective, FlowStage, FlowTraining
from sorajax.training.loop import LoopConfig

FILE = "lora.safetensors"


@flax.struct.dataclass
class LoRAStage:
    """Adapters learning velocities; `base` holds the frozen {"text", "dit"}, `flow` the objective and the rest."""

    base: Any
    flow: FlowStage
    rank: int = flax.struct.field(pytree_node=False)
    alpha: float = flax.struct.field(pytree_node=False)
    targets: str = flax.struct.field(pytree_node=False)

    def whole(self, adapters: Any) -> dict[str, Any]:
        """The model with the adapters in it."""
        return {"text": self.base["text"], "dit": adapted(self.base["dit"], adapters, self.alpha / self.rank)}

    def init(self, key: jax.Array) -> Any:
        return init_adapters(self.base["dit"], self.rank, self.targets, key)

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        return self.flow.loss(self.whole(params), batch, key)

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        return self.flow.validate(self.whole(params), batch, key)

    def check(self, mesh: Mesh) -> None:
        self.flow.check(mesh)

    def tokens(self, batch: WorldBatch) -> float:
        return self.flow.tokens(batch)

    def preview(self, params: Any, key: jax.Array) -> np.ndarray:
        return self.flow.preview(self.whole(params), key)

    def export(self, directory: Path, params: Any) -> None:
        """`lora.safetensors`, for `sorajax.sample --lora`."""
        said = {"rank": self.rank, "alpha": self.alpha, "targets": self.targets}
        save_lora(directory / FILE, params, self.flow.config.dit, self.alpha, said)

    def load(self, directory: Path) -> Any:
        """The adapters in a file, or in a directory of an earlier run, of the same rank and layers."""
        found = [path for path in (directory, directory / FILE, directory / "model" / FILE) if path.is_file()]
        if not found:
            raise FileNotFoundError(f"{directory} holds no {FILE}: give an adapter, or a run that trained one")
        adapters = load_lora(found[0], self.flow.config.dit)
        undo = self.rank / self.alpha  # the file's B has alpha / rank in it
        return jax.tree.map_with_path(lambda path, x: x * undo if path[-1].key == "b" else x, adapters)


@dataclass(frozen=True)
class LoRATraining:
    """An experiment: adapt a trained model to a style, a subject or a motion."""

    base: Path
    """The model that stays frozen: an exported one, a training directory, or a folder of open weights."""
    dtype: Dtype = "float32"
    """What open weights are kept and multiplied in."""
    rank: int = 16
    alpha: float = 16.0
    """The change is alpha / rank times B A: raise it with the rank, and the learning rate can stay."""
    targets: str = TARGETS
    """A pattern of the layers that get adapters, e.g. self_attention/(q|v)."""
    objective: FlowObjective = FlowObjective()
    data: WorldData | VideoData = WorldData()
    latents: Path | None = None
    """Folder of encoded clips, as in `FlowTraining`."""
    encoded: int = 0
    validation: int = 4
    loop: LoopConfig = LoopConfig()

    def build(self, directory: Path) -> tuple[LoRAStage, grain.IterDataset]:
        """The stage, and its batches."""
        config, base = self._base()
        if config.known != "clock" and self.objective.known > 0:
            raise ValueError(f"{self.base} was trained with one clock for all frames and objective.known is "
                             f"{self.objective.known:g}: say --objective.known 0")  # fmt: skip
        if config.known == "channels" or config.boundary is not None:
            raise ValueError(f"{self.base} reads a picture on channels, or has two experts: only text-to-video models "
                             "of one transformer can be adapted so far")  # fmt: skip
        flow, batches = self._flow(config).build(directory)
        return LoRAStage(base=base, flow=flow, rank=self.rank, alpha=self.alpha, targets=self.targets), batches

    def _base(self) -> tuple[SoraConfig, dict[str, Any]]:
        """The frozen model's config and its {"text", "dit"}."""
        if is_open_model(self.base):
            opened = open_model(self.base, self.dtype)
            return opened.config, {name: opened.parts[name].load(self.dtype) for name in ("text", "dit")}
        config, params, _ = load_model(self.base, SoraConfig)
        return config, {name: params[name] for name in ("text", "dit")}

    def held_out(self, stage: LoRAStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation."""
        return self._flow(stage.flow.config).held_out(stage.flow, directory)

    def _flow(self, config: SoraConfig) -> FlowTraining:
        """The training of the whole model that this one is part of, with the base's tokenizer."""
        return FlowTraining(
            model=config.dit, text=config.text, vae=self.base, objective=self.objective, data=self.data,
            latents=self.latents, encoded=self.encoded, validation=self.validation,
            loop=replace(self.loop, start=self.base))  # fmt: skip
