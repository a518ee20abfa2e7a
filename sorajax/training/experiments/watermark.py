"""The experiment that trains the watermark: cover clips, objective and loop; see `objectives.watermark`."""

from dataclasses import dataclass, replace
from pathlib import Path

import grain

from sorajax.data.covers import CoverData
from sorajax.data.worlds import WorldBatch
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.watermark import WatermarkObjective, WatermarkStage


@dataclass(frozen=True)
class WatermarkTraining:
    """An experiment: train the watermark's signal and its reader."""

    objective: WatermarkObjective = WatermarkObjective()
    data: CoverData = CoverData()
    loop: LoopConfig = LoopConfig()
    validation: int = 0
    """Batches of held-out clips that `loop.validate_every` measures."""

    def build(self, directory: Path) -> tuple[WatermarkStage, grain.IterDataset]:
        """The stage, and its batches."""
        return WatermarkStage(self.objective), self.data.batches()

    def held_out(self, stage: WatermarkStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation, of triples of the world that training never sees and of other pictures."""
        found = iter(replace(self.data, split="held_out", seed=self.data.seed + 1).batches())
        return [next(found) for _ in range(self.validation)]
