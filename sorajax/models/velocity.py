"""A transformer with its conditioning as a function `velocity(x, time)`; the only place that applies a transformer.

A flow map is `velocity(x, time, until)`, the mean velocity between two times: `x + (until - time) * velocity` is the
latent at `until`. What wraps a velocity passes the second time on where there is one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sorajax.diffusion.fixed_frames import Velocity
from sorajax.models.dit import DiT, DiTConfig, TextCache
from sorajax.models.text_cache import TextReader


class ExtraInputs(NamedTuple):
    """Conditioning of some models besides the text.

    image: tokens of the first frame.
    channels: mask and latents of conditioning frames, concatenated to the noisy latents.
    actions: the action that led to each frame.
    """

    image: Float[Any, "b i e"] | None = None
    channels: Float[Any, "b t h w k"] | None = None
    actions: Int[Any, "b t"] | None = None


def velocity_of(
    config: DiTConfig,
    variables: Mapping[str, Any],
    context: Float[Array, "b m e"] | TextCache,
    extra: ExtraInputs = ExtraInputs(),  # noqa: B008 (a value)
    positions: Float[Array, " t"] | None = None,
) -> Velocity:
    """The function (latents [b t h w c], times [b t], times until [b t]) -> velocity, conditioned on text.

    Without the last argument it is the velocity noise - data; with it, of a flow map, the mean velocity.

    variables: Flax's collections: "params" and, for low-rank updates of frozen ones, "adapters".
    context: text embeddings, which every evaluation reads anew; or the result of `read_once`, for many evaluations.
    extra: inputs for one copy of the clips; where x holds several copies (for guidance), they are repeated.
    positions: temporal positions of the latent frames, see `DiT`; None: 0, 1, 2, ...
    """

    def velocity(x: Float[Array, "b t h w c"], time: Float[Array, "b t"], until: Any = None) -> Any:
        image, channels, actions = (None if one is None else repeated(one, len(x)) for one in extra)
        x = x if channels is None else jnp.concatenate([x, channels.astype(x.dtype)], -1)
        image = None if image is None or isinstance(context, TextCache) else image.astype(jnp.float32)
        return DiT(config).apply(variables, x, time, context, positions, image, until, actions)

    return velocity


def read_once(
    config: DiTConfig, variables: Mapping[str, Any], context: Float[Array, "b m e"], image: Float[Any, "b i e"] | None
) -> TextCache:
    """Keys and values of text and image tokens in all blocks, which do not depend on latents and times; where the
    context has several copies of the clips (for guidance), image tokens are repeated."""
    image = None if image is None else repeated(image, len(context)).astype(jnp.float32)
    cache: Any = TextReader(config).apply(variables, context, image)
    return cache


def repeated(x: Array, b: int) -> Array:
    """Copies of a batch, one after the other, `b` rows in all."""
    copies = b // len(x)
    return x if copies == 1 else jnp.concatenate([x] * copies)
