"""Training the transformer, with its text encoder, by flow matching on latents of the world or of anybody's videos.

    loss = mean over unknown frames of (velocity(x_time, time, text) - (noise - data))^2

with logit-normal times (Esser et al. 2024, section 3.1), one time for all unknown frames of a clip; known frames, drawn
at random, stand at time 0 and do not count. The autoencoder is frozen. Clips are rendered and encoded inside the step,
or come encoded; so may the captions of videos, by a text encoder that is used as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import grain
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.sharding import Mesh
from jaxtyping import Array, Float

from sorajax.checkpoint import TOKENIZER, Storage, export_model, load_model, model_folder, write_atomically
from sorajax.compilation import products_alone
from sorajax.data.batches import WorldBatch, WorldData, caption_maker, clips
from sorajax.data.buckets import balanced
from sorajax.data.clips import (
    Tell,
    VideoData,
    captions_of,
    clip_batches,
    held_out_batches,
    latent_clips,
    made_ready,
    tokens_of,
)
from sorajax.data.contexts import TEXT
from sorajax.data.encoding import Encode
from sorajax.data.latents import latent_maker, signature, write_latents
from sorajax.data.loader import batches
from sorajax.data.tokens import train_tokenizer, world_tokenizer
from sorajax.diffusion.flow import interpolate, logit_normal, schedule, velocity_target
from sorajax.diffusion.known import random_known, random_window
from sorajax.distributed import say
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import EXPERTS, Expert, SoraConfig, init_dit, init_text, init_vae
from sorajax.models.text import TextConfig, Tokenizer
from sorajax.models.vae import VAEConfig
from sorajax.parts import borrow
from sorajax.pretrained.opened import is_open_model, open_config, open_model
from sorajax.sharding import divides, gathered, make_mesh, whole_machine
from sorajax.training.deeper import deeper
from sorajax.training.frozen import FrozenText, open_text
from sorajax.training.loop import LoopConfig
from sorajax.training.picture import picture_encoder
from sorajax.training.vae import encoder, load_vae
from sorajax.training.velocity import by_time, embed, predict, sample, tokens_of_clip

MOST_CAPTIONS = 100_000  # of each source, that a tokenizer is trained on
OPEN_TOKENS = 512  # of a prompt, that the open text encoders read; for plans, which have no encoder


@dataclass(frozen=True)
class FlowObjective:
    """Which times and frames are trained on, and how sample grids are drawn."""

    time_mean: float = 0.0
    time_std: float = 1.0
    shift: float = 1.0
    """Moves training times towards noise."""
    known: float = 0.5
    """Share of clips in which random frames are known, for image-to-video, extension and in-betweening."""
    reach: int = 4
    """Latent frames that may lie between a film's beginning and a window of it, in buckets that show such (`seen`)."""
    sample_shift: float = 3.0
    guidance_scale: float = 4.0
    temperature: float = 1.0
    guide_known: bool = False
    ahead: int = 0
    """How previews are sampled; also the exported model's defaults, see `SoraConfig`."""
    sample_steps: int = 20
    prompts: tuple[str, ...] = (
        "a red ball bounces on a grey floor",
        "a large blue star moves left on a navy background",
        "green box spinning on black",
        "a small yellow triangle falls on a brown floor",
        "a purple ring circles on a forest floor",
        "white ball grows on navy",
    )
    """Of the sample grid."""


@flax.struct.dataclass
class FlowStage:
    """A transformer and text encoder learning velocities; params are {"text", "dit"}, `vae` holds frozen ones.

    Where the text encoder is frozen too, params are {"dit"}, and batches and prompts come as its embeddings. "dit" may
    be one of two experts: `expert` says which, and `within` its times.
    """

    vae: Any
    prompts: Any  # the preview's, the last one empty, as {"ids", "mask"} or {"context"}
    config: SoraConfig = flax.struct.field(pytree_node=False)
    objective: FlowObjective = flax.struct.field(pytree_node=False)
    data: WorldData | VideoData = flax.struct.field(pytree_node=False)
    tokenizer: str = flax.struct.field(pytree_node=False)
    storage: Storage = flax.struct.field(pytree_node=False, default="float32")
    lenders: tuple[tuple[str, Path], ...] = flax.struct.field(pytree_node=False, default=())
    """Parts of the exported model that stay in other folders."""
    expert: Expert | None = flax.struct.field(pytree_node=False, default=None)
    within: tuple[float, float] = flax.struct.field(pytree_node=False, default=(0.0, 1.0))

    @property
    def frozen_text(self) -> bool:
        """Whether the text encoder is used as it is."""
        return TEXT in dict(self.lenders)

    @property
    def part(self) -> str:
        """The part of a whole model that "dit" is."""
        return EXPERTS[self.expert or "high"]

    def init(self, key: jax.Array) -> Any:
        text_key, dit_key = jax.random.split(key)
        dit = {"dit": init_dit(self.config.dit, dit_key)}
        return dit if self.frozen_text else {"text": init_text(self.config.text, text_key), **dit}

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        objective = self.objective
        time_key, noise_key, known_key, window_key = jax.random.split(key, 4)
        data, positions = self.shown(batch, window_key)
        b, t = data.shape[:2]
        if positions is None:
            known = random_known(known_key, b, t, objective.known)
        else:  # the anchor always is, and of the others something
            known = jnp.pad(random_known(known_key, b, t - 1, 1.0), ((0, 0), (1, 0)), constant_values=True)
        level = logit_normal(time_key, (b, 1), objective.time_mean, objective.time_std, objective.shift, self.within)
        time = jnp.where(known, 0.0, level)
        noise = jax.random.normal(noise_key, data.shape)
        error = self.error(params, batch, data, noise, time, positions)
        counts = (~known).astype(jnp.float32)
        loss = jnp.sum(error * counts) / jnp.sum(counts)
        return loss, {"loss_by_time": by_time(error * counts, counts, jnp.broadcast_to(level, (b, t)))}

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        """The loss without known frames, at times spread evenly over the batch, with the same noise for each key."""
        data, positions = self.shown(batch, key)
        b, t = data.shape[:2]
        low, high = self.within
        time = jnp.broadcast_to(low + (high - low) * (jnp.arange(b)[:, None] + 0.5) / b, (b, t))
        error = self.error(params, batch, data, jax.random.normal(key, data.shape), time, positions)
        return {"loss": jnp.mean(error), "loss_by_time": by_time(error, jnp.ones_like(error), time)}

    def error(
        self, params: Any, batch: WorldBatch, data: Array, noise: Array, time: Float[Array, "b t"], positions: Any
    ) -> Any:
        """The mean squared error of the velocity of each latent frame, [b t]."""
        context = embed(self.config, params, batch.ids, batch.mask, batch.context)
        x = interpolate(data, noise, time)
        velocity = predict(self.config, params, context, x, time, batch.channels, batch.image, positions)
        return jnp.mean(jnp.square(velocity - velocity_target(data, noise)), axis=(2, 3, 4))

    def shown(self, batch: WorldBatch, key: jax.Array) -> tuple[Float[Array, "b t h w c"], Any]:
        """Normalised latents of a batch as the transformer sees them, their positions in time; None are the usual."""
        data = self.latents(batch)
        if not batch.bucket.seen:
            return data, None
        count = self.config.vae.latent_shape(*batch.bucket.shown)[0]
        return random_window(key, data, count, self.objective.reach)

    def latents(self, batch: WorldBatch) -> Float[Array, "b t h w c"]:
        """Normalised latents of a batch, float32."""
        if batch.latent is not None:
            return batch.latent.astype(jnp.float32)
        return jax.lax.stop_gradient(encoder(self.config.vae, self.vae)(clips(batch)))

    def encoding(self) -> tuple[Callable[[], Encode], str]:
        """What opens the encoder of clips, as `encode_clips` takes it, and its signature."""
        if self.config.known == "channels":
            return picture_encoder(self.config, self.vae, dict(self.lenders)[TEXT])
        return lambda: encoder(self.config.vae, self.vae), signature(self.vae["encoder"])

    compiler_options = staticmethod(products_alone)

    def tokens(self, batch: WorldBatch) -> float:
        """Patches of all clips."""
        return float(batch.size * tokens_of_clip(self.config.vae, self.config.dit, batch.bucket))

    def check(self, mesh: Mesh) -> None:
        """Raises ValueError where heads, widths or tokens do not divide over the mesh."""
        config = self.config.dit
        divides(mesh, "tensor", "heads", config.heads)
        divides(mesh, "tensor", "hidden units", config.hidden)
        divides(mesh, "fsdp", "columns of width", config.width)
        for bucket in self.data.buckets:
            tokens = tokens_of_clip(self.config.vae, config, bucket)
            divides(mesh, "seq", f"tokens of a clip of {'x'.join(map(str, bucket.shown))}", tokens)

    def preview(self, params: Any, key: jax.Array) -> np.ndarray:
        """One row of six frames for each of the objective's prompts."""
        bucket = self.data.buckets[0]
        shape = self.config.vae.latent_shape(*bucket.shown)
        times = schedule(self.objective.sample_steps, self.objective.sample_shift)
        video = sample(self.config, shape, params, self.vae, self.prompts, key, times, self.objective.guidance_scale)
        video = np.asarray(gathered(video))
        shown = np.linspace(0, video.shape[1] - 1, min(6, video.shape[1])).round().astype(int)
        grid = rearrange(video[:, shown], "b t h w c -> (b h) (t w) c")
        return np.clip(np.round((grid + 1) * 127.5), 0, 255).astype(np.uint8)

    def export(self, directory: Path, params: Any) -> None:
        """The model with its autoencoder and tokenizer, as a model folder; what did not train stays where it is."""
        trained = {self.part if name == "dit" else name: part for name, part in params.items()}
        export_model(directory, {**trained, "vae": self.vae}, self.config, self.tokenizer, self.storage)
        if self.lenders:
            borrow(directory, dict(self.lenders))

    def load(self, directory: Path) -> Any:
        """The parameters in an exported model, or in open weights where the text encoder is frozen.

        Fewer layers become as many as train (`deeper`). Raises ValueError if they would be used with another tokenizer.
        """
        if self.frozen_text and is_open_model(directory):
            return {"dit": open_model(directory).parts[self.part].load("float32", whole_machine())}
        _, params, tokenizer = load_model(directory, SoraConfig)
        if self.frozen_text and self.part not in params:
            raise ValueError(f"{directory} has no trained {self.part}: begin from a run of the same --expert")
        if self.frozen_text:
            return {"dit": deeper(params[self.part], self.config.dit.depth)}
        if tokenizer != self.tokenizer:
            kept = model_folder(directory) / TOKENIZER
            raise ValueError(f"{directory} has another tokenizer: say --tokenizer {kept}")
        return {"text": params["text"], "dit": deeper(params["dit"], self.config.dit.depth)}


@dataclass(frozen=True)
class FlowTraining:
    """An experiment: train a transformer with its text encoder on the world or on videos."""

    model: DiTConfig
    text: TextConfig
    vae: Path
    """Folder of the trained autoencoder: an exported one, its training directory, or a whole model that has one."""
    frozen_text: Path | None = None
    """Folder of a trained model, ours or open weights, whose text encoder is used as it is, in place of `text`: of
    videos the captions are encoded once, beside the latents, and the encoder leaves. None trains `text` along."""
    expert: Expert | None = None
    """Which of two experts trains; the other one is that of `partner`."""
    partner: Path | None = None
    """A run that trained the other expert; None takes the one in `frozen_text`."""
    autoencoder: VAEConfig | None = None
    """What `vae` holds, said beforehand: a plan then needs no such folder."""
    objective: FlowObjective = FlowObjective()
    data: WorldData | VideoData = WorldData()
    latents: Path | None = None
    """Folder of encoded clips. None renders and encodes the world inside the step; for raw videos it must be named."""
    encoded: int = 0
    """World clips to encode into `latents` before training starts, of the bucket drawn most and of the others in
    proportion to what is drawn of them; 0 takes those that are there."""
    validation: int = 4
    """Batches of held-out clips that `loop.validate_every` measures."""
    tokenizer: Path | None = None
    """A tokenizer's JSON file; none trains one on captions."""
    loop: LoopConfig = LoopConfig()
    storage: Storage = "float32"
    """Type of the exported weights."""

    def build(self, directory: Path) -> tuple[FlowStage, grain.IterDataset]:
        """The stage, and its batches. Keeps the tokenizer in `directory`, so that a resumed run has the same."""
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
            tokenizer=source,
            storage=self.storage,
            lenders=self._lenders(config),
            expert=self.expert,
            within=self._within(config),
        )
        batches = self.batches(stage, directory)
        return replace(stage, prompts=self._tell(source, directory)([*self.objective.prompts, ""])), batches

    def planned(self, mesh: Mesh) -> tuple[FlowStage, list[WorldBatch]]:
        """The stage and a batch of each bucket as shapes without arrays, for a mesh that need not be here."""
        vae = self.autoencoder or load_vae(self.vae)[0]
        self = self._sized(vae, mesh)
        if self.frozen_text:
            self = replace(self, text=replace(self.text, width=self.model.text_width, tokens=OPEN_TOKENS))
        config, tokens = self._config(vae), self.text.tokens
        self._check(config)
        stage = FlowStage(
            vae=jax.eval_shape(lambda: init_vae(vae, jax.random.key(0))), prompts=None, config=config,
            objective=self.objective, data=self.data, tokenizer="", lenders=self._lenders(config), expert=self.expert,
            within=self._within(config))  # fmt: skip
        batches = []
        for bucket in self.data.buckets:
            b = bucket.batch_size
            latent = jax.ShapeDtypeStruct((b, *vae.latent_shape(*bucket.size)), jnp.float16)
            context = jax.ShapeDtypeStruct((b, tokens, self.text.width), jnp.float16)
            ids, mask = (jax.ShapeDtypeStruct((b, tokens), kind) for kind in (jnp.int32, jnp.bool_))
            told: dict[str, Any] = {"context": context} if self.frozen_text else {"ids": ids, "mask": mask}
            if config.known == "channels":
                more = config.dit.in_channels - config.dit.out_channels
                told["channels"] = jax.ShapeDtypeStruct((*latent.shape[:-1], more), jnp.float16)
            if config.vision is not None:
                told["image"] = jax.ShapeDtypeStruct((b, config.vision.tokens, config.vision.width), jnp.float16)
            batches.append(WorldBatch(latent=latent, bucket=bucket, **told))
        return stage, batches

    def _config(self, vae: VAEConfig) -> SoraConfig:
        """The model that is trained."""
        trained: dict[str, Any] = {
            "text": self.text,
            "dit": self.model,
            "vae": vae,
            "fps": getattr(self.data, "fps", SoraConfig.fps),
            "sizes": tuple(dict.fromkeys((bucket.height, bucket.width) for bucket in self.data.buckets)),
            "frames": tuple(dict.fromkeys(bucket.shown[0] for bucket in self.data.buckets)),
            "reach": self.objective.reach if any(bucket.seen for bucket in self.data.buckets) else 0,
        }
        for folder in (self.frozen_text, self.loop.start):
            if folder is not None and (config := open_config(folder)):
                return replace(config, **trained)  # and sampled as before
        said = {k: getattr(self.objective, k) for k in ("guidance_scale", "temperature", "guide_known", "ahead")}
        return SoraConfig(**trained, shift=self.objective.sample_shift, **said)

    def _sized(self, vae: VAEConfig, mesh: Mesh | None = None) -> "FlowTraining":
        """With the batch sizes that a budget of tokens gives, where there is one."""
        data = self.data
        if not isinstance(data, VideoData) or not data.tokens:
            return self
        mesh = make_mesh(self.loop.mesh) if mesh is None else mesh
        ways = mesh.shape["data"] * mesh.shape["fsdp"]
        tokens = partial(tokens_of_clip, vae, self.model)
        return replace(self, data=replace(data, buckets=balanced(data.buckets, data.tokens, tokens, ways)))

    def batches(self, stage: FlowStage, directory: Path) -> grain.IterDataset:
        """Endless batches for `stage`, of latents wherever these were or can be encoded beforehand."""
        data, (open_encode, made_by) = self.data, stage.encoding()
        if isinstance(data, VideoData):
            ready = made_ready(data, self.latents, open_encode, made_by)
            tell = self._tell(stage.tokenizer, directory, ready)
            return clip_batches(latent_clips(ready, made_by), ready, directory, tell, say)
        tokens = Tokenizer(stage.tokenizer, self.text.tokens).encode
        if self.latents is None:
            make = caption_maker(data, tokens)
        else:
            if self.encoded:
                write_latents(self.latents, data, self.encoded, encoder(stage.config.vae, stage.vae), made_by)
            make = latent_maker(self.latents, data, tokens, made_by)
        return batches(make, data.buckets, data.seed, data.threads, data.ahead, data.phases)

    def held_out(self, stage: FlowStage, directory: Path) -> list[WorldBatch]:
        """Batches for validation: of videos, or of (colour, shape, motion) triples, that training never sees."""
        data, config = stage.data, stage.config.text
        if isinstance(data, VideoData):
            open_encode, made_by = stage.encoding()
            ready = made_ready(data, self.latents, open_encode, made_by)
            tell = replace(self, text=config)._tell(stage.tokenizer, directory, ready)
            return held_out_batches(latent_clips(ready, made_by, True), ready, directory, self.validation, tell)
        tokens = Tokenizer(stage.tokenizer, config.tokens).encode
        unseen = replace(data, split="held_out", dropout=0.0, phases=())
        found = iter(batches(caption_maker(unseen, tokens), unseen.buckets, unseen.seed, ahead=1))
        return [next(found) for _ in range(self.validation)]

    def _frozen(self) -> FrozenText | None:
        """The text encoder that is used as it is, where there is one."""
        if self.frozen_text is None:
            return None
        if isinstance(self.data, WorldData):
            raise ValueError("captions of the world are drawn anew for each batch, and a frozen text encoder is asked "
                             "once for each: give videos as data, or train the text encoder along")  # fmt: skip
        return open_text(self.frozen_text)

    def _tell(self, tokenizer: str, directory: Path, data: VideoData | None = None) -> Tell:
        """What turns the previews' prompts, and the captions of `data`, into what the transformer is told."""
        if (frozen := self._frozen()) is None:
            return tokens_of(Tokenizer(tokenizer, self.text.tokens))
        captions = {} if data is None else {source.folder: captions_of(source.folder) for source in data.sources}
        return frozen.contexts({directory: self.objective.prompts, **captions})

    def _tokenizer(self, directory: Path) -> str:
        if (frozen := self._frozen()) is not None:
            return frozen.tokenizer
        kept = directory / TOKENIZER
        if kept.exists():
            return kept.read_text()
        if self.tokenizer is not None:
            source = self.tokenizer.read_text()
        elif self.loop.start is not None and is_open_model(self.loop.start):
            source = open_model(self.loop.start).tokenizer
        elif self.loop.start is not None:
            source = (model_folder(self.loop.start) / TOKENIZER).read_text()
        elif isinstance(self.data, VideoData):
            captions = [caption for part in self.data.sources for caption in captions_of(part.folder)[:MOST_CAPTIONS]]
            source = train_tokenizer(captions, self.text.vocabulary)
        else:
            source = world_tokenizer(self.text.vocabulary)
        write_atomically(kept, lambda path: path.write_text(source))
        return source

    def _lenders(self, config: SoraConfig) -> tuple[tuple[str, Path], ...]:
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
        """The times that train."""
        if self.expert is None or config.boundary is None:
            return 0.0, 1.0
        return (config.boundary, 1.0) if self.expert == "high" else (0.0, config.boundary)

    def _check(self, config: SoraConfig) -> None:
        if self.expert and config.boundary is None:
            raise ValueError(f"{config.name} has one transformer: leave out --expert")
        if config.boundary is not None and not self.expert:
            raise ValueError(f"{config.name} has two experts, and one is trained at a time: say --expert high, or low")
        if (self.expert or config.known == "channels") and self.loop.preview_every:
            raise ValueError("a preview would need a picture, or both experts: say --loop.preview-every 0")
        if config.known == "channels" and (short := [b for b in self.data.buckets if b.frames == 1]):
            raise ValueError(f"bucket {short[0].size} is a picture, which the model is given: leave such buckets out")
        if config.known != "clock" and any(bucket.seen for bucket in self.data.buckets):
            raise ValueError("a bucket shows windows of longer clips (seen), whose first frame is known at time 0 of "
                             f"its own clock, and {config.name} has one clock for all: say seen=0")
        for bucket in self.data.buckets:
            shape = config.vae.latent_shape(*bucket.shown)
            for name, size, patch in zip(("frames", "height", "width"), shape, self.model.patch, strict=False):
                if size % patch:
                    raise ValueError(f"bucket {bucket.size}: {size} latent {name} are no multiple of patch {patch}")
