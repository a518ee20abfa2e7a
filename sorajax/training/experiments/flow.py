"""The experiment that trains a transformer with its text encoder: data, objective, autoencoder, loop and export; see
`objectives.flow` for the loss."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sorajax.data.buckets import Bucket, fill_token_budget
from sorajax.data.contexts import TEXT
from sorajax.data.latents import latent_maker, write_latents
from sorajax.data.loader import batches
from sorajax.data.tokens import train_tokenizer, world_tokenizer
from sorajax.data.videos.clips import (
    TextInputs,
    VideoData,
    captions_of,
    check_captioned,
    clip_batches,
    held_out_batches,
    latent_clips,
    prepare_sources,
    show_captions,
    tokens_of,
)
from sorajax.data.videos.encoding import EncodeClips
from sorajax.data.worlds import WorldBatch, WorldData, caption_maker
from sorajax.devices.distributed import print_once
from sorajax.devices.sharding import batch_ways, make_mesh, path_name
from sorajax.files import write_atomically
from sorajax.models.dit import DiTConfig
from sorajax.models.folder import STORAGE, TOKENIZER, Storage, check_shards, model_folder
from sorajax.models.sora import EXPERTS, Expert, SoraConfig, init_vae
from sorajax.models.text import TextConfig, Tokenizer
from sorajax.models.vae import VAEConfig
from sorajax.pretrained.sentencepiece import tokenizer_json
from sorajax.pretrained.wan_folder import is_open_model, open_config, open_model
from sorajax.training.autoencoder import encoder, load_vae
from sorajax.training.frozen import FrozenText, open_text
from sorajax.training.loop import LoopConfig
from sorajax.training.objectives.flow import FlowObjective, FlowStage
from sorajax.training.transformer import TransformerFolder, clip_encoding
from sorajax.training.velocity import tokens_of_clip

MOST_CAPTIONS = 100_000  # of each source, to train a tokenizer
OPEN_TOKENS = 512  # tokens of a prompt that the open text encoders read; for plans, which have no encoder


@dataclass(frozen=True, kw_only=True)
class FlowRun:
    """The fields that every experiment of flow matching has, whichever model it trains: objective, data and loop."""

    objective: FlowObjective = FlowObjective()
    data: WorldData | VideoData = WorldData()
    latents: Path | None = None
    """Folder of encoded clips. None renders and encodes the world inside the step; raw videos need a folder."""
    encoded: int = 0
    """World clips to encode into `latents` before training starts, in each bucket in proportion to how often it is
    drawn; 0 takes those that are there."""
    validation: int = 4
    """Batches of held-out clips that `loop.validate_every` measures."""
    loop: LoopConfig = LoopConfig()

    def run_fields(self) -> dict[str, Any]:
        """These fields and their values, for another experiment that makes the same run."""
        return {field.name: getattr(self, field.name) for field in fields(FlowRun)}


@dataclass(frozen=True)
class FlowTraining(FlowRun):
    """An experiment: train a transformer with its text encoder on the world or on videos."""

    model: DiTConfig
    text: TextConfig
    vae: Path
    """Folder of the trained autoencoder: an exported one, its training directory, or a whole model that has one."""
    frozen_text: Path | None = None
    """Folder of a trained model, ours or open weights, whose text encoder is used frozen, in place of `text`. Captions
    of videos are encoded once, beside the latents; then the encoder is unloaded. None trains `text` too."""
    expert: Expert | None = None
    """Which of a model's two experts trains; `partner` has the other one."""
    partner: Path | None = None
    """A run that trained the other expert; None takes the one in `frozen_text`."""
    autoencoder: VAEConfig | None = None
    """The shape of the autoencoder in `vae`; a plan then needs no such folder."""
    tokenizer: Path | None = None
    """A tokenizer's JSON file, or a SentencePiece model; None trains a tokenizer on the captions."""
    storage: Storage = "float32"
    """Type of the exported weights."""
    shard_mib: float = 0.0
    """Largest file of the exported weights, in MiB; 0 writes one file."""

    def build(self, directory: Path) -> tuple[FlowStage, grain.IterDataset]:
        """The stage, and its batches. Keeps the tokenizer in `directory`, so that a resumed run has the same."""
        if isinstance(self.data, VideoData):
            check_captioned(self.data, self.latents)
        vae, vae_params = load_vae(self.vae)
        frozen = self._frozen()
        self = self._sized(vae) if frozen is None else replace(self._sized(vae), text=frozen.config)
        config = self._config(vae)
        source = self._tokenizer(directory)
        tokenizer = Tokenizer(source, self.text.tokens)
        if tokenizer.vocabulary > self.text.vocabulary:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocabulary} tokens and text.vocabulary is {self.text.vocabulary}: "
                f"set --text.vocabulary {tokenizer.vocabulary} or more"
            )
        self._check(config)
        stage = FlowStage(
            vae=vae_params,
            prompts=None,
            config=config,
            objective=self.objective,
            data=self.data,
            folder=TransformerFolder(source, self.storage, self.shard_mib, self._external_parts(config), self.expert),
            within=self._within(config),
        )
        if self.shard_mib:
            check_shards(stored_shapes(stage, self.storage), self.shard_mib)
        batches = self.batches(stage, directory)
        return replace(stage, prompts=self._text_inputs(source, directory)([*self.objective.prompts, ""])), batches

    def planned(self, mesh: Mesh) -> tuple[FlowStage, list[WorldBatch]]:
        """The stage and a batch of each bucket as shapes without arrays, for a mesh that need not be here."""
        vae = self.autoencoder or load_vae(self.vae)[0]
        self = self._sized(vae, mesh)
        if self.frozen_text:
            self = replace(self, text=replace(self.text, width=self.model.text_width, tokens=OPEN_TOKENS))
        config, tokens = self._config(vae), self.text.tokens
        self._check(config)
        stage = FlowStage(
            vae=jax.eval_shape(lambda: init_vae(vae, jax.random.key(0))),
            prompts=None,
            config=config,
            objective=self.objective,
            data=self.data,
            folder=TransformerFolder("", external_parts=self._external_parts(config), expert=self.expert),
            within=self._within(config),
        )
        if isinstance(self.data, WorldData) and self.latents is None:
            return stage, [drawn_shapes(self.data, bucket, tokens) for bucket in self.data.buckets]
        batches = []
        for bucket in self.data.buckets:
            b = bucket.batch_size
            latent = jax.ShapeDtypeStruct((b, *vae.latent_shape(*bucket.size)), jnp.float16)
            context = jax.ShapeDtypeStruct((b, tokens, self.text.width), jnp.float16)
            ids, mask = (jax.ShapeDtypeStruct((b, tokens), kind) for kind in (jnp.int32, jnp.bool_))
            inputs: dict[str, Any] = {"context": context} if self.frozen_text else {"ids": ids, "mask": mask}
            if config.conditioning.needs_first_frame:
                more = config.dit.in_channels - config.dit.out_channels
                inputs["channels"] = jax.ShapeDtypeStruct((*latent.shape[:-1], more), jnp.float16)
            if config.vision is not None:
                inputs["image"] = jax.ShapeDtypeStruct((b, config.vision.tokens, config.vision.width), jnp.float16)
            batches.append(WorldBatch(latent=latent, bucket=bucket, **inputs))
        return stage, batches

    def _config(self, vae: VAEConfig) -> SoraConfig:
        """The model that is trained."""
        trained: dict[str, Any] = {
            "text": self.text,
            "dit": self.model,
            "vae": vae,
            "fps": getattr(self.data, "fps", SoraConfig.fps),
            "sizes": tuple(dict.fromkeys((bucket.height, bucket.width) for bucket in self.data.buckets)),
            "frames": tuple(dict.fromkeys(bucket.window[0] for bucket in self.data.buckets)),
            "max_anchor_gap": self.objective.max_anchor_gap
            if any(bucket.window_frames for bucket in self.data.buckets)
            else 0,
        }
        for folder in (self.frozen_text, self.loop.start):
            if folder is not None and (config := open_config(folder)):
                return replace(config, **trained)  # and sampled as before
        sampling = {
            k: getattr(self.objective, k)
            for k in ("guidance_scale", "temperature", "drop_conditioning_in_cfg", "redo_latents")
        }
        return SoraConfig(**trained, shift=self.objective.sample_shift, **sampling)

    def _sized(self, vae: VAEConfig, mesh: Mesh | None = None) -> "FlowTraining":
        """The experiment with batch sizes from the token budget, if there is one."""
        data = self.data
        if not isinstance(data, VideoData) or not data.tokens:
            return self
        mesh = make_mesh(self.loop.mesh) if mesh is None else mesh
        tokens = partial(tokens_of_clip, vae, self.model)
        buckets = fill_token_budget(data.buckets, data.tokens, tokens, batch_ways(mesh))
        return replace(self, data=replace(data, buckets=buckets))

    def batches(self, stage: FlowStage, directory: Path) -> grain.IterDataset:
        """Endless batches for `stage`, of latents wherever these were or can be encoded beforehand."""
        data, (open_encode, made_by) = self.data, encoding(stage)
        if isinstance(data, VideoData):
            ready = prepare_sources(data, self.latents, open_encode, made_by)
            text_inputs = self._text_inputs(stage.folder.tokenizer, directory, ready)
            show_captions(ready, print_once)
            return clip_batches(latent_clips(ready, made_by), ready, directory, text_inputs, print_once)
        tokens = Tokenizer(stage.folder.tokenizer, self.text.tokens).encode
        if self.latents is None:
            make = caption_maker(data, tokens)
        else:
            if self.encoded:
                write_latents(self.latents, data, self.encoded, encoder(stage.config.vae, stage.vae), made_by)
            make = latent_maker(self.latents, data, tokens, made_by)
        return batches(make, data.buckets, data.seed, data.threads, data.prefetch, data.phases)

    def held_out(self, stage: FlowStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation: of videos, or of (colour, shape, motion) triples, that training never sees."""
        data, config = stage.data, stage.config.text
        if isinstance(data, VideoData):
            open_encode, made_by = encoding(stage)
            ready = prepare_sources(data, self.latents, open_encode, made_by)
            text_inputs = replace(self, text=config)._text_inputs(stage.folder.tokenizer, directory, ready)
            return held_out_batches(latent_clips(ready, made_by, True), ready, directory, self.validation, text_inputs)
        tokens = Tokenizer(stage.folder.tokenizer, config.tokens).encode
        unseen = replace(data, split="held_out", dropout=0.0, phases=())
        found = iter(batches(caption_maker(unseen, tokens), unseen.buckets, unseen.seed, prefetch=1))
        return [next(found) for _ in range(self.validation)]

    def _frozen(self) -> FrozenText | None:
        """The frozen text encoder, if there is one."""
        if self.frozen_text is None:
            return None
        if isinstance(self.data, WorldData):
            raise ValueError(
                "captions of the world are drawn anew for each batch, and a frozen text encoder is asked "
                "once for each: give videos as data, or train the text encoder along"
            )
        return open_text(self.frozen_text)

    def _text_inputs(self, tokenizer: str, directory: Path, data: VideoData | None = None) -> TextInputs:
        """The function from the previews' prompts, and from the captions of `data`, to the transformer's text
        inputs."""
        if (frozen := self._frozen()) is None:
            return tokens_of(Tokenizer(tokenizer, self.text.tokens))
        captions = {} if data is None else {source.folder: captions_of(source.folder) for source in data.sources}
        return frozen.contexts({directory: self.objective.prompts, **captions})

    def _tokenizer(self, directory: Path) -> str:
        if (frozen := self._frozen()) is not None:
            return frozen.tokenizer
        kept = directory / TOKENIZER
        if kept.exists():
            return kept.read_text(encoding="utf-8")
        if self.tokenizer is not None:
            source = tokenizer_json(self.tokenizer)
        elif self.loop.start is not None and is_open_model(self.loop.start):
            source = open_model(self.loop.start).tokenizer
        elif self.loop.start is not None:
            source = (model_folder(self.loop.start) / TOKENIZER).read_text(encoding="utf-8")
        elif isinstance(self.data, VideoData):
            captions = [caption for part in self.data.sources for caption in captions_of(part.folder)[:MOST_CAPTIONS]]
            source = train_tokenizer(captions, self.text.vocabulary)
        else:
            source = world_tokenizer(self.text.vocabulary)
        write_atomically(kept, lambda path: path.write_text(source, encoding="utf-8"))
        return source

    def _external_parts(self, config: SoraConfig) -> tuple[tuple[str, Path], ...]:
        """The parts of the model that do not train, and the folders that have them."""
        if self.frozen_text is None:
            return ()
        found = {TEXT: self.frozen_text}
        if config.vision is not None:
            found["vision"] = self.frozen_text
        if self.expert is not None:
            found[EXPERTS["high" if self.expert == "low" else "low"]] = self.partner or self.frozen_text
        return tuple(found.items())

    def _within(self, config: SoraConfig) -> tuple[float, float]:
        """The range of training times."""
        if self.expert is None or config.boundary is None:
            return 0.0, 1.0
        return (config.boundary, 1.0) if self.expert == "high" else (0.0, config.boundary)

    def _check(self, config: SoraConfig) -> None:
        if self.expert and config.boundary is None:
            raise ValueError(f"{config.name} has one transformer: leave out --expert")
        if config.boundary is not None and not self.expert:
            raise ValueError(f"{config.name} has two experts, and one is trained at a time: say --expert high, or low")
        if (self.expert or config.conditioning.needs_first_frame) and self.loop.preview_every:
            raise ValueError("a preview would need a picture, or both experts: say --loop.preview-every 0")
        if config.conditioning.needs_first_frame and (short := [b for b in self.data.buckets if b.frames == 1]):
            raise ValueError(f"bucket {short[0].size} is a picture, which the model is given: leave such buckets out")
        if not config.conditioning.frame_clocks and any(bucket.window_frames for bucket in self.data.buckets):
            raise ValueError(
                "a bucket shows windows of longer clips (seen), whose first frame is known at time 0 of "
                f"its own clock, and {config.name} has one clock for all: say window_frames=0"
            )
        for bucket in self.data.buckets:
            shape = config.vae.latent_shape(*bucket.window)
            for name, size, patch in zip(("frames", "height", "width"), shape, self.model.patch, strict=False):
                if size % patch:
                    raise ValueError(f"bucket {bucket.size}: {size} latent {name} are no multiple of patch {patch}")


def encoding(stage: FlowStage) -> tuple[Callable[[], EncodeClips], str]:
    """The function that opens the encoder of a stage's clips, and its signature."""
    return clip_encoding(stage.config, stage.vae, dict(stage.folder.external_parts).get(TEXT))


def drawn_shapes(data: WorldData, bucket: Bucket, tokens: int) -> WorldBatch:
    """The shapes of a batch of the world that is rendered and encoded inside the step."""

    def encode(captions: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(captions), tokens), np.int32), np.ones((len(captions), tokens), bool)

    batch = caption_maker(data, encode)(bucket, np.random.default_rng(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)


def stored_shapes(stage: FlowStage, storage: Storage) -> dict[str, jax.ShapeDtypeStruct]:
    """The exported model's tensors, by name."""
    params = jax.eval_shape(stage.init, jax.random.key(0)) | {"vae": stage.vae}
    leaves = jax.tree.leaves_with_path(params)
    return {path_name(path): jax.ShapeDtypeStruct(leaf.shape, STORAGE[storage]) for path, leaf in leaves}
