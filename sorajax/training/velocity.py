"""What a transformer that trains says of a batch, and its errors by level of noise."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.models.dit import DiT
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextEncoder
from sorajax.training.metrics import Mean

LEVELS = 8  # of noise, that the loss is reported by


def embed(config: SoraConfig, params: Any, ids: Any = None, mask: Any = None, context: Any = None) -> Any:
    """Token ids and mask [b m] -> text embeddings [b m e], float32, where these are not there already."""
    if context is not None:
        return context.astype(jnp.float32)
    return TextEncoder(config.text).apply({"params": params["text"]}, ids, mask)


def predict(
    config: SoraConfig, params: Any, context: Array, x: Array, time: Array, channels: Any = None, image: Any = None
) -> Any:
    """Text embeddings, latents [b t h w c] and times [b t] -> velocity; by model, of what is read of a picture too."""
    if channels is not None:
        x = jnp.concatenate([x, channels.astype(x.dtype)], -1)
    image = None if image is None else image.astype(jnp.float32)
    return DiT(config.dit).apply({"params": params["dit"]}, x, time, context, image=image)


def by_time(total: Float[Array, "b t"], count: Float[Array, "b t"], time: Float[Array, "b t"]) -> Mean:
    """Sums of errors and counts in LEVELS equal intervals of time, the last one noise."""
    bucket = jnp.clip((time * LEVELS).astype(jnp.int32), 0, LEVELS - 1)
    where = jax.nn.one_hot(bucket, LEVELS, axis=0)
    return Mean(jnp.sum(where * total, (1, 2)), jnp.sum(where * count, (1, 2)))
