"""The pipeline: text encoder, denoiser and autoencoder put together, from a request to videos.

    tokens -> context -> velocity(x, time) -> sampler -> latents -> frames

Clips longer than the model's window are films, sampled window by window (`film`). A clip's noise depends on its seed
alone, not on its batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from sorajax import __version__
from sorajax.devices.residency import Parts
from sorajax.diffusion.looped import Cycle
from sorajax.errors import BadRequest, note
from sorajax.media.video import Film, Frames, Video, Videos
from sorajax.models.conditioning import ConditioningFrames
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy, read_policy
from sorajax.sampling.calibration import step_cache
from sorajax.sampling.codec import Codec
from sorajax.sampling.denoiser import Denoiser
from sorajax.sampling.film import film_frames
from sorajax.sampling.memory import batch_of, check_fits
from sorajax.sampling.pixels import restore_fixed_pixels
from sorajax.sampling.program import Programs
from sorajax.sampling.progress import Bar
from sorajax.sampling.prompts import Prompts
from sorajax.sampling.request import CacheName, Request, SamplerName
from sorajax.sampling.settings import Settings, metadata, notes_on, settings_for
from sorajax.sampling.shots import Shot, check_first_frames, shots_metadata, shots_of
from sorajax.sampling.store import WindowStore
from sorajax.sampling.windows import Windows, windows_for
from sorajax.sampling.wording import caption, expand


class Pipeline:
    """A model ready to sample. `pipeline("a red ball bounces")` returns videos, which a notebook displays."""

    def __init__(
        self,
        config: SoraConfig,
        params: dict[str, Any] | Parts,
        tokenizer: Tokenizer,
        name: str,
        load_options: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        policy: Policy | None = None,
    ):
        """load_options: the options with which it was opened (dtype, adapters, quantize), as JSON values for the
        metadata of clips. folder: where its weights are, and its calibration. policy: by default the user's."""
        self.folder, self.safety = folder, Safety(read_policy() if policy is None else policy)
        self.config, self.tokenizer, self.name, self.load_options = config, tokenizer, name, dict(load_options or {})
        self.params = params if isinstance(params, Parts) else Parts.of(jax.device_put(params))
        self.bar, programs = Bar(self.params.placement.spans_hosts), Programs(self.params.placement)
        self.prompts = Prompts(config, self.params, tokenizer, programs)
        self.codec = Codec(config, self.params, programs)
        self.denoiser = Denoiser(config, self.params, self.prompts, self.codec, programs, self.bar, name)

    def __call__(
        self,
        prompts: str | Sequence[str],
        *,
        frames: int | None = None,
        seconds: float | None = None,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: SamplerName | None = None,
        shift: float | None = None,
        seed: int = 0,
        num: int = 1,
        negative: str | None = None,
        guidance_scale_low: float | None = None,
        temperature: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        cache: CacheName | None = None,
        cache_threshold: float | None = None,
    ) -> Videos:
        """Samples `num` videos of each prompt, in order. `Request` describes the settings. Raises BadRequest."""
        request = Request(
            (prompts,) if isinstance(prompts, str) else tuple(prompts),
            negative,
            num,
            seed,
            frames,
            seconds,
            width,
            height,
            fps,
            steps,
            guidance_scale,
            sampler,
            shift,
            guidance_scale_low,
            temperature,
            guidance_interval,
            cache,
            cache_threshold,
        )
        settings = self.plan(request)
        for text in settings.notes:
            note(text)
        return Videos(video.whole() for video in self.stream(request, settings))

    def plan(self, request: Request, at_once: bool = False) -> Settings:
        """Settings of a request for this model, with defaults filled in. at_once: the clip is sampled in one window,
        however long it is. Raises BadRequest where the model or the memory does not allow the request."""
        self.safety.check_prompts([*request.prompts, request.negative or ""])
        try:
            settings = settings_for(request, self.config, at_once)
            cache = step_cache(request, self.folder, self.load_options, self.name)
            notes = notes_on(self.tokenizer, self.config, request.prompts, settings.negative)
            largest = settings.of_window() if settings.in_windows else settings
            check_fits(self.params, self.config, largest.latent, settings.guided)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        return replace(settings, notes=(*settings.notes, *notes), cache=cache)

    def stream(
        self,
        request: Request,
        settings: Settings,
        batch: int | None = None,
        conditioning: ConditioningFrames | None = None,
        cycle: Cycle | None = None,
    ) -> Iterator[Video]:
        """Yields the videos in order: `num` of the first prompt, then of the next.

        batch: clips per sampling call, see `batch_of`. conditioning: frames that are fixed in each clip. cycle: each
        clip is a loop, of which the settings are one view. Else, with settings `in_windows`, each clip is a film.
        """
        clips = request.clips
        if settings.in_windows and conditioning is None and cycle is None:
            yield from (self.film(settings, shots_of(prompt, settings.frames), seed).whole() for prompt, seed in clips)
            return
        batch = batch_of(self.params, self.config, settings, batch, len(clips))
        groups = [clips[start : start + batch] for start in range(0, len(clips), batch)]
        times = settings.times(1.0 if conditioning is None else conditioning.strength)
        count = settings.latent[0] if cycle is None else cycle.latents
        known, extra = self.denoiser.inputs(conditioning, (batch, count, *settings.latent[1:]))
        self.prompts.encode([prompt for prompt, _ in clips] + [settings.negative] * settings.guided)
        with self.bar.over(len(groups), times):
            for group in groups:
                padded = group + group[-1:] * (batch - len(group))
                latents = self.denoiser.sample(padded, settings, times, known, extra, cycle=cycle)
                self.bar.hide()
                pixels = self.codec.decode(latents, settings.height, settings.width, cycle)
                pixels = pixels if conditioning is None else restore_fixed_pixels(conditioning, pixels)
                for (prompt, seed), frames in zip(group, pixels, strict=False):
                    yield Video(frames, settings.fps, self.metadata(settings, prompt, seed), self.safety)

    def film(
        self,
        settings: Settings,
        shots: Sequence[Shot],
        seed: int,
        head: Frames | None = None,
        store: WindowStore | None = None,
    ) -> Film:
        """A clip of any length, sampled while its frames are read. head: the first stride * n + 1 frames, if they are
        fixed. store: the film's windows on disk, until it is saved. Raises BadRequest."""
        if self.config.conditioning.needs_first_frame:
            check_first_frames(shots, head, self.name)
        settings, stride = settings.of_window(), self.config.vae.stride[0]
        fixed = 0 if head is None else (len(head) - 1) // stride + 1
        windows = windows_for(shots, settings.latent[0], stride, fixed, self.config.redo_latents)

        def frames() -> Iterator[Frames]:
            with self.bar.over(windows, settings.times()):
                self.prompts.encode([shot.prompt for shot in shots] + [settings.negative] * settings.guided)
                model = Windows(self.denoiser, self.codec, settings)
                yield from film_frames(model, shots, settings.latent, seed, head, store)

        values = self.metadata(settings, shots[0].prompt, seed) | shots_metadata(shots)
        count = sum(shot.frames for shot in shots)
        return Film(frames(), count, settings.height, settings.width, settings.fps, values, self.safety)

    caption, expand = caption, expand

    def metadata(self, settings: Settings, prompt: str, seed: int) -> dict[str, Any]:
        """Model, version and settings that reproduce the clip, as JSON values."""
        more = {"model": self.name, **self.load_options, "version": f"sorajax {__version__}"}
        return metadata(settings, prompt, seed, more | self.prompts.original(prompt))
