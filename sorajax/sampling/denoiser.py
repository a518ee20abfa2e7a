"""The transformer in use: it samples latents from settings and conditions. A model of two experts runs one after the
other."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.devices.residency import Parts
from sorajax.diffusion.caching import Schedule
from sorajax.diffusion.fixed_frames import FixedLatents
from sorajax.diffusion.guidance import guided_evaluations
from sorajax.diffusion.looped import Cycle
from sorajax.diffusion.samplers import SAMPLERS, State
from sorajax.media.video import Frames
from sorajax.models.conditioning import ConditioningFrames, Encoders
from sorajax.models.sora import SoraConfig
from sorajax.models.velocity import ExtraInputs
from sorajax.models.vision import preprocess
from sorajax.sampling.codec import Codec
from sorajax.sampling.conditions import Conditions, conditions_of
from sorajax.sampling.program import (
    Programs,
    Ranges,
    encode_image,
    evaluation_times,
    expert_ranges,
    sample_latents,
)
from sorajax.sampling.progress import Bar
from sorajax.sampling.prompts import Prompts
from sorajax.sampling.settings import Settings


class Denoiser:
    """A model's transformer and the inputs that condition it."""

    def __init__(
        self, config: SoraConfig, params: Parts, prompts: Prompts, codec: Codec, programs: Programs, bar: Bar, name: str
    ):
        self.config, self.params, self.name = config, params, name
        self.prompts, self.programs, self.bar = prompts, programs, bar
        self.encoders = Encoders(codec.encode, None if config.vision is None else self.image_tokens)

    def sample(
        self,
        clips: Sequence[tuple[str, int]],
        settings: Settings,
        times: Float[np.ndarray, " steps+1"],
        known: FixedLatents,
        extra: ExtraInputs,
        anchor_gap: int = 1,
        cycle: Cycle | None = None,
    ) -> Float[Array, "b t h w c"]:
        """Samples latents of clips, each a (prompt, seed); see `conditions_of` for `anchor_gap`.

        A model of two experts has one of them in memory at a time; the second continues from the sampler's state.
        """
        conditions, state = self.conditions(clips, settings, times, known, extra, anchor_gap), None
        sampler = SAMPLERS[settings.sampler]
        at = evaluation_times(self.config, sampler, times)
        guided = guided_evaluations(at, settings.guidance_interval)
        cache = None if settings.cache is None else settings.cache.schedule(at)
        for part, evaluations in expert_ranges(self.config, sampler, times).items():
            scale = settings.guidance_scale_low if part == "dit_low" else settings.guidance_scale
            conditions = conditions._replace(guidance_scale=np.asarray(scale, np.float32))
            ranges = Ranges(evaluations, guided if scale != 1 else (0, 0))
            state = self._evaluated(part, conditions, state, settings, ranges, cache, cycle)
        assert state is not None
        self.bar.finish_sampling()
        return state[0]

    def conditions(
        self,
        clips: Sequence[tuple[str, int]],
        settings: Settings,
        times: Float[np.ndarray, " steps+1"],
        known: FixedLatents,
        extra: ExtraInputs,
        anchor_gap: int = 1,
    ) -> Conditions:
        """The inputs of sampling these clips besides parameters."""
        prompts = [prompt for prompt, _ in clips] + [settings.negative] * (len(clips) if settings.guided else 0)
        contexts = [self.prompts.context(prompt) for prompt in prompts]
        return conditions_of(settings, contexts, [seed for _, seed in clips], times, known, extra, anchor_gap)

    def _evaluated(
        self,
        part: str,
        conditions: Conditions,
        state: State | None,
        settings: Settings,
        ranges: Ranges,
        cache: Schedule | None,
        cycle: Cycle | None,
    ) -> State:
        """The sampler's state after one transformer's evaluations, a program that is compiled once for these shapes."""
        config = replace(self.config, dit=replace(self.config.dit, unroll=1))  # a loop compiles sooner, runs as fast
        params = self.params[part]
        reports = self.bar.reports and operations(config, params, conditions, settings.guided) >= self.bar.least
        watch = self.bar.watch if reports else None
        sampler = SAMPLERS[settings.sampler]
        function = partial(
            sample_latents, config, sampler, settings.guided, watch, cycle=cycle, ranges=ranges, cache=cache
        )
        shapes = tuple(jax.tree.leaves(jax.tree.map(lambda x: (np.shape(x), jnp.result_type(x)), (conditions, state))))
        structure = jax.tree.structure((conditions, state))
        kind = (
            "transformer",
            shapes,
            structure,
            settings.sampler,
            settings.guided,
            watch is None,
            cycle,
            ranges,
            cache,
        )
        batch, *shape = conditions.known.latent.shape[:4]
        tokens = math.prod(shape) // math.prod(config.dit.patch)
        placement = self.programs.placement.for_batch(batch * (2 if settings.guided else 1), tokens)
        return self.programs(kind, function, params, conditions, state, placement=placement)

    def inputs(self, frames: ConditioningFrames | None, shape: tuple[int, ...]) -> tuple[FixedLatents, ExtraInputs]:
        """Fixed latents of shape [b t h w c] and the model's extra inputs. Raises BadRequest where the model cannot
        read these frames."""
        return self.config.conditioning.inputs(frames, shape, self.config.vae.stride[0], self.encoders, self.name)

    def window_inputs(self, known: FixedLatents, frames: Frames) -> tuple[FixedLatents, ExtraInputs]:
        """The same for a window of a film, where both the fixed latents and their frames exist already."""
        return self.config.conditioning.window_inputs(known, frames, self.config.vae.stride[0], self.encoders)

    def image_tokens(self, picture: UInt8[np.ndarray, "y x 3"]) -> Float[Array, "i e"]:
        """Tokens of a picture from the image encoder, for models that have one."""
        config = self.config.vision
        assert config is not None
        image = preprocess(picture, config.size)[None]
        return self.programs("vision", partial(encode_image, config), self.params["vision"], image)[0]


def operations(config: SoraConfig, params: Any, conditions: Conditions, guided: bool) -> float:
    """Multiplications and additions of the parameters in all steps of a sampling, roughly: attention is not counted."""
    tokens = np.prod(conditions.known.latent.shape[:4]) / np.prod(config.dit.patch)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return 2.0 * size * tokens * len(conditions.times) * (1 + guided)
