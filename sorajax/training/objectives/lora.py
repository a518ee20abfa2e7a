"""Training low-rank adapters on a frozen transformer, with the loss of `objectives.flow`.

Only the adapters are trained, averaged and saved.
"""

from pathlib import Path
from typing import Any

import flax.struct
import jax
import numpy as np
from jax.sharding import Mesh

from sorajax.data.worlds import WorldBatch
from sorajax.models.sora import SoraConfig
from sorajax.pretrained.lora import init_adapters, load_lora, save_lora
from sorajax.pretrained.presets import flow_map_settings
from sorajax.training.objectives.flow import FlowStage
from sorajax.training.step import Stage

FILE = "lora.safetensors"


@flax.struct.dataclass
class LoRAStage(Stage):
    """Adapters learning velocities; `base` holds the frozen {"dit"} and, where captions come as tokens, {"text"};
    `flow` the objective and the rest."""

    base: Any
    flow: FlowStage
    rank: int = flax.struct.field(pytree_node=False)
    alpha: float = flax.struct.field(pytree_node=False)
    targets: str = flax.struct.field(pytree_node=False)
    makes_flow_map: bool = flax.struct.field(pytree_node=False, default=False)
    """Whether the adapters make a model that is none a flow map, with the settings of `config`."""

    @property
    def config(self) -> SoraConfig:
        """Config of the model that is adapted."""
        return self.flow.config

    def whole(self, adapters: Any) -> dict[str, Any]:
        """The model with the adapters beside its weights, as `predict` takes it."""
        return {**self.base, "adapters": times_b(adapters, self.alpha / self.rank)}

    def init(self, key: jax.Array) -> Any:
        return init_adapters(self.base["dit"], self.rank, self.targets, key)

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        return self.flow.loss(self.whole(params), batch, key)

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        return self.flow.validate(self.whole(params), batch, key)

    def check(self, mesh: Mesh) -> None:
        self.flow.check(mesh)

    def compiler_options(self) -> dict[str, Any] | None:
        return self.flow.compiler_options()

    def tokens(self, batch: WorldBatch) -> float:
        return self.flow.tokens(batch)

    def preview(self, params: Any, key: jax.Array) -> np.ndarray:
        return self.flow.preview(self.whole(params), key)

    def export(self, directory: Path, params: Any) -> None:
        """`lora.safetensors`, for `sorajax.sample --lora`."""
        metadata = {"rank": self.rank, "alpha": self.alpha, "targets": self.targets, "expert": self.flow.folder.expert}
        made = {"flow_map": flow_map_settings(self.config)} if self.makes_flow_map else {}
        save_lora(directory / FILE, params, self.config.dit, self.alpha, metadata | made)

    def load(self, directory: Path) -> Any:
        """The adapters in a file, or in a directory of an earlier run, of the same rank and layers."""
        files = [path for path in (directory, directory / FILE, directory / "model" / FILE) if path.is_file()]
        if not files:
            raise FileNotFoundError(f"{directory} holds no {FILE}: give an adapter, or a run that trained one")
        adapters = load_lora(files[0], self.flow.config.dit)
        return times_b(adapters, self.rank / self.alpha)  # the file's B has alpha / rank in it


def times_b(adapters: Any, factor: float) -> Any:
    """The adapters with their second matrices multiplied."""
    return jax.tree.map_with_path(lambda path, x: x * factor if path[-1].key == "b" else x, adapters)
