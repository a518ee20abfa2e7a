"""The experiment that trains the score of text and video on the world; see `objectives.score` for the loss."""

from dataclasses import dataclass, replace
from pathlib import Path

import grain

from sorajax.data.buckets import Bucket
from sorajax.data.captioned import captioned_maker
from sorajax.data.latents import signature
from sorajax.data.loader import batches
from sorajax.language.captioner import open_writer
from sorajax.language.score import ScoreConfig
from sorajax.models.folder import WORLD, SmallStorage
from sorajax.training.autoencoder import load_vae
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.score import ScoreStage


@dataclass(frozen=True)
class ScoreTraining:
    """An experiment: train the score of text and video on the world's clips, encoded for configs/captioner.py."""

    model: ScoreConfig = ScoreConfig()
    buckets: tuple[Bucket, ...] = (Bucket(),)
    """Clips of a step; a clip is compared with the captions of all others in it."""
    shares: tuple[float, float, float] = (0.4, 0.4, 0.2)
    """How often captions are short, detailed and canonical."""
    vae: Path = WORLD
    """The model whose autoencoder encoded the clips."""
    latents: Path = Path("latents/captioner")
    """Folder of encoded clips."""
    decoded: float = 0.0
    """Share of clips that were decoded and encoded again, as in `CaptionerTraining`."""
    seed: int = 0
    """Seed of the captions."""
    loop: LoopConfig = LoopConfig()
    storage: SmallStorage = "int8"
    """Type of the exported weights."""

    def build(self, directory: Path) -> tuple[ScoreStage, grain.IterDataset]:
        """The stage, and its batches."""
        writer = open_writer(self.model.captioner)
        made_by = signature(load_vae(self.vae)[1]["encoder"])
        encode = writer.tokenizer.encode
        make = captioned_maker(
            self.latents, self.buckets, self.shares, encode, made_by, pairs=False, decoded=self.decoded
        )
        model = replace(self.model, width=writer.config.width)
        stage = ScoreStage(words=writer.params, captioner=writer.config, config=model, storage=self.storage)
        return stage, batches(make, self.buckets, self.seed)
