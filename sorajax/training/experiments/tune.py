"""Fine-tunes all parameters of an open transformer on the user's videos, as `sorajax.training.experiments.flow` trains
one.

The text encoder is frozen and encodes each caption once; the autoencoder encodes each clip once, and an image-to-video
model's first frame with it. Only the transformer trains, or one of two experts. The exported model keeps the open
model's sampling settings.
"""

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

import grain
from jax.sharding import Mesh

from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch
from sorajax.models.folder import Storage
from sorajax.models.sora import Expert
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.wan_folder import open_config
from sorajax.training.experiments.flow import FlowRun, FlowTraining
from sorajax.training.experiments.start import at_hand, check_tunable, described
from sorajax.training.objectives.flow import FlowObjective, FlowStage


@dataclass(frozen=True)
class TuneTraining(FlowRun):
    """An experiment: fine-tune open weights."""

    base: Path
    """A folder of open weights, in either layout, or their name on the Hugging Face hub."""
    expert: Expert | None = None
    """Which expert of a model with two trains: high (noise) or low. Each needs its own run."""
    partner: Path | None = None
    """The run that trained the other expert, which the exported model uses; None takes the one in `base`."""
    dtype: Dtype = "bfloat16"
    """Type in which the transformer multiplies; parameters, their average and the optimizer's state stay float32."""
    remat: Literal["none", "dots", "full"] = "full"
    """The parts of each block that the backward pass recomputes (rematerialisation)."""
    storage: Storage = "bfloat16"
    """Type of the exported weights."""
    _: KW_ONLY
    objective: FlowObjective = FlowObjective(known=0.0)
    data: VideoData = VideoData()

    def build(self, directory: Path) -> tuple[FlowStage, grain.IterDataset]:
        """The stage, and its batches."""
        return self.flow(at_hand(self.base)).build(directory)

    def held_out(self, stage: FlowStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation."""
        return self.flow(at_hand(self.base)).held_out(stage, directory)

    def planned(self, mesh: Mesh) -> tuple[FlowStage, list[WorldBatch]]:
        """As `FlowTraining.planned`; only the configs and headers of the open weights are read, or their name."""
        return self.flow(described(self.base)).planned(mesh)

    def flow(self, base: Path) -> FlowTraining:
        """This training as a `FlowTraining` of the weights in a folder. Raises ValueError for weights that it cannot
        train."""
        if (config := open_config(base, self.dtype, remat=self.remat)) is None:
            raise ValueError(f"{base} is no folder of open weights: name one, or train as configs/videos_dit.py does")
        check_tunable(base, config, self.objective)
        return FlowTraining(
            model=config.dit,
            text=config.text,
            vae=base,
            frozen_text=base,
            expert=self.expert,
            partner=self.partner,
            autoencoder=config.vae,
            storage=self.storage,
            **self.run_fields() | {"loop": replace(self.loop, start=self.loop.start or base)},
        )
