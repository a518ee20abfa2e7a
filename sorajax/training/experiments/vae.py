"""The experiment that trains an autoencoder: data, objective, loop and export; see `objectives.vae` for the loss."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np
from jaxtyping import UInt8

from sorajax.data.buckets import Bucket
from sorajax.data.loader import Make, batches
from sorajax.data.videos.clips import Clips, VideoData, clip_batches, held_out_batches, pixel_clips
from sorajax.data.worlds import WorldBatch, WorldData, scene_maker
from sorajax.devices.distributed import print_once
from sorajax.models.folder import Storage
from sorajax.models.vae import VAEConfig
from sorajax.training.autoencoder import load_vae
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective, VAEStage


@dataclass(frozen=True)
class VAETraining:
    """An experiment: train an autoencoder on the world or on videos."""

    model: VAEConfig = VAEConfig()
    objective: VAEObjective = VAEObjective()
    data: WorldData | VideoData = WorldData()
    loop: LoopConfig = LoopConfig()
    decoder_only: bool = False
    """Trains the decoder of `loop.start`, with its encoder frozen and its shape for `model`: latents stay the same, and
    models trained on them stay usable. Where `model.decoder_base` is a multiple of its width, a wider decoder that
    begins as the same function; where it is at least half of it, a narrower one that begins near it."""
    validation: int = 2
    """Batches of held-out clips that `loop.validate_every` measures."""
    storage: Storage = "float32"
    """Type of the exported weights."""

    def build(self, directory: Path) -> tuple[VAEStage, grain.IterDataset]:
        """The stage, and its batches."""
        stage, batches = self._built(directory)
        if not self.decoder_only:
            return stage, batches
        if self.loop.start is None:
            raise ValueError("decoder_only needs an autoencoder to begin from: say --loop.start FOLDER")
        config, params = load_vae(self.loop.start)
        config = dataclasses.replace(config, decoder_base=self.model.decoder_base or config.decoder_base)
        return dataclasses.replace(stage, config=config, encoder=params["encoder"]), batches

    def _built(self, directory: Path) -> tuple[VAEStage, grain.IterDataset]:
        """The stage and batches of a whole autoencoder."""
        for bucket in self.data.buckets:
            self.model.latent_shape(bucket.frames, bucket.crop or bucket.height, bucket.crop or bucket.width)
        if not isinstance(self.data, VideoData):
            stage = VAEStage(self.model, self.objective, self.data, self.storage)
            return stage, self._batches(scene_maker(self.data))
        found = pixel_clips(self.data, directory)
        made = clip_batches(found, self.data, directory, None, print_once)
        stage = VAEStage(self.model, self.objective, self.data, self.storage, self._examples(found))
        return stage, made

    def held_out(self, stage: VAEStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation: of videos, or of (colour, shape, motion) triples, that training never sees."""
        if isinstance(self.data, VideoData):
            chosen = pixel_clips(self.data, directory, held_out=True)
            return held_out_batches(chosen, self.data, directory, self.validation)
        found = iter(self._batches(scene_maker(dataclasses.replace(self.data, split="held_out"))))
        return [next(found) for _ in range(self.validation)]

    def _batches(self, make: Make) -> grain.IterDataset:
        data = self.data
        return batches(make, data.buckets, data.seed, data.threads, data.prefetch, data.phases)

    def _examples(self, found: list[dict[Bucket, Clips]]) -> UInt8[np.ndarray, "b t h w 3"]:
        """Clips of the first bucket that has any, for previews and moments."""
        bucket = next(b for b in self.data.buckets if any(len(by[b]) for by in found))
        chosen = [by[bucket] for by in found if len(by[bucket])]
        count, rng = max(4, self.objective.moments), np.random.default_rng(0)
        places = [(i % len(chosen), i // len(chosen)) for i in range(count)]
        return np.stack([chosen[k].read(i % len(chosen[k]), rng)[0]["pixels"] for k, i in places])
