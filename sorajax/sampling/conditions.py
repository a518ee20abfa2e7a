"""The inputs of the compiled sampling program besides parameters. Pipeline, plan and tests all build them here."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from sorajax.diffusion.fixed_frames import FixedLatents, anchored, no_fixed_frames
from sorajax.models.sora import SoraConfig
from sorajax.models.velocity import ExtraInputs
from sorajax.sampling.settings import Settings


class Conditions(NamedTuple):
    """All inputs of sampling besides the transformer's parameters, in numpy or on the device. Sampling is compiled once
    for their shapes."""

    context: Float[Any, "prompts m e"]
    """Text embeddings of b prompts; with guidance followed by those of b negative prompts."""
    seeds: UInt32[Any, " b"]
    """One for the noise of each clip."""
    times: Float[Any, " steps+1"]
    """The sampler's times, from the start (at most 1, noise) to 0 (data)."""
    guidance_scale: Float[Any, ""] | Float[Any, "b 1 1 1 1"]
    """Of all clips, or of each."""
    temperature: Float[Any, ""]
    """Standard deviation of the initial noise: 1 in training; clips vary less below 1 (Kingma & Dhariwal 2018; for
    diffusion Popov et al. 2021)."""
    positions: Float[Any, " t"]
    """Temporal rotary positions of a clip's latent frames; for a loop, those of one view."""
    known: FixedLatents
    """The fixed latents [b t h w c]; for a loop, those of one view, in which no frame is fixed."""
    extra: ExtraInputs = ExtraInputs()


def conditions_of(
    settings: Settings,
    contexts: Sequence[Float[np.ndarray, "m e"]],
    seeds: Sequence[int],
    times: Float[np.ndarray, " steps+1"],
    known: FixedLatents,
    extra: ExtraInputs,
    anchor_gap: int = 1,
) -> Conditions:
    """The conditions of clips of the settings.

    contexts: text embeddings of the clips' prompts and, with guidance, of as many negative prompts after them.
    anchor_gap: distance from a clip's first latent frame to its second, in latent frames; above 1 the first is an
    anchor from earlier in a film.
    """
    config = settings.model
    step = config.fps / settings.fps
    if settings.scale_input is not None:
        extra = extra._replace(guidance=np.full(len(seeds), settings.scale_input, np.float32))
    return Conditions(
        context=np.stack(contexts),
        seeds=np.array(seeds, np.uint32),
        times=times,
        guidance_scale=np.asarray(settings.guidance_scale, np.float32),
        temperature=np.asarray(settings.temperature, np.float32),
        positions=anchored(anchor_gap, settings.latent[0], config.max_anchor_gap, step),
        known=known,
        extra=extra,
    )


def abstract_conditions(config: SoraConfig, shape: tuple[int, ...], steps: int, guided: bool = True) -> Conditions:
    """Shapes, without arrays, of the conditions of one clip, for latents of shape [t h w c]; a plan compiles for
    these."""

    def array(*size: int, kind: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(size, kind)

    extra_channels = config.dit.in_channels - shape[-1]
    image = None if config.vision is None else array(1, config.vision.tokens, config.vision.width)
    return Conditions(
        context=array(2 if guided else 1, config.text.tokens, config.text.width),
        seeds=array(1, kind=jnp.uint32),
        times=array(steps + 1),
        guidance_scale=array(),
        temperature=array(),
        positions=array(shape[0]),
        known=jax.eval_shape(lambda: no_fixed_frames((1, *shape))),
        extra=ExtraInputs(
            image=image,
            channels=array(1, *shape[:-1], extra_channels) if extra_channels else None,
            guidance=array(1) if config.dit.guidance else None,
        ),
    )
