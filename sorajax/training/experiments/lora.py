"""The experiment that trains low-rank adapters on a frozen transformer; see `objectives.lora` for the loss."""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grain
import jax
from jax.sharding import Mesh

from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch
from sorajax.devices.sharding import split_over_all_devices
from sorajax.models.folder import load_model
from sorajax.models.quantized import Bits, quantize
from sorajax.models.sora import EXPERTS, Expert, SoraConfig, init_dit, init_text
from sorajax.pretrained.conventions import Dtype, is_known
from sorajax.pretrained.lora import TARGETS
from sorajax.pretrained.open import finish_parameter, read_external_parts
from sorajax.pretrained.part import abstract_parameters
from sorajax.pretrained.wan_folder import is_open_model, open_config, open_model
from sorajax.training.experiments.flow import FlowRun, FlowTraining
from sorajax.training.experiments.start import at_hand, check_tunable, described
from sorajax.training.objectives.flow import FlowStage
from sorajax.training.objectives.lora import LoRAStage


@dataclass(frozen=True)
class LoRATraining(FlowRun):
    """An experiment: adapt a trained model to a style, a subject or a motion."""

    base: Path
    """The frozen model: an exported one, a training directory, a folder of open weights, or their name on the Hugging
    Face hub."""
    expert: Expert | None = None
    """Which expert of a model with two is adapted: high (noise) or low."""
    dtype: Dtype = "float32"
    """Type in which open weights are stored and multiplied."""
    quantize: Bits | None = None
    """Keeps the frozen kernels of the blocks in 8 bits and dequantizes them block by block (QLoRA, Dettmers et al.
    2023, with more bits); needs the extra `quantized`. The adapters work with the unquantized weights too."""
    rank: int = 16
    alpha: float = 16.0
    """The change of a weight is alpha / rank times B A. Raise alpha with the rank to keep the learning rate."""
    targets: str = TARGETS
    """A pattern of the layers that get adapters, e.g. self_attention/(q|v)."""

    def build(self, directory: Path) -> tuple[LoRAStage, grain.IterDataset]:
        """The stage, and its batches."""
        self = self._found()
        config = self._config()
        if (rate := getattr(self.data, "fps", config.fps)) != config.fps:  # an adapter cannot change the model's
            print(
                f"note: clips are read at {rate:g} frames a second, and the model makes {config.fps:g}: things will "
                f"move {config.fps / rate:.2g} times as fast; say --data.fps {config.fps:g}",
                file=sys.stderr,
            )
        flow, batches = self._flow(config).build(directory)  # first, so that a text encoder has left
        base = self._base(with_text=not flow.folder.frozen_text)
        return self._stage(base, flow), batches

    def held_out(self, stage: LoRAStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation."""
        return self._found()._flow(stage.flow.config).held_out(stage.flow, directory)

    def planned(self, mesh: Mesh) -> tuple[LoRAStage, list[WorldBatch]]:
        """As `FlowTraining.planned`; of open weights only the configs and headers are read, or their name."""
        self = replace(self, base=described(self.base))
        config = self._config()
        flow, batches = self._flow(config).planned(mesh)
        dtype: Dtype = "float32" if open_config(self.base) is None else self.dtype  # models of ours keep their type
        base = {"dit": abstract_parameters(init_dit, config.dit, dtype)}
        if bits := self.quantize:
            base["dit"] = jax.eval_shape(lambda params: quantize(params, bits), base["dit"])
        if not flow.folder.frozen_text:
            base["text"] = abstract_parameters(init_text, config.text, dtype)
        return self._stage(base, flow), batches

    def _found(self) -> "LoRATraining":
        """The experiment with the base's folder, downloaded where it is a name on the hub."""
        return replace(self, base=at_hand(self.base))

    def _stage(self, base: dict[str, Any], flow: FlowStage) -> LoRAStage:
        return LoRAStage(base=base, flow=flow, rank=self.rank, alpha=self.alpha, targets=self.targets)

    def _config(self) -> SoraConfig:
        """The frozen model's config. Raises ValueError where adapters of it cannot be trained."""
        config = open_config(self.base, self.dtype) or load_model(self.base, SoraConfig)[0]
        check_tunable(self.base, config, self.objective)
        return replace(config, dit=replace(config.dit, quantized=self.quantize is not None))

    def _base(self, with_text: bool) -> dict[str, Any]:
        """The frozen parameters."""
        names = ("text", "dit") if with_text else ("dit",)
        if is_open_model(self.base):
            parts = open_model(self.base, self.dtype).parts
            chosen = {name: EXPERTS[self.expert or "high"] if name == "dit" else name for name in names}
            return {
                name: parts[part].load(
                    self.dtype, split_over_all_devices(), partial(finish_parameter, (), self._bits(name))
                )
                for name, part in chosen.items()
            }
        params = load_model(self.base, SoraConfig)[1]
        if missing := set(names) - set(params):
            raise ValueError(f"{self.base} has {', '.join(missing)} from another model: give videos as data")
        return {
            name: params[name] if (bits := self._bits(name)) is None else quantize(params[name], bits) for name in names
        }

    def _bits(self, name: str) -> Bits | None:
        """Bits of the transformer's weights; the text encoder is not quantized, because it runs once."""
        return self.quantize if name == "dit" else None

    def _flow(self, config: SoraConfig) -> FlowTraining:
        """The training of the whole model that this one is part of, with the base's tokenizer."""
        large = is_known(self.base) or is_open_model(self.base) or "text" in read_external_parts(self.base)
        beforehand = large and isinstance(self.data, VideoData)
        return FlowTraining(
            model=config.dit,
            text=config.text,
            vae=self.base,
            frozen_text=self.base if beforehand else None,
            expert=self.expert,
            autoencoder=config.vae,
            **self.run_fields() | {"loop": replace(self.loop, start=self.base)},
        )
