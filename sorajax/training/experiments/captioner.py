"""The experiment that trains a captioner and expander on the world: encoded clips, captions, objective, loop and
export; see `objectives.captioner` for the loss."""

from dataclasses import dataclass, replace
from pathlib import Path

import grain
import jax
import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.captioned import CaptionedBatch, captioned_maker, captions_in
from sorajax.data.decoded import write_decoded
from sorajax.data.latents import signature, write_latents
from sorajax.data.loader import batches
from sorajax.data.worlds import WorldData, clips, scene_maker
from sorajax.language.network import WordsConfig
from sorajax.models.folder import TOKENIZER, WORLD, SmallStorage
from sorajax.models.text import Tokenizer
from sorajax.training.autoencoder import encoder, load_vae
from sorajax.training.decoded import Decoding, decoding
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.captioner import CaptionerObjective, CaptionerStage


@dataclass(frozen=True)
class CaptionerTraining:
    """An experiment: train a captioner and expander on the world."""

    model: WordsConfig = WordsConfig()
    objective: CaptionerObjective = CaptionerObjective()
    data: WorldData = WorldData()
    """Which clips are encoded, and in which proportions; the registers are those of `shares`."""
    buckets: tuple[Bucket, ...] = (Bucket(),)
    """Clips of a step, which may be shorter than the encoded ones of their size."""
    shares: tuple[float, float, float] = (0.2, 0.3, 0.5)
    """How often captions are short, detailed and canonical."""
    longest: int = 48
    """Tokens of the longest caption in training; 32 are enough for every canonical one. Fewer take less time."""
    vae: Path = WORLD
    """The model whose autoencoder and tokenizer are used."""
    latents: Path = Path("latents/captioner")
    """Folder of encoded clips."""
    encoded: int = 0
    """Clips to encode into it before training starts, of the most frequent bucket; 0 takes those that are there."""
    decoded: float = 0.0
    """Share of clips in training that were decoded and encoded again, as those of models and files are."""
    decoding: Decoding = Decoding()
    """How these are made."""
    validation: int = 2
    """Batches of held-out clips that `loop.validate_every` measures."""
    loop: LoopConfig = LoopConfig()
    storage: SmallStorage = "int8"
    """Type of the exported weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.decoded <= 1:
            raise ValueError(f"decoded is {self.decoded}: a share lies between 0 and 1")

    def build(self, directory: Path) -> tuple[CaptionerStage, grain.IterDataset]:
        """The stage, and its batches."""
        vae, params = load_vae(self.vae)
        made_by = signature(params["encoder"])
        if self.encoded:
            write_latents(self.latents, self.data, self.encoded, encoder(vae, params), made_by)
        if self.decoding.clips:
            again = decoding(self.decoding, vae, params)
            write_decoded(self.latents, self.decoding.clips, again, self.decoding.made_by(params))
        source = (self.vae / TOKENIZER).read_text(encoding="utf-8")
        encode, pairs = Tokenizer(source, self.longest).encode, self.objective.expansion > 0
        make = captioned_maker(self.latents, self.buckets, self.shares, encode, made_by, pairs, self.decoded)
        model = replace(self.model, autoencoder="world" if self.vae == WORLD else str(self.vae))
        stage = CaptionerStage(model, self.objective, source, self.storage)
        return stage, batches(make, self.buckets, self.data.seed, self.data.threads, self.data.prefetch)

    def held_out(self, stage: CaptionerStage, directory: Path) -> list[CaptionedBatch]:
        """Batches for validation, of (colour, shape, motion) triples that training never sees."""
        vae, params = load_vae(self.vae)
        make = scene_maker(replace(self.data, split="held_out"))
        step = jax.jit(lambda encode, batch: encode(clips(batch)))
        encode, found = Tokenizer(stage.tokenizer, self.longest).encode, []
        for number in range(self.validation):
            rng = np.random.default_rng((self.data.seed, number, 1))
            batch = make(self.data.buckets[0], rng)
            register, ids = captions_in(batch.scene, rng, (0, 0, 1), encode)
            latent = np.asarray(step(encoder(vae, params), batch))
            found.append(CaptionedBatch(latent, register, ids, ids[:0], ids[:0], batch.bucket))
        return found
