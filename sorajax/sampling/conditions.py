"""What sampling takes besides parameters: made here, and nowhere else."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from sorajax.diffusion.fixed_frames import Known, anchored, nothing_known
from sorajax.models.sora import SoraConfig
from sorajax.models.velocity import ExtraInputs
from sorajax.sampling.settings import Settings


class Conditions(NamedTuple):
    """All that sampling takes beside the parameters of a transformer, of numpy or on the device: what is compiled once
    for its shapes."""

    context: Float[Any, "prompts m e"]
    """Of b prompts and, when guided, b negative ones after them."""
    seeds: UInt32[Any, " b"]
    times: Float[Any, " steps+1"]
    guidance_scale: Float[Any, ""]
    temperature: Float[Any, ""]
    """Standard deviation of the noise that sampling begins from: 1 in training; below it clips vary less (Kingma &
    Dhariwal 2018; for diffusion Popov et al. 2021)."""
    positions: Float[Any, " t"]
    """Times of a clip's latent frames; with a cycle, of a view's."""
    known: Known
    """With a cycle, of a view: nothing of it is known."""
    extra: ExtraInputs = ExtraInputs()


def conditions_of(
    settings: Settings,
    contexts: Sequence[Float[Array, "m e"]],
    seeds: Sequence[int],
    times: Float[np.ndarray, " steps+1"],
    known: Known,
    extra: ExtraInputs,
    second: int = 1,
) -> Conditions:
    """The conditions of clips whose second latent frame comes `second` latent frames after the first.

    `contexts` are those of the clips' prompts and then, when guided, of as many negative ones.
    """
    config = settings.model
    step = config.fps / settings.fps
    return Conditions(
        context=jnp.stack(contexts),
        seeds=np.array(seeds, np.uint32),
        times=times,
        guidance_scale=np.asarray(settings.guidance_scale, np.float32),
        temperature=np.asarray(settings.temperature, np.float32),
        positions=np.asarray(anchored(second, settings.latent[0], config.max_anchor_gap, step)),
        known=known,
        extra=extra,
    )


def abstract_conditions(config: SoraConfig, shape: tuple[int, ...], steps: int) -> Conditions:
    """The shapes of one guided clip's conditions, of latents [t h w c]: what a plan compiles for."""

    def array(*size: int, kind: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(size, kind)

    more = config.dit.in_channels - shape[-1]
    image = None if config.vision is None else array(1, config.vision.tokens, config.vision.width)
    return Conditions(
        context=array(2, config.text.tokens, config.text.width),
        seeds=array(1, kind=jnp.uint32),
        times=array(steps + 1),
        guidance_scale=array(),
        temperature=array(),
        positions=array(shape[0]),
        known=jax.eval_shape(lambda: nothing_known((1, *shape))),
        extra=ExtraInputs(image, array(1, *shape[:-1], more) if more else None),
    )
