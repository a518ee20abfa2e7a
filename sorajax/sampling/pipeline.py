"""From a request to videos: prompts, denoiser and codec, put together.

    tokens -> context -> velocity(x, time) -> sampler -> latents -> frames

What is longer than the model was trained on is made window by window (`film`). A clip's noise depends on its own seed
alone, not on its batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from sorajax import __version__
from sorajax.devices.compilation import claim_memory, enable_compilation_cache
from sorajax.devices.residency import Parts
from sorajax.diffusion.looped import Cycle
from sorajax.errors import BadRequest, note
from sorajax.media.video import Film, Frames, Video, Videos
from sorajax.models.folder import WORLD
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.pretrained.open import Bits, Dtype, Lora, open_parts
from sorajax.sampling.codec import Codec
from sorajax.sampling.conditions import ConditioningFrames
from sorajax.sampling.denoiser import Denoiser
from sorajax.sampling.film import Shot, WindowStore, check_begun, film, latents_for, shots_of, windows_for
from sorajax.sampling.memory import alive, check_fits
from sorajax.sampling.program import Programs
from sorajax.sampling.progress import Bar
from sorajax.sampling.prompts import Prompts
from sorajax.sampling.request import Request, SamplerName
from sorajax.sampling.settings import Settings, metadata, notes_on, settings_for
from sorajax.sampling.windows import Windows

EMBEDDED = "world"


class Pipeline:
    """A model in use. `pipeline("a red ball bounces")` gives videos that show themselves in a notebook."""

    def __init__(
        self,
        config: SoraConfig,
        params: dict[str, Any] | Parts,
        tokenizer: Tokenizer,
        name: str,
        opened: Mapping[str, Any] | None = None,
    ):
        """`opened` says, in JSON values for the metadata of clips, how the model was changed when it was opened."""
        self.config, self.tokenizer, self.name, self.opened = config, tokenizer, name, dict(opened or {})
        self.params = params if isinstance(params, Parts) else Parts.of(jax.device_put(params))
        self.bar, programs = Bar(), Programs()
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
        sampler: SamplerName = "unipc",
        shift: float | None = None,
        seed: int = 0,
        num: int = 1,
        negative: str | None = None,
        guidance_scale_low: float | None = None,
        temperature: float | None = None,
    ) -> Videos:
        """Makes `num` videos of each prompt, in order; see `Request` for the settings. Raises BadRequest."""
        prompts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        request = Request(
            prompts,
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
        )
        settings = self.plan(request)
        for text in settings.notes:
            note(text)
        return Videos(video.whole() for video in self.stream(request, settings))

    def plan(self, request: Request, at_once: bool = False) -> Settings:
        """What the request comes to with this model; `at_once`: however long it is, in one window. Raises BadRequest
        where it cannot be met."""
        try:
            settings = settings_for(request, self.config, at_once)
            notes = notes_on(self.tokenizer, self.config, request.prompts, settings.negative)
            longest = latents_for(self.config.window, self.config.vae.stride[0]) if settings.in_windows else None
            count = settings.latent[0] if longest is None else min(settings.latent[0], longest)
            check_fits(self.params, self.config, (count, *settings.latent[1:]), settings.guided)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        return replace(settings, notes=(*settings.notes, *notes))

    def stream(
        self,
        request: Request,
        settings: Settings,
        batch: int | None = None,
        conditioning: ConditioningFrames | None = None,
        cycle: Cycle | None = None,
    ) -> Iterator[Video]:
        """The videos one after another: `num` of the first prompt, then of the next.

        batch: clips made at once, by default 1 on CPU, up to 8 on accelerators. given: what is known of each.
        cycle: each is a loop, and the settings are those of one view of it. Clips longer than the model's window are
        films, unless something is given: see `film`.
        """
        clips = [(prompt, request.seed + index) for prompt in request.prompts for index in range(request.num)]
        if conditioning is None and cycle is None and settings.in_windows:
            for prompt, seed in clips:
                yield self.film(request, shots_of(prompt, settings.frames), seed).whole()
            return
        most = 1 if jax.default_backend() == "cpu" else 8
        values = alive(self.config, settings.latent, settings.guided)
        batch = min(batch or self.params.batch_that_fits(most, "dit", values), len(clips))
        groups = [clips[start : start + batch] for start in range(0, len(clips), batch)]
        times = settings.times(1.0 if conditioning is None else conditioning.strength)
        count = settings.latent[0] if cycle is None else cycle.latents
        known, extra = self.denoiser.known(conditioning, (batch, count, *settings.latent[1:]))
        self.prompts.encode([prompt for prompt, _ in clips] + [settings.negative] * settings.guided)
        with self.bar.over(len(groups), times):
            for group in groups:
                padded = group + group[-1:] * (batch - len(group))
                latents = self.denoiser.sample(padded, settings, times, known, extra, cycle=cycle)
                self.bar.hide()
                pixels = self.decoded(latents, settings, cycle)
                if conditioning is not None:
                    pixels = conditioning.put_back(pixels)
                for (prompt, seed), frames in zip(group, pixels, strict=False):
                    yield Video(frames, settings.fps, self.metadata(settings, prompt, seed))

    def decoded(self, latents: Any, settings: Settings, cycle: Cycle | None = None) -> Any:
        """Frames uint8 [b t y x 3] of latents [b t h w c]; of a loop one turn."""
        if cycle is None:
            return self.codec.decode(latents, settings.height, settings.width)
        pixels = self.codec.decode(cycle.unrolled(latents), settings.height, settings.width)
        return pixels[:, -cycle.size * self.config.vae.stride[0] :]

    def later(self, request: Request, settings: Settings, conditioning: ConditioningFrames | None = None) -> Film:
        """The one clip of a request of one, as `stream` makes it, but made when it is read."""
        parts = (video.frames for video in self.stream(request, settings, conditioning=conditioning))
        said = self.metadata(settings, request.prompts[0], request.seed)
        return Film(parts, settings.frames, settings.height, settings.width, settings.fps, said)

    def film(
        self,
        request: Request,
        shots: Sequence[Shot],
        seed: int,
        head: Frames | None = None,
        kept: WindowStore | None = None,
    ) -> Film:
        """A clip of any length, made while it is read; the settings are the request's. Raises BadRequest.

        head: the first stride * n + 1 frames, where they are given. kept: windows on disk, until the film is saved.
        """
        if self.config.known == "channels":
            check_begun(shots, head, self.name)
        settings = self.plan(replace(request, frames=self.film_window, seconds=None))
        stride, count = self.config.vae.stride[0], sum(shot.frames for shot in shots)
        conditioning = 0 if head is None else (len(head) - 1) // stride + 1
        windows = windows_for(shots, settings.latent[0], stride, conditioning, self.config.redo_latents)
        parts = self._film(settings, windows, shots, seed, head, kept)
        said = self.metadata(settings, shots[0].prompt, seed)
        if len(shots) > 1:
            said["shots"] = [{"prompt": s.prompt, "frames": s.frames, "cut": s.cut} for s in shots]
        return Film(parts, count, settings.height, settings.width, settings.fps, said)

    def _film(
        self,
        settings: Settings,
        windows: int,
        shots: Sequence[Shot],
        seed: int,
        head: Frames | None,
        kept: WindowStore | None,
    ) -> Iterator[Frames]:
        with self.bar.over(windows, settings.times()):
            self.prompts.encode([shot.prompt for shot in shots] + [settings.negative] * settings.guided)
            model = Windows(self.denoiser, self.codec, settings)
            yield from film(model, shots, settings.latent, seed, head, kept)

    @property
    def window(self) -> int:
        """Frames of the longest clip that is made at once."""
        return self.config.window

    @property
    def film_window(self) -> int:
        """Frames of a film's windows: the length that the model knows best."""
        return self.config.frames[0]

    def metadata(self, settings: Settings, prompt: str, seed: int) -> dict[str, Any]:
        """What it takes to make the clip again."""
        made_by = {"model": self.name, **self.opened}
        return metadata(settings, prompt, seed, made_by) | {"version": f"sorajax {__version__}"}


def load(
    model: str | Path = EMBEDDED,
    dtype: Dtype | None = None,
    loras: Sequence[Lora] = (),
    quantize: Bits | None = None,
) -> Pipeline:
    """The model that comes with sorajax (`world`), an exported one, the newest of a training directory, or an open one.

    An open model is a folder of Wan weights (either layout), what `sorajax.convert` made of it, or its name on the
    Hugging Face hub. dtype: of its weights and matrix products; bfloat16 on accelerators and float32 on CPU by default.
    loras: adapter files, "FILE", "FILE:SCALE" or (file, scale); several add up.
    quantize: keeps the weights of transformer and text encoder in 8 bits, see `models.quantized`.
    Turns on jax's persistent compilation cache in the user's cache folder, unless jax is told where, or not to, and
    lets jax have nearly all of a GPU's memory, unless it looked for devices before or is told another share.
    Raises FileNotFoundError where nothing is found and ValueError for damaged files or too little memory.
    """
    claim_memory()
    enable_compilation_cache()
    embedded = str(model) == EMBEDDED
    config, params, tokenizer, name = open_parts(WORLD if embedded else model, dtype, loras, quantize)
    adapters = [lora if isinstance(lora, str) else f"{lora[0]}:{lora[1]:g}" for lora in loras]
    opened = {"dtype": dtype, "adapters": adapters, "quantize": quantize}
    opened = {what: said for what, said in opened.items() if said}
    return Pipeline(config, params, Tokenizer(tokenizer, config.text.tokens), EMBEDDED if embedded else name, opened)
