"""The cases of a benchmark: a transformer of a named shape, or a training experiment, with random weights and data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sorajax.data.worlds import WorldBatch, WorldData, scene_maker
from sorajax.devices.compilation import gradient_compiler_options
from sorajax.diffusion.flow import interpolate, logit_normal, velocity_target
from sorajax.errors import BadRequest
from sorajax.evaluation.speed import normal
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig, init_dit
from sorajax.models.vae import VAEConfig
from sorajax.models.velocity import velocity_of
from sorajax.training.autoencoder import load_vae
from sorajax.training.experiments import load_experiment
from sorajax.training.experiments.flow import FlowTraining
from sorajax.training.experiments.vae import VAETraining
from sorajax.training.objectives.flow import FlowStage
from sorajax.training.objectives.vae import VAEStage
from sorajax.training.optimizer import OptimizerConfig
from sorajax.training.step import Stage
from sorajax.training.transformer import TransformerFolder


@dataclass(frozen=True)
class Shape:
    """A transformer alone, at one size of latents and of embedded text."""

    dit: DiTConfig
    latent: tuple[int, int, int]
    """Latent frames, rows and columns."""
    tokens: int
    """Text tokens."""


NAMED = {
    "dit-12x384": Shape(
        DiTConfig(width=384, hidden=1536, depth=12, heads=6, stacked=False, remat="none"), latent=(7, 16, 16), tokens=64
    ),
    # 81 frames of 832x480; training takes an accelerator of 80 GB.
    "wan2.1-1.3b": Shape(DiTConfig(dtype="bfloat16"), latent=(21, 60, 104), tokens=512),
}


def velocity_flops(config: DiTConfig, latent: Sequence[int], text: int) -> float:
    """FLOPs of one velocity of one clip by formula: two for each multiplication of a matrix product.

    latent: latent frames, rows and columns. text: text tokens.
    """
    d, t, patch = config.width, latent[0], math.prod(config.patch)
    s = math.prod(size // side for size, side in zip(latent, config.patch))
    self_attention = 4 * s * d * d + 2 * s * s * d
    cross_attention = 2 * s * d * d + 2 * text * d * d + 2 * s * text * d
    block = self_attention + cross_attention + 2 * s * d * config.hidden
    clock = t * (config.frequencies * d + d * d + 6 * d * d)
    edges = s * d * patch * (config.in_channels + config.out_channels) + text * d * (config.text_width + d)
    return 2.0 * (config.depth * block + clock + edges)


@dataclass(frozen=True)
class Case:
    """One case: a training stage with a batch of it, and the parts that are measured alone. `dit` or `vae` is None if
    the config has none."""

    stage: Stage
    batch: Any
    clips: int
    optimizer: OptimizerConfig
    latent: tuple[int, ...]
    """t, h, w and c of one clip."""
    dit: DiTConfig | None = None
    tokens: int = 0
    """Text tokens."""
    vae: VAEConfig | None = None
    size: tuple[int, int, int] = (0, 0, 0)
    """Frames, rows and columns of a clip in pixels."""

    @property
    def dtype(self) -> str:
        return (self.dit or self.vae).dtype  # type: ignore[union-attr]


@flax.struct.dataclass
class TransformerStage(Stage):
    """Flow matching of a transformer alone, on batches of latents and embedded text."""

    config: DiTConfig = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array) -> Any:
        return init_dit(self.config, key)

    def compiler_options(self) -> dict[str, Any] | None:
        return gradient_compiler_options()

    def loss(self, params: Any, batch: dict[str, Array], key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        data, (time_key, noise_key) = batch["latent"], jax.random.split(key)
        clock = jnp.broadcast_to(logit_normal(time_key, (len(data), 1)), data.shape[:2])
        noise = jax.random.normal(noise_key, data.shape)
        x = interpolate(data, noise, clock)
        velocity = velocity_of(self.config, {"params": params}, batch["context"])(x, clock)
        return jnp.mean(jnp.square(velocity - velocity_target(data, noise))), {}


def make_case(name: str, clips: int | None) -> Case:
    """The case of a named shape or of an experiment file. Raises BadRequest for a file without an experiment."""
    if name in NAMED:
        return transformer_case(NAMED[name], clips or 1)
    experiment = experiment_in(name)
    if isinstance(experiment, FlowTraining):
        return flow_case(experiment, autoencoder(experiment.vae, Path(name)), clips)
    return vae_case(experiment, clips)


def experiment_in(name: str) -> FlowTraining | VAETraining:
    """The experiment in a file. Raises BadRequest for a file without one."""
    try:
        experiment = load_experiment(name)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadRequest(f"{name} is not an experiment file: {error}") from error
    if not isinstance(experiment, FlowTraining | VAETraining):
        raise BadRequest(
            f"{name} defines a {type(experiment).__name__}, which cannot be measured: use FlowTraining or VAETraining"
        )
    return experiment


def with_remat(case: Case, policy: Any) -> Case:
    """The case with another remat policy and its blocks in one scan: for unrolled blocks XLA on CPU stores the values
    that the policy has it recompute."""
    assert case.dit is not None
    dit, stage = replace(case.dit, remat=policy, stacked=True, unroll=1), case.stage
    config = dit if isinstance(stage, TransformerStage) else replace(stage.config, dit=dit)  # type: ignore[attr-defined]
    return replace(case, dit=dit, stage=stage.replace(config=config))  # type: ignore[attr-defined]


def transformer_case(shape: Shape, clips: int) -> Case:
    latent = (*shape.latent, shape.dit.in_channels)
    batch = {"latent": normal(clips, *latent), "context": normal(clips, shape.tokens, shape.dit.text_width)}
    return Case(TransformerStage(shape.dit), batch, clips, OptimizerConfig(), latent, shape.dit, shape.tokens)


def flow_case(experiment: FlowTraining, vae: VAEConfig, clips: int | None) -> Case:
    bucket = experiment.data.buckets[0]
    bucket = replace(bucket, batch_size=clips or bucket.batch_size)
    latent, text = vae.latent_shape(*bucket.size), experiment.text
    config = SoraConfig(text, experiment.model, vae)
    stage = FlowStage(None, None, config, experiment.objective, experiment.data, TransformerFolder(""))
    ids = np.random.default_rng(0).integers(0, text.vocabulary, (bucket.batch_size, text.tokens), np.int32)
    batch = WorldBatch(None, normal(bucket.batch_size, *latent), ids, np.ones_like(ids, bool), bucket)
    return Case(
        stage, batch, bucket.batch_size, experiment.loop.optimizer, latent, config.dit, text.tokens, vae, bucket.size
    )


def vae_case(experiment: VAETraining, clips: int | None) -> Case:
    bucket = experiment.data.buckets[0]
    bucket = replace(bucket, batch_size=clips or bucket.batch_size)
    stage = VAEStage(experiment.model, experiment.objective, experiment.data).at(experiment.loop.steps)
    if isinstance(experiment.data, WorldData):
        batch = scene_maker(experiment.data)(bucket, np.random.default_rng(0))
    else:
        batch = WorldBatch(pixels=np.zeros((bucket.batch_size, *bucket.size, 3), np.uint8), bucket=bucket)
    latent = experiment.model.latent_shape(*bucket.size)
    return Case(
        stage, batch, bucket.batch_size, experiment.loop.optimizer, latent, vae=experiment.model, size=bucket.size
    )


def autoencoder(folder: Path, experiment: Path) -> VAEConfig:
    """Config of the autoencoder that an experiment names by its folder: from the experiment file of that name beside
    it, so that no autoencoder has to be trained, else from the trained one. Raises BadRequest if neither exists."""
    beside = experiment.with_name(f"{folder.name}.py")
    if beside.is_file():
        model = experiment_in(str(beside)).model
        if not isinstance(model, VAEConfig):
            raise BadRequest(f"{experiment} names the autoencoder {folder}, but {beside} trains a transformer")
        return model
    if folder.is_dir():
        return load_vae(folder)[0]
    raise BadRequest(f"{experiment} names the autoencoder {folder}, but neither it nor {beside} exists: train it")
