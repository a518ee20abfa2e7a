"""A transformer with its conditioning as a function `velocity(x, time)`; the only place that applies a transformer."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.models.dit import DiT, DiTConfig

Velocity = Callable[[Float[Array, "b t h w c"], Float[Array, "b t"]], Float[Array, "b t h w c"]]


class ExtraInputs(NamedTuple):
    """Conditioning of some models besides the text.

    image: tokens of the first frame.
    channels: mask and latents of conditioning frames, concatenated to the noisy latents.
    """

    image: Float[Any, "b i e"] | None = None
    channels: Float[Any, "b t h w k"] | None = None


def velocity_of(
    config: DiTConfig,
    variables: Mapping[str, Any],
    context: Float[Array, "b m e"],
    extra: ExtraInputs = ExtraInputs(),  # noqa: B008 (a value)
    positions: Float[Array, " t"] | None = None,
) -> Velocity:
    """The function (latents [b t h w c], times [b t]) -> velocity noise - data, conditioned on text.

    variables: Flax's collections: "params" and, for low-rank updates of frozen ones, "adapters".
    extra: inputs for one copy of the clips; where x holds several copies (for guidance), they are repeated.
    positions: temporal positions of the latent frames, see `DiT`; None: 0, 1, 2, ...
    """

    def velocity(x: Float[Array, "b t h w c"], time: Float[Array, "b t"]) -> Any:
        image, channels = (None if one is None else repeated(one, len(x)) for one in extra)
        x = x if channels is None else jnp.concatenate([x, channels.astype(x.dtype)], -1)
        image = None if image is None else image.astype(jnp.float32)
        return DiT(config).apply(variables, x, time, context, positions, image)

    return velocity


def repeated(x: Array, b: int) -> Array:
    """Copies of a batch, one after the other, `b` rows in all."""
    copies = b // len(x)
    return x if copies == 1 else jnp.concatenate([x] * copies)
