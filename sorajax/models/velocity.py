"""A transformer with its conditioning as a function `velocity(x, time)`; the only place that applies a transformer.

A flow map is `velocity(x, time, until)`, the mean velocity between two times: `x + (until - time) * velocity` is the
latent at `until`. Wrappers of a velocity pass on the second time, if there is one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sorajax.diffusion.fixed_frames import Velocity
from sorajax.models.dit import DiT, DiTConfig, TextCache
from sorajax.models.frame_cache import empty_cache, joined, last_tokens
from sorajax.models.text_cache import TextReader


class ExtraInputs(NamedTuple):
    """Conditioning of some models besides the text.

    image: tokens of the first frame.
    channels: mask and latents of conditioning frames, concatenated to the noisy latents.
    actions: the action that led to each frame.
    guidance: the guidance scale of each clip, for models that read it.
    """

    image: Float[Any, "b i e"] | None = None
    channels: Float[Any, "b t h w k"] | None = None
    actions: Int[Any, "b t"] | None = None
    guidance: Float[Any, " b"] | None = None


def velocity_of(
    config: DiTConfig,
    variables: Mapping[str, Any],
    context: Float[Array, "b m e"] | TextCache,
    extra: ExtraInputs = ExtraInputs(),  # noqa: B008 (a value)
    positions: Float[Array, " t"] | None = None,
    past: Any = None,
) -> Velocity:
    """The function (latents [b t h w c], times [b t], times until [b t]) -> velocity, conditioned on text.

    Without the last argument it is the velocity noise - data; with it, of a flow map, the mean velocity.

    variables: Flax's collections: "params" and, for low-rank updates of frozen ones, "adapters".
    context: text embeddings, which every evaluation reads anew; or the result of `read_once`, for many evaluations.
    extra: inputs for one copy of the clips; where x holds several copies (for guidance), they are repeated.
    positions: temporal positions of the latent frames, see `DiT`; None: 0, 1, 2, ...
    past: of a model that is causal by frame, the frames before these, a result of `remember`.
    """

    def velocity(x: Float[Array, "b t h w c"], time: Float[Array, "b t"], until: Any = None) -> Any:
        image, channels, actions, guidance = (None if one is None else repeated(one, len(x)) for one in extra)
        x = x if channels is None else jnp.concatenate([x, channels.astype(x.dtype)], -1)
        image = None if image is None or isinstance(context, TextCache) else image.astype(jnp.float32)
        found: Any = DiT(config).apply(variables, x, time, context, positions, image, until, actions, guidance, past)
        return found if past is None else found[0]

    return velocity


def remember(
    config: DiTConfig,
    variables: Mapping[str, Any],
    x: Float[Array, "b t h w c"],
    time: Float[Array, "b t"],
    context: TextCache,
    actions: Int[Array, "b t"] | None = None,
    past: Any = None,
) -> Any:
    """Keys and values of these frames and of those before them, as many as a later frame attends to."""
    if not config.attended_frames:
        raise ValueError("attended_frames is 0, all frames attend to each other: a cache needs 2 or more")
    _, rows, columns = config.patch
    tokens = x.shape[2] // rows * (x.shape[3] // columns)
    if past is None:
        past = empty_cache(config.heads, config.head_width, config.depth, len(x), config.stacked, config.dtype)
    found: Any = DiT(config).apply(variables, x, time, context, None, None, None, actions, None, past)
    return last_tokens(joined(past, found[1]), (config.attended_frames - 1) * tokens)


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
