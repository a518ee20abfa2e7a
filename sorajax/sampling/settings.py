"""Settings: a request for one model, with the model's defaults filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sorajax.diffusion.caching import Cache, EasyCache, MagCache
from sorajax.diffusion.flow import schedule
from sorajax.errors import BadRequest
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer, clean, unfamiliar_words
from sorajax.pretrained.conventions import released_shift
from sorajax.sampling.request import Request, SamplerName

LATEST = 1 - 1e-6  # time at which the open models' schedulers begin
ALWAYS = (0.0, 1.0)  # all times
SMALL = 10_000  # tokens of a vocabulary that does not know every word
LEAST_STRENGTH = 1e-3  # of an edit: sampling that begins so close to time 0 changes nothing visible


@dataclass(frozen=True)
class Settings:
    """A request for one model, with a value for every setting; units and ranges are those of `Request`."""

    frames: int
    height: int
    width: int
    fps: float
    steps: int
    guidance_scale: float
    guidance_scale_low: float
    """For the expert of the low noise levels, in a model of two experts."""
    temperature: float
    negative: str
    sampler: SamplerName
    shift: float
    model: SoraConfig
    latent: tuple[int, int, int, int]
    """Shape t, h, w, c of the latents. h and w are whole patches, so they may exceed `height` and `width`."""
    notes: tuple[str, ...]
    """Lines for the user on values that were rounded or may look worse."""
    in_windows: bool = False
    """Whether the clip is a film: longer than the model's window, sampled window by window."""
    guidance_interval: tuple[float, float] = ALWAYS
    cache: Cache | None = None
    """Step caching, see `diffusion.caching`."""
    scale_input: float | None = None
    """The guidance scale as an input of a model distilled for several (`dit.guidance`); None for other models."""

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance applies."""
        return self.guidance_scale != 1 or self.guidance_scale_low != 1

    @property
    def requested_scale(self) -> float:
        """The guidance scale of a request with these settings."""
        return self.guidance_scale if self.scale_input is None else self.scale_input

    def of_window(self) -> "Settings":
        """The settings of one window of a film; a window has the model's first trained length."""
        frames = self.model.frames[0]
        latents = latents_for(frames, self.model.vae.stride[0])
        return replace(self, frames=frames, latent=(latents, *self.latent[1:]), in_windows=False)

    def times(self, start: float = 1.0) -> Float[np.ndarray, " steps+1"]:
        """The sampler's times, from `start` (1 is noise) to 0; with a start below 1 there are fewer steps in
        proportion."""
        steps = max(1, round(self.steps * start))
        times = np.array(schedule(steps, self.shift, max(start, LEAST_STRENGTH), self.model.last_time))
        times[0] = min(times[0], LATEST if self.model.whole_times else 1.0)
        return times


def settings_for(request: Request, config: SoraConfig, at_once: bool = False) -> Settings:
    """Fills in the model's defaults. at_once: the clip is sampled in one window, however long it is. Raises BadRequest
    for a size or length that the strides do not allow."""
    stride, rows, columns = config.vae.stride
    _, ph, pw = config.dit.patch
    fps = request.fps or config.fps
    frames, notes = clip_length(request, config, fps)
    height, width = request.height or config.sizes[0][0], request.width or config.sizes[0][1]
    for name, size, unit in (("height", height, rows), ("width", width, columns)):
        if size % unit:
            below, above = size // unit * unit, (size // unit + 1) * unit
            nearest = f"{below} or {above}" if below else f"{above}"
            raise BadRequest(f"{name} {size} is not allowed: the model makes multiples of {unit}, nearest {nearest}")
    window = config.window
    if frames > window > 1 and not at_once:
        parts = f"overlapping windows of {config.frames[0]}"
        notes += (f"{frames} frames are more than the model's window of {window}: they are made in {parts}",)
    largest = max(h * w for h, w in config.sizes) if config.free_aspect else 0
    if (height, width) not in config.sizes and height * width > largest:
        trained = ", ".join(f"{w}x{h}" for h, w in config.sizes)
        notes += (f"the model was trained at {trained}; {width}x{height} may look worse",)
    if fps != config.fps and frames > 1:
        notes += (f"the model was trained at {config.fps:g} fps; {fps:g} fps may look worse",)
    sampler = request.sampler or config.sampler
    if sampler == "flow_map" and not config.is_flow_map:
        raise BadRequest("sampler flow_map is for distilled models, and this is none: leave out --sampler")
    if sampler == "flow_map" and request.cache:
        raise BadRequest("a cache is for models that are not distilled, which take more steps: leave out --cache")
    scale_input = scale_input_of(request.guidance_scale, config)
    # the requested scale is for both experts, as in the reference
    scale = low = request.guidance_scale if scale_input is None else None
    if scale is None:
        scale, low = config.guidance_scale, config.guidance_scale_low
        if request.negative and config.negative_scale is not None:
            scale = low = config.negative_scale
    if request.guidance_scale_low is not None:
        if config.boundary is None:
            raise BadRequest(
                f"guidance_scale_low {request.guidance_scale_low:g} is for models of two experts: leave it out"
            )
        low = request.guidance_scale_low
    released = released_shift(config.conditioning.needs_first_frame, config.boundary, config.sizes[0][0])
    is_released = config.clean_prompts and not config.preset  # an open model as its release samples it
    if is_released and request.shift is None and not 0.5 < config.shift / released < 2:
        notes += (
            f"the model's files set the shift {config.shift:g}, which is used; its release samples with "
            f"{released:g}: --shift {released:g}",
        )
    if scale == 1 and low in (None, 1) and request.negative:
        notes += ("the negative prompt has no effect without guidance: use a guidance scale above 1",)
    if scale == 1 and low in (None, 1) and request.guidance_interval:
        why = (
            "without guidance: use a guidance scale above 1"
            if scale_input is None
            else "where the model reads the scale"
        )
        notes += (f"the guidance interval has no effect {why}",)
    return Settings(
        frames=frames,
        height=height,
        width=width,
        fps=fps,
        steps=request.steps or config.steps,
        guidance_scale=scale,
        guidance_scale_low=scale if low is None else low,
        temperature=request.temperature or config.temperature,
        negative=config.negative if request.negative is None else request.negative,
        sampler=sampler,
        shift=request.shift or config.shift,
        model=config,
        latent=(
            (frames - 1) // stride + 1,
            -(-height // (rows * ph)) * ph,
            -(-width // (columns * pw)) * pw,
            config.vae.latent_channels,
        ),
        notes=notes,
        in_windows=frames > window and not at_once,
        guidance_interval=request.guidance_interval or ALWAYS,
        scale_input=scale_input,
    )


def scale_input_of(requested: float | None, config: SoraConfig) -> float | None:
    """The guidance scale as an input of the model, None if it reads none. Raises BadRequest for a scale that the model
    was not distilled for."""
    if config.dit.guidance_range is None:
        return None
    scale, (low, high) = config.dit.guidance if requested is None else requested, config.dit.guidance_range
    if not low <= scale <= high:
        raise BadRequest(
            f"guidance scale {scale:g} is not allowed: the model was distilled for {low:g} to {high:g}, and its own is "
            f"{config.dit.guidance:g}"
        )
    return scale


def metadata(settings: Settings, prompt: str, seed: int, model: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that reproduce a clip, as JSON values; `model` are the entries that name the model."""
    low = {} if settings.model.boundary is None else {"guidance_scale_low": settings.guidance_scale_low}
    interval = {} if settings.guidance_interval == ALWAYS else {"guidance_interval": [*settings.guidance_interval]}
    named = settings.cache if isinstance(settings.cache, MagCache | EasyCache) else None
    cache = {} if named is None else {"cache": named.name, "cache_threshold": named.threshold}
    return {
        "prompt": prompt,
        "negative": settings.negative,
        "seed": seed,
        **model,
        "steps": settings.steps,
        "guidance_scale": settings.requested_scale,
        **low,
        **interval,
        **cache,
        "temperature": settings.temperature,
        "sampler": settings.sampler,
        "shift": settings.shift,
    }


def notes_on(tokenizer: Tokenizer, config: SoraConfig, prompts: Sequence[str], negative: str) -> tuple[str, ...]:
    """Notes on the parts of prompts that the model does not read. Raises ValueError for a prompt that is too long, for
    a model whose reference does not truncate it."""
    notes = []
    for number, text in enumerate([*prompts, negative], 1):
        try:
            tokenize(tokenizer, config, [text])
        except ValueError as error:
            several = f'prompt {number}, "{text[:40]}...",' if len(prompts) > 1 else "the prompt"
            name = "the negative prompt" if number > len(prompts) else several
            problem = str(error).replace("the prompt", name, 1)
            if not config.clean_prompts:
                raise ValueError(problem) from error
            notes.append(f"{problem}, as the rest is not read")
    if tokenizer.vocabulary <= SMALL:
        unknown = dict.fromkeys(word for text in (*prompts, negative) for word in unfamiliar_words(tokenizer, text))
        words = ", ".join(f'"{word}"' for word in unknown)
        notes += [f"the model does not seem to know {words}; it may ignore such words"] if unknown else []
    return tuple(notes)


def tokenize(
    tokenizer: Tokenizer, config: SoraConfig, prompts: Sequence[str], cut: bool = False
) -> tuple[Int[np.ndarray, "b m"], Bool[np.ndarray, "b m"]]:
    """Token ids and mask of prompts as the model reads them. cut: a prompt that is too long is truncated, for models
    whose reference does so. Raises ValueError for any other prompt that is too long."""
    texts = [clean(prompt) if config.clean_prompts else prompt for prompt in prompts]
    return tokenizer.encode(texts, cut and config.clean_prompts)


def clip_length(request: Request, config: SoraConfig, fps: float) -> tuple[int, tuple[str, ...]]:
    """Frames of the clip, stride * n + 1, and a note if seconds are rounded. Raises BadRequest for other frames."""
    stride = config.vae.stride[0]
    if request.seconds is not None:
        frames = max(round((request.seconds * fps - 1) / stride), 0) * stride + 1
        exact = abs(request.seconds * fps - frames) < 1e-6
        return frames, () if exact else (f"{request.seconds:g} s at {fps:g} fps is rounded to {frames} frames",)
    frames = request.frames or config.frames[0]
    if (frames - 1) % stride:
        below = (frames - 1) // stride * stride + 1
        raise BadRequest(
            f"{frames} frames are not allowed: the model makes {stride}n+1, nearest {below} or {below + stride}"
        )
    return frames, ()


def latents_for(frames: int, stride: int) -> int:
    """Latent frames of a clip of so many frames: the first frame alone, then groups of `stride`, the last one filled
    up."""
    return 1 + -(-(frames - 1) // stride)
