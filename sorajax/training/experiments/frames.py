"""The experiment that trains an autoencoder on single frames of a recorded game; see `objectives.vae` for the loss.
Every frame is encoded by itself, so that latents have the game's rate."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.loader import batches
from sorajax.data.plays import FRAMES
from sorajax.data.videos.clips import VideoData
from sorajax.data.worlds import WorldBatch
from sorajax.models.folder import Storage
from sorajax.models.vae import VAEConfig
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.vae import VAEObjective, VAEStage


@dataclass(frozen=True)
class FrameTraining:
    """An experiment: train an autoencoder on frames of a recorded game."""

    model: VAEConfig
    objective: VAEObjective = VAEObjective()
    plays: Path = Path("latents/craftax")
    """Folder of a recorded game (`sorajax.record`)."""
    batch_size: int = 32
    seed: int = 0
    validation: int = 4
    """Batches of frames of the last tenth of the clips, which training never sees, that `loop.validate_every` measures.
    """
    loop: LoopConfig = LoopConfig()
    storage: Storage = "float16"
    """Type of the exported weights."""

    def build(self, directory: Path) -> tuple[VAEStage, grain.IterDataset]:
        """The stage, and its batches. Raises FileNotFoundError where no game was recorded."""
        clips = self._clips()
        first = clips[: -self._last]
        count = max(8, self.objective.moments)
        rng = np.random.default_rng(self.seed)
        seen = np.stack([clips[row, rng.integers(clips.shape[1])][None] for row in rng.integers(0, len(first), count)])
        data = VideoData(folder=self.plays, buckets=(self.bucket,))
        stage = VAEStage(self.model, self.objective, data, self.storage, seen)
        return stage, batches(frame_maker(first), data.buckets, self.seed, prefetch=4)

    @property
    def bucket(self) -> Bucket:
        """The frames of a step, as clips of one."""
        height, width = self._clips().shape[2:4]
        return Bucket(1, height, width, batch_size=self.batch_size)

    def held_out(self, stage: VAEStage, directory: Path) -> list[WorldBatch]:
        """Batches of frames of the last clips."""
        clips = self._clips()
        found = iter(batches(frame_maker(clips[-self._last :]), (self.bucket,), 1, prefetch=1))
        return [next(found) for _ in range(self.validation)]

    @property
    def _last(self) -> int:
        return max(1, len(self._clips()) // 10)

    def _clips(self) -> np.ndarray:
        if not (self.plays / FRAMES).exists():
            raise FileNotFoundError(f"{self.plays} holds no recorded game: run python -m sorajax.record {self.plays}")
        frames: np.ndarray = np.load(self.plays / FRAMES, mmap_mode="r")
        return frames


def frame_maker(clips: np.ndarray) -> Callable[[Bucket, np.random.Generator], WorldBatch]:
    """Makes batches of random frames of clips [n t h w 3]."""

    def make(bucket: Bucket, rng: np.random.Generator) -> WorldBatch:
        rows = np.sort(rng.integers(0, len(clips), bucket.batch_size))
        chosen = rng.integers(0, clips.shape[1], bucket.batch_size)
        pixels = np.stack([clips[row, frame][None] for row, frame in zip(rows, chosen, strict=True)])
        return WorldBatch(pixels=pixels, bucket=bucket)

    return make
