"""The student of a distillation that trains a whole transformer, with the interface of `objectives.lora.LoRAStage`."""

from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from sorajax.models.sora import SoraConfig, init_dit
from sorajax.training.objectives.flow import FlowStage


@flax.struct.dataclass
class WholeStudent:
    """A transformer that begins as the one in `base`, the frozen {"text", "dit"}; `flow` has its config and data."""

    base: Any
    flow: FlowStage

    @property
    def config(self) -> SoraConfig:
        return self.flow.config

    def whole(self, params: Any) -> dict[str, Any]:
        """The model with the text encoder beside the transformer, as `predict` takes it."""
        return {**self.base, **params}

    def init(self, key: jax.Array) -> Any:
        begin = jax.tree.map(lambda x: jnp.array(x, jnp.float32), self.base["dit"])
        if self.config.dit.guidance:  # the layers that read it, where the base has none
            begin = {**init_dit(self.config.dit, key), **begin}
        return {"dit": begin}

    def export(self, directory: Path, params: Any) -> None:
        """The model with its text encoder, where that is no part of another folder."""
        self.flow.export(directory, self.whole(params))

    def load(self, directory: Path) -> Any:
        return {"dit": self.flow.load(directory)["dit"]}
