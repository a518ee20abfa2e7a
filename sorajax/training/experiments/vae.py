"""Training the autoencoder on the world or on anybody's videos.

    z = mean(video) + std(video) * noise
    made = decode(z)
    loss = l1 * |video - made| + mse * (video - made)^2 + kl * KL(N(mean, std) || N(0, 1))
         + structure * structure(video, made) + flicker * flicker(video, made) + what a critic says

The third term (Kingma & Welling 2014, eq. 10) is averaged over latent values; a small weight only keeps latents
bounded. The second line is for real video, whose texture l1 would blur: `perceptual.py` and `adversarial.py`. The
critic's parameters stand beside the autoencoder's, {"encoder", "decoder", "critic"}; no exported model has them.

World clips are rendered inside the step, from a random moment on. A bucket with a `crop` trains on squares around an
object, or anywhere in a video: convolutions need no whole frames.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.struct
import grain
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.tree_util import Partial
from jaxtyping import Array, Float, UInt8

from sorajax.data.buckets import Bucket
from sorajax.data.loader import Make, batches
from sorajax.data.videos.clips import Clips, VideoData, clip_batches, held_out_batches, pixel_clips
from sorajax.data.worlds import WorldBatch, WorldData, clips, scene_maker
from sorajax.devices.distributed import print_once
from sorajax.devices.sharding import gather
from sorajax.models.critic import init_critic
from sorajax.models.folder import Storage, export_model, load_model, model_kind
from sorajax.models.sora import SoraConfig, init_vae
from sorajax.models.vae import VAE, VAEConfig, denormalise, stream_decode, stream_encode
from sorajax.pretrained.wan_folder import is_open_model, open_autoencoder
from sorajax.training.adversarial import AdversarialConfig, game
from sorajax.training.loop import LoopConfig
from sorajax.training.perceptual import feature_distance, flicker, ssim, structure
from sorajax.training.wider import wider
from sorajax.world.draw import Truth, draw


@dataclass(frozen=True)
class VAEObjective:
    """The weights of the loss."""

    l1: float = 1.0
    mse: float = 1.0
    kl: float = 1e-5
    objects: float = 0.0
    """Extra weight of pixels near an object: they are a tenth of a frame, and all that its caption is about."""
    noise: float = 0.0
    """Gaussian noise on latents before decoding, in units of their standard deviation: the decoder learns to bear the
    small errors of a sampled latent."""
    structure: float = 0.0
    """Weight of 1 - multi-scale structural similarity: blur and lost texture."""
    flicker: float = 0.0
    """Weight of the difference between the reconstruction's changes from frame to frame and the video's."""
    features: float = 0.0
    """Weight of the distance of the stage's own `features`, where a fork has given it some."""
    adversarial: AdversarialConfig = AdversarialConfig()
    """A critic; none by default."""
    moments: int = 64
    """Clips over which the latents' mean and standard deviation are measured at each export."""


@flax.struct.dataclass
class VAEStage:
    """An autoencoder learning to reconstruct."""

    config: VAEConfig = flax.struct.field(pytree_node=False)
    objective: VAEObjective = flax.struct.field(pytree_node=False, default=VAEObjective())
    data: WorldData | VideoData = flax.struct.field(pytree_node=False, default=WorldData())
    storage: Storage = flax.struct.field(pytree_node=False, default="float32")
    seen: Any = None
    """Of videos: some clips for previews and the latents' moments, uint8 [b t h w 3]. The world renders its own."""
    features: Any = None
    """A trained network of somebody's own, clips [b t h w 3] in [-1, 1] -> feature maps, as `jax.tree_util.Partial`
    of a function and its parameters: these are then arguments of the step and no constants in it."""
    step: Any = None
    """Where the run is, int32 [], once the critic plays."""
    playing: bool = flax.struct.field(pytree_node=False, default=False)
    """Whether the critic plays. Static: until then a step does without it, and when it begins a new one is compiled; a
    branch inside the step would be cheaper to compile and, on CPU, ten times slower to run."""
    encoder: Any = None
    """A frozen encoder's parameters, which are then none of those that train; its latents' moments are the config's."""

    def init(self, key: jax.Array) -> Any:
        return self._trained(init_vae(self.config, key), key)

    def at(self, step: int) -> "VAEStage":
        """The stage at a step of the run: the critic's part depends on it."""
        adversarial = self.objective.adversarial
        if not adversarial.weight or step < adversarial.after:
            return self
        return self.replace(step=np.int32(step), playing=True)  # type: ignore[attr-defined]

    def loss(self, params: Any, batch: WorldBatch, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        objective = self.objective
        crop_key, sample_key, noise_key = jax.random.split(key, 3)
        video, near = views(batch, crop_key)
        apply: Callable[..., Any] = partial(VAE(self.config).apply, {"params": self.autoencoder(params)})
        mean, log_variance = apply(video, method="moments")
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(sample_key, mean.shape)
        if objective.noise:
            spread = jax.lax.stop_gradient(jnp.std(mean, axis=(0, 1, 2, 3)))
            z = z + objective.noise * spread * jax.random.normal(noise_key, z.shape)
        made = apply(z, method=_decode_raw)
        error = made - video
        weight = 1 + objective.objects * near
        weight = weight / jnp.mean(weight)
        l1, mse = jnp.mean(weight * jnp.abs(error)), jnp.mean(weight * jnp.square(error))
        kl = 0.5 * jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)
        loss = objective.l1 * l1 + objective.mse * mse + objective.kl * kl
        metrics = {"l1": l1, "kl": kl} | quality(video, made)
        if objective.structure:
            metrics["structure"] = structure(video, made)
            loss += objective.structure * metrics["structure"]
        if objective.flicker:
            loss += objective.flicker * jnp.mean(flicker(video, made))
        if objective.features:
            metrics["features"] = feature_distance(self.features, video, made)
            loss += objective.features * metrics["features"]
        if self.playing:
            game_key = jax.random.fold_in(key, 3)  # beside the three above
            both, judged = game(objective.adversarial, params["critic"], video, made, self.step, game_key)
            loss, metrics = loss + both, metrics | judged
        return loss, metrics

    def validate(self, params: Any, batch: WorldBatch, key: jax.Array) -> dict[str, Any]:
        """Quality of whole clips, reconstructed from their mean latents."""
        video = clips(batch)
        again = reconstructed(self.config, self.autoencoder(params), video)
        return {"l1": jnp.mean(jnp.abs(again - video))} | quality(video, again)

    def tokens(self, batch: WorldBatch) -> float:
        """Latent positions."""
        bucket = batch.bucket
        height, width = (bucket.crop or bucket.height), (bucket.crop or bucket.width)
        t, h, w, _ = self.config.latent_shape(bucket.frames, height, width)
        return float(batch.size * t * h * w)

    def preview(self, params: Any, key: jax.Array) -> np.ndarray:
        """Pairs of rows: six frames of a clip, and their reconstruction."""
        video = self._examples(4, 1)
        again = gather(reconstructed(self.config, self.autoencoder(params), video))
        shown = np.linspace(0, video.shape[1] - 1, min(6, video.shape[1])).round().astype(int)
        grid = rearrange(np.stack([video, again])[:, :, shown], "two b t h w c -> (b two h) (t w) c")
        return np.clip(np.round((grid + 1) * 127.5), 0, 255).astype(np.uint8)

    def export(self, directory: Path, params: Any) -> None:
        """The autoencoder as a model folder, its config completed by the measured moments of its latents."""
        params, groups = self.autoencoder(params), max(1, self.objective.moments // 8)
        if self.encoder is not None:
            export_model(directory, {"vae": params}, self.config, None, self.storage)
            return
        raw = [_mean(self.config, params, self._examples(8, seed)) for seed in range(groups)]
        values = np.concatenate([np.asarray(z, np.float64).reshape(-1, z.shape[-1]) for z in raw])
        mean, std = (tuple(round(float(x), 5) for x in f(values, 0)) for f in (np.mean, np.std))
        config = dataclasses.replace(self.config, mean=mean, std=std)
        export_model(directory, {"vae": params}, config, None, self.storage)

    def load(self, directory: Path) -> Any:
        """The parameters in a folder that `load_vae` reads, made as wide as here, and a fresh critic.

        Raises ValueError where a width here is no multiple of theirs.
        """
        config, params = load_vae(directory)
        for part, old, new in (
            ("encoder", config.base, self.config.base),
            ("decoder", config.decoder_base or config.base, self.config.decoder_base or self.config.base),
        ):
            if old == new:
                continue
            if new % old or config.shortcuts:
                raise ValueError(
                    f"the {part} is to have {new} channels and that in {directory} has {old}: one is "
                    "widened by a whole factor, and only without shortcuts"
                )
            params[part] = wider(part, params[part], new // old, jax.random.key(0))
        return self._trained(params, jax.random.key(0))

    def autoencoder(self, params: Any) -> Any:
        """The whole autoencoder's parameters: without the critic's, with those of a frozen encoder."""
        whole = {name: part for name, part in params.items() if name != "critic"}
        return whole if self.encoder is None else {**whole, "encoder": self.encoder}

    def _trained(self, params: Any, key: jax.Array) -> Any:
        """Those of an autoencoder's parameters that train, and the critic's where there is one."""
        config = self.objective.adversarial
        if self.encoder is not None:
            params = {"decoder": params["decoder"]}
        if not config.weight:
            return params
        return {**params, "critic": init_critic(config.critic, jax.random.fold_in(key, 1))}

    def _examples(self, count: int, seed: int) -> Float[Array, "b t h w 3"]:
        """Whole clips of the first bucket, always the same ones for a seed."""
        if isinstance(self.data, VideoData):
            chosen = np.arange(seed * count, (seed + 1) * count) % len(self.seen)
            return clips(WorldBatch(pixels=self.seen[chosen]))
        bucket = dataclasses.replace(self.data.buckets[0], batch_size=count, crop=0)
        return clips(scene_maker(self.data)(bucket, np.random.default_rng((self.data.seed, 2**32 - 1, seed))))


def load_vae(directory: Path) -> tuple[VAEConfig, Any]:
    """Config and parameters of an autoencoder: an exported one, that of a whole model, or an open one.

    An open one is a folder of a diffusers `AutoencoderKLWan`, or of a whole Wan model in either layout. Raises as
    `load_model` and `open_model` do.
    """
    if (opened := open_autoencoder(directory)) is not None:
        return opened.config, opened.load()
    if model_kind(directory) == SoraConfig.__name__:
        whole, params, _ = load_model(directory, SoraConfig)
        return whole.vae, params["vae"]
    config, params, _ = load_model(directory, VAEConfig)
    return config, params["vae"]


def is_autoencoder(directory: Path) -> bool:
    """Whether a folder holds an autoencoder by itself, exported or open. Raises ValueError for a damaged config."""
    if is_open_model(directory):
        return False
    if open_autoencoder(directory) is not None:
        return True
    try:
        return model_kind(directory) == VAEConfig.__name__
    except FileNotFoundError:
        return False


WHOLE = 2**23  # pixels of a batch up to which it is encoded in one piece


def encoder(config: VAEConfig, params: Any) -> Callable[[Float[Array, "b t y x 3"]], Any]:
    """Clips in [-1, 1] -> normalised latents; large ones are encoded as a stream, in the memory of a few frames.

    A function with its parameters, which may be an argument of a compiled one.
    """
    return Partial(partial(_encoded, config), params)


def _encoded(config: VAEConfig, params: Any, video: Float[Array, "b t y x 3"]) -> Any:
    if np.prod(video.shape[:-1]) > WHOLE:
        return stream_encode(params, config, video)
    return VAE(config).apply({"params": params}, video, method="encode")


def views(batch: WorldBatch, key: jax.Array) -> tuple[Float[Array, "b t h w 3"], Float[Array, "b t h w 1"]]:
    """The clips of a batch, cut to the bucket's crop; and 1 for pixels near an object of the world, 0 elsewhere.

    Scenes begin at a random moment of the first two seconds.
    """
    moment_key, place_key = jax.random.split(key)
    bucket = batch.bucket
    frame, limit = jnp.array([bucket.width, bucket.height]), jnp.array([bucket.width, bucket.height]) - bucket.crop
    if batch.scene is None:
        video = clips(batch)
        near = jnp.zeros((*video.shape[:-1], 1))
        corner = jax.random.randint(place_key, (len(video), 2), 0, limit + 1)
    else:
        first = jax.random.randint(moment_key, (), 0, 17)
        video, truth = draw(batch.scene, *bucket.size, first=first, needs=batch.needs)
        near = near_objects(truth, bucket.height, bucket.width)
        middle = truth.centre[:, bucket.frames // 2, 0] * min(bucket.height, bucket.width) + frame / 2
        middle = middle + jax.random.uniform(place_key, middle.shape, minval=-bucket.crop / 2, maxval=bucket.crop / 2)
        corner = jnp.clip(jnp.round(middle - bucket.crop / 2).astype(jnp.int32), 0, limit)
    if not bucket.crop:
        return video, near
    side = bucket.crop

    def cut(clip: Float[Array, "t h w c"], at: Array) -> Float[Array, "t side side c"]:
        return jax.lax.dynamic_slice(clip, (0, at[1], at[0], 0), (clip.shape[0], side, side, clip.shape[-1]))

    return jax.vmap(cut)(video, corner), jax.vmap(cut)(near, corner)


def near_objects(truth: Truth, height: int, width: int) -> Float[Array, "b t h w 1"]:
    """1 for pixels within 1.5 radii of a visible object's centre."""
    unit = min(height, width)
    x = (jnp.arange(width) + 0.5 - width / 2) / unit - truth.centre[..., 0][..., None, None]
    y = (jnp.arange(height)[:, None] + 0.5 - height / 2) / unit - truth.centre[..., 1][..., None, None]
    inside = jnp.square(x) + jnp.square(y) < jnp.square(1.5 * truth.radius)[..., None, None]
    return jnp.any(inside & (truth.visible > 0)[..., None, None], 2).astype(jnp.float32)[..., None]


def _decode_raw(vae: VAE, z: Float[Array, "b t h w c"]) -> Float[Array, "b t y x 3"]:
    """Raw latents -> pixels not clipped, whose gradient never vanishes."""
    return vae.decoder(z, {})[0].astype(jnp.float32)


def psnr(error: Float[Array, "b t h w c"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio in dB of an error in [-1, 1] units, the mean over clips."""
    return jnp.mean(-10 * jnp.log10(jnp.mean(jnp.square(error), axis=(1, 2, 3, 4)) / 4 + 1e-10))


def quality(video: Float[Array, "b t h w c"], made: Float[Array, "b t h w c"]) -> dict[str, Float[Array, ""]]:
    """PSNR, SSIM and, of more than one frame, flicker: means over clips in [-1, 1]."""
    found = {"psnr": psnr(made - video), "ssim": jnp.mean(ssim(video, made))}
    return found if video.shape[1] == 1 else found | {"flicker": jnp.mean(flicker(video, made))}


@partial(jax.jit, static_argnums=0)
def reconstructed(config: VAEConfig, params: Any, video: Float[Array, "b t h w 3"]) -> Any:
    """Clips in [-1, 1] -> the same through the autoencoder's mean latents; large ones as a stream."""
    if np.prod(video.shape[:-1]) > WHOLE:
        return stream_decode(params, config, stream_encode(params, config, video))
    return VAE(config).apply({"params": params}, video)


@partial(jax.jit, static_argnums=0)
def _mean(config: VAEConfig, params: Any, video: Array) -> Any:
    return denormalise(encoder(config, params)(video), config)


@dataclass(frozen=True)
class VAETraining:
    """An experiment: train an autoencoder on the world or on videos."""

    model: VAEConfig = VAEConfig()
    objective: VAEObjective = VAEObjective()
    data: WorldData | VideoData = WorldData()
    loop: LoopConfig = LoopConfig()
    decoder_only: bool = False
    """Trains the decoder of `loop.start`, with its encoder frozen and its shape for `model`: latents, and whatever was
    trained on them, stay good. Where `model.decoder_base` is a multiple of its width, a wider decoder that begins as
    the same function."""
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
        """Those of a whole autoencoder."""
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
