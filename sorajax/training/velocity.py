"""The velocities of a transformer in training, and its errors by level of noise."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.data.buckets import Bucket
from sorajax.diffusion.guidance import guided
from sorajax.diffusion.samplers import euler
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextEncoder
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.velocity import ExtraInputs, velocity_of
from sorajax.training.metrics import Mean

LEVELS = 8  # of noise, that the loss is reported by
PROMPTS = (
    "a red ball bounces on a grey floor",
    "a large blue star moves left on a navy background",
    "green box spinning on black",
    "a small yellow triangle falls on a brown floor",
    "a purple ring circles on a forest floor",
    "white ball grows on navy",
)
"""Prompts of a sample grid of the world."""


def embed(config: SoraConfig, params: Any, ids: Any = None, mask: Any = None, context: Any = None) -> Any:
    """Token ids and mask [b m] -> text embeddings [b m e], float32, where these are not there already."""
    if context is not None:
        return context.astype(jnp.float32)
    return TextEncoder(config.text).apply({"params": params["text"]}, ids, mask)


def predict(
    config: SoraConfig,
    params: Any,
    context: Array,
    x: Array,
    time: Array,
    extra: ExtraInputs = ExtraInputs(),  # noqa: B008 (a value)
    positions: Float[Array, " t"] | None = None,
    until: Float[Array, "b t"] | None = None,
) -> Any:
    """Text embeddings, latents [b t h w c] and times [b t] -> velocity; `extra` is what some models read besides.
    `positions` in time are 0, 1, 2, ... where none are given. Where params have "adapters" of "dit", these count.
    `until`: of a flow map, the time [b t] until which the velocity is averaged."""
    variables = {"params": params["dit"], "adapters": params.get("adapters", {})}
    return velocity_of(config.dit, variables, context, extra, positions)(x, time, until)


@partial(jax.jit, static_argnums=(0, 1))
def sample(
    config: SoraConfig,
    shape: tuple[int, ...],
    params: Any,
    vae: Any,
    prompts: Any,
    key: Array,
    times: Float[Array, " steps+1"],
    scale: float,
) -> Any:
    """Videos [b t y x 3] in [-1, 1] of prompts as `FlowStage` keeps them, guided; `shape` is of latents, [t h w c]."""
    context = embed(config, params, **prompts)
    prompts, empty = context[:-1], jnp.broadcast_to(context[-1:], context[:-1].shape)
    steered = guided(partial(predict, config, params, prompts), partial(predict, config, params, empty), scale)
    noise = config.temperature * jax.random.normal(key, (len(prompts), *shape))
    latent = euler(steered, noise, times)
    return VAE(config.vae).apply({"params": vae}, latent, method="decode")


def tokens_of_clip(vae: VAEConfig, dit: DiTConfig, bucket: Bucket) -> int:
    """Spacetime patches of one clip."""
    return math.prod(size // patch for size, patch in zip(vae.latent_shape(*bucket.window), dit.patch, strict=False))


def by_time(total: Float[Array, "b t"], count: Float[Array, "b t"], time: Float[Array, "b t"]) -> Mean:
    """Sums of errors and counts in LEVELS equal intervals of time, the last one noise."""
    bucket = jnp.clip((time * LEVELS).astype(jnp.int32), 0, LEVELS - 1)
    where = jax.nn.one_hot(bucket, LEVELS, axis=0)
    return Mean(jnp.sum(where * total, (1, 2)), jnp.sum(where * count, (1, 2)))
