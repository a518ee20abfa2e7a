"""The experiment that trains a model of an interactive world: encoded plays, objective, loop and export; see
`objectives.play` for the loss."""

from dataclasses import dataclass
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.loader import batches
from sorajax.data.plays import FRAMES, PlayBatch, Plays, play_maker, prompts_of, read_plays, write_own, write_plays
from sorajax.devices import fingerprint
from sorajax.interactive.session import LearnedWorld, open_player, played_on
from sorajax.models.folder import BUNDLED, SmallStorage, load_model
from sorajax.models.play import PlayConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.training.autoencoder import frame_encoder
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.play import PlayObjective, PlayStage


@dataclass(frozen=True)
class PlayTraining:
    """An experiment: train an interactive model on plays."""

    model: PlayConfig
    objective: PlayObjective = PlayObjective()
    plays: Path = Path("latents/play")
    """Folder of encoded plays."""
    encoded: int = 0
    """Plays to encode into it before training starts; 0 takes those that are there."""
    play_frames: int = 33
    """Frames of each; a step sees windows of them."""
    own: Path | None = None
    """Folder of an earlier model, which first continues the encoded plays by itself. Its frames are then the context of
    windows, so that the model learns to correct its own errors."""
    own_share: float = 0.75
    """Share of the windows with such a context."""
    batch_size: int = 32
    dropout: float = 0.1
    """Probability that a prompt is replaced by the empty one."""
    seed: int = 0
    validation: int = 2
    """Batches of held-out plays that `loop.validate_every` measures."""
    loop: LoopConfig = LoopConfig()
    storage: SmallStorage = "int8"
    """Type of the exported weights."""

    def build(self, directory: Path) -> tuple[PlayStage, grain.IterDataset]:
        """The stage, and its batches."""
        config, params, source = load_model(self.base, SoraConfig)
        assert source is not None
        stage = PlayStage(params["text"], self.model, config.text, self.objective, self.storage)
        if self.encoded:
            self._write(self.plays, self.encoded, self.seed)
        self._check()
        own = None if self.own is None else self._own(self.own, directory)
        encode = Tokenizer(source, config.text.tokens).encode
        make = play_maker(self.plays, encode, self.dropout, own, self.own_share, slice(None, -self._last or None))
        return stage, batches(make, (self.bucket,), self.seed, prefetch=4)

    @property
    def base(self) -> Path:
        """The folder of the model whose text encoder and autoencoder are used."""
        return BUNDLED.get(self.model.base, Path(self.model.base))

    @property
    def bucket(self) -> Bucket:
        """The windows of a step."""
        return Bucket(self.model.window, *self.model.size, batch_size=self.batch_size)

    def held_out(self, stage: PlayStage, directory: Path) -> list[PlayBatch]:
        """Batches for validation, of other players in other scenes; of a recorded game the last clips."""
        folder, count = directory / "held_out", self.validation * self.batch_size
        if self._last:
            folder = self.plays
        else:
            self._write(folder, count, self.seed + 1)
        config, _, source = load_model(self.base, SoraConfig)
        assert source is not None
        make = play_maker(folder, Tokenizer(source, config.text.tokens).encode, 0.0, part=slice(-count, None))
        found = iter(batches(make, (self.bucket,), self.seed + 1, prefetch=1))
        return [next(found) for _ in range(self.validation)]

    @property
    def _last(self) -> int:
        """Clips at the end of a recorded game that are for validation."""
        return self.validation * self.batch_size if (self.plays / FRAMES).exists() else 0

    def _check(self) -> None:
        """Raises ValueError where the model cannot learn from the plays."""
        actions = read_plays(self.plays).actions
        if (count := int(actions.max()) + 1) > self.model.dit.actions:
            raise ValueError(
                f"{self.plays} has {count} actions and the model reads {self.model.dit.actions}: "
                f"add --model.dit.actions {count}"
            )
        if len(actions) <= self._last:
            raise ValueError(
                f"{self.plays} has {len(actions)} clips, and {self._last} are for validation: record more, or add "
                "--validation 0"
            )

    def _own(self, model: Path, directory: Path) -> Path:
        path = directory / f"own-{fingerprint.files(model)[:12]}.npy"
        world = open_player(str(model))
        if not isinstance(world, LearnedWorld):
            raise ValueError(f"own {model} is not allowed: name the folder of a trained model to play")
        if world.config.window != self.model.window:
            raise ValueError(
                f"own {model} has a window of {world.config.window} frames, this training one of {self.model.window}: "
                "use the same"
            )
        rng, key = np.random.default_rng(self.seed), jax.random.key(self.seed)

        def go_on(plays: Plays) -> jax.Array:
            ids, mask = world.tokenizer.encode(prompts_of(plays.scene, rng))
            latent, now = jnp.asarray(plays.latent, jnp.float32), jax.random.fold_in(key, rng.integers(2**31))
            return played_on(world.config, world.base, world.networks, ids, mask, latent, plays.actions, now)

        write_own(path, read_plays(self.plays), go_on)
        return path

    def _write(self, folder: Path, count: int, seed: int) -> None:
        encode = frame_encoder(Path(self.model.autoencoder or self.base))
        write_plays(folder, self.bucket, count, self.play_frames, encode, self.model.fps, seed, "all")
