"""Settings and conditions to latents: the transformer, or two experts one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.devices.residency import Parts
from sorajax.diffusion.fixed_frames import Known, anchored, nothing_known
from sorajax.diffusion.looped import Cycle
from sorajax.diffusion.samplers import SAMPLERS, State
from sorajax.errors import BadRequest
from sorajax.models.sora import SoraConfig
from sorajax.models.velocity import ExtraInputs
from sorajax.models.vision import preprocess
from sorajax.sampling.codec import Codec
from sorajax.sampling.conditions import ConditioningFrames, channels_of, known_of
from sorajax.sampling.program import Conditions, Programs, encode_image, expert_ranges, sample_latents
from sorajax.sampling.progress import Bar
from sorajax.sampling.prompts import Prompts
from sorajax.sampling.settings import Settings


class Denoiser:
    """The transformer of a model, with what tells it what to make."""

    def __init__(
        self, config: SoraConfig, params: Parts, prompts: Prompts, codec: Codec, programs: Programs, bar: Bar, name: str
    ):
        self.config, self.params, self.name = config, params, name
        self.prompts, self.codec, self.programs, self.bar = prompts, codec, programs, bar

    def sample(
        self,
        clips: Sequence[tuple[str, int]],
        settings: Settings,
        times: np.ndarray,
        known: Known,
        extra: ExtraInputs,
        second: int = 1,
        cycle: Cycle | None = None,
    ) -> Float[Array, "b t h w c"]:
        """Latents of clips given as (prompt, seed), whose second latent frame is so many after the first.

        Of two experts one is in memory while it samples; the other one takes its state and goes on.
        """
        conditions, state = self.conditions(clips, settings, times, known, extra, second), None
        for part, span in expert_ranges(self.config, SAMPLERS[settings.sampler], times).items():
            if part == "dit_low":
                conditions = conditions._replace(guidance_scale=np.asarray(settings.guidance_scale_low, np.float32))
            state = self._evaluated(part, conditions, state, settings, span, cycle)
        assert state is not None
        self.bar.finish_sampling()
        return state[0]

    def conditions(
        self,
        clips: Sequence[tuple[str, int]],
        settings: Settings,
        times: np.ndarray,
        known: Known,
        extra: ExtraInputs,
        second: int = 1,
    ) -> Conditions:
        """All that sampling takes beside parameters."""
        prompts = [prompt for prompt, _ in clips] + [settings.negative] * (len(clips) if settings.guided else 0)
        step = self.config.fps / settings.fps
        return Conditions(
            context=jnp.stack([self.prompts.context(prompt) for prompt in prompts]),
            seeds=np.array([seed for _, seed in clips], np.uint32),
            times=times,
            guidance_scale=np.asarray(settings.guidance_scale, np.float32),
            temperature=np.asarray(settings.temperature, np.float32),
            positions=np.asarray(anchored(second, settings.latent[0], self.config.max_anchor_gap, step)),
            known=known,
            extra=extra,
        )

    def _evaluated(
        self,
        part: str,
        conditions: Conditions,
        state: State | None,
        settings: Settings,
        evaluations: tuple[int, int | None],
        cycle: Cycle | None,
    ) -> State:
        """The state after a transformer's evaluations; compiled once for these shapes."""
        dit = replace(self.config.dit, unroll=1)  # a loop compiles sooner, runs as fast
        report = self.bar.report if self.bar.watched else None
        function = partial(
            sample_latents,
            replace(self.config, dit=dit),
            SAMPLERS[settings.sampler],
            settings.guided,
            report,
            cycle=cycle,
            evaluations=evaluations,
        )
        shapes = tuple(jax.tree.leaves(jax.tree.map(lambda x: (np.shape(x), jnp.result_type(x)), (conditions, state))))
        structure = jax.tree.structure((conditions, state))
        kind = ("transformer", shapes, structure, settings.sampler, settings.guided, report is None, cycle, evaluations)
        return self.programs(kind, function, self.params[part], conditions, state)

    def known(
        self, conditioning: ConditioningFrames | None, shape: tuple[int, ...], kept: Known | None = None
    ) -> tuple[Known, ExtraInputs]:
        """What is known of latents of shape [b t h w c], and how else the model is told; `kept` are latents that are
        there already, of the given frames. Raises BadRequest."""
        config, stride = self.config, self.config.vae.stride[0]
        if config.known != "channels":
            known = (
                nothing_known(shape)
                if conditioning is None
                else known_of(conditioning, shape, stride, self.codec.encode)
            )
            return known, ExtraInputs()
        if conditioning is None or conditioning.head is None or conditioning.source_clip is not None:
            raise BadRequest(
                f"{self.name} goes on from a picture, or from a clip's end: say --image, --extend, "
                "--between, --connect, --fill or --storyboard"
            )
        channels = channels_of(conditioning, shape, stride, self.codec.encode, kept)
        image = None if config.vision is None else self.image_tokens(conditioning.head[0])
        b = shape[0]
        return nothing_known(shape), ExtraInputs(
            None if image is None else jnp.broadcast_to(image, (b, *image.shape)),
            jnp.broadcast_to(channels, (b, *channels.shape)),
        )

    def image_tokens(self, picture: UInt8[np.ndarray, "y x 3"]) -> Float[Array, "i e"]:
        """The image encoder's tokens of a picture."""
        config = self.config.vision
        assert config is not None
        image = preprocess(picture, config.size)[None]
        return self.programs("vision", partial(encode_image, config), self.params["vision"], image)[0]
