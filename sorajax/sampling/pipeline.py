"""From a request to videos: where text encoder, transformer, sampler and autoencoder meet.

    tokens -> context -> velocity(x, time) -> sampler -> latents -> frames

All up to the latents is one jitted function. What is longer than the model was trained on is made window by window
(`film`). A clip's noise depends on its own seed alone, not on its batch.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax import __version__
from sorajax.devices.compilation import claim_memory, keep_compiled
from sorajax.devices.residency import Parts, memory_of_devices
from sorajax.diffusion.fixed_frames import Known, anchored, nothing_known
from sorajax.diffusion.looped import Cycle
from sorajax.diffusion.samplers import SAMPLERS, State
from sorajax.errors import BadRequest, note
from sorajax.media.video import Film, Frames, Video, Videos
from sorajax.models.folder import WORLD
from sorajax.models.sora import SoraConfig
from sorajax.models.text import Tokenizer
from sorajax.models.tiles import LARGEST, decode_tiles
from sorajax.models.vae import VAE, decode_chunks, decode_singly, decode_to_bytes, stream_encode
from sorajax.models.vision import prepared
from sorajax.pretrained.open import Bits, Dtype, Lora, open_parts
from sorajax.sampling.conditions import Given, channels_of, known_of
from sorajax.sampling.film import Kept, Past, Shot, film, latents_for, runs, shots_of, windows_for
from sorajax.sampling.memory import alive, check_fits, in_tiles
from sorajax.sampling.program import (
    Beside,
    compiled,
    decode_whole,
    encode_image,
    encode_text,
    interruptible,
    sample_latents,
    spans,
)
from sorajax.sampling.progress import Bar
from sorajax.sampling.request import Request, SamplerName
from sorajax.sampling.settings import Settings, decide, encoded, notes_on

EMBEDDED = "world"
MOST_CONTEXTS = 64  # prompts whose context is kept
WHOLE = 2**20  # pixels in all frames of a batch up to which decoding in one piece takes little memory


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
        self._bar = Bar()
        self._compiled: dict[tuple, Callable] = {}
        self._contexts: dict[str, Float[Array, "m e"]] = {}

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
            prompts, negative, num, seed, frames, seconds, width, height, fps, steps, guidance_scale, sampler, shift,
            guidance_scale_low, temperature)
        decided = self.plan(request)
        for text in decided.notes:
            note(text)
        return Videos(video.whole() for video in self.stream(request, decided))

    def plan(self, request: Request, at_once: bool = False) -> Settings:
        """What the request comes to with this model; `at_once`: however long it is, in one window. Raises BadRequest
        where it cannot be met."""
        try:
            decided = decide(request, self.config, at_once)
            notes = notes_on(self.tokenizer, self.config, request.prompts, decided.negative)
            longest = decided.latent[0] if at_once else latents_for(self.window, self.config.vae.stride[0])
            check_fits(self.params, self.config, (min(decided.latent[0], longest), *decided.latent[1:]), decided.guided)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        return replace(decided, notes=(*decided.notes, *notes))

    def stream(
        self,
        request: Request,
        decided: Settings,
        batch: int | None = None,
        given: Given | None = None,
        cycle: Cycle | None = None,
    ) -> Iterator[Video]:
        """The videos one after another: `num` of the first prompt, then of the next.

        batch: clips made at once, by default 1 on CPU, up to 8 on accelerators. given: what is known of each.
        cycle: each is a loop, and what is decided is one view of it. Clips longer than the model's window are films,
        unless something is given: see `film`.
        """
        if given is None and cycle is None and decided.frames > self.window:
            for prompt in request.prompts:
                for index in range(request.num):
                    yield self.film(request, shots_of(prompt, decided.frames), request.seed + index).whole()
            return
        clips = [(prompt, request.seed + index) for prompt in request.prompts for index in range(request.num)]
        most = 1 if jax.default_backend() == "cpu" else 8
        values = alive(self.config, decided.latent, decided.guided)
        batch = min(batch or self.params.most(most, "dit", values), len(clips))
        groups = [clips[start : start + batch] for start in range(0, len(clips), batch)]
        times = decided.times(1.0 if given is None else given.strength)
        count = decided.latent[0] if cycle is None else cycle.latents
        known, beside = self._known(given, (batch, count, *decided.latent[1:]))
        contexts = {prompt for prompt, _ in clips} | ({decided.negative} if decided.guided else set())
        self._encode_prompts(contexts)
        if self._watching:
            self._bar.open(len(groups), times)
        try:
            for group in groups:
                padded = group + group[-1:] * (batch - len(group))
                latents = self._sampled(padded, decided, times, known, beside, cycle=cycle)
                self._bar.hide()
                if cycle is None:
                    pixels = self._decoded(latents, decided)
                else:
                    pixels = self._decoded(cycle.unrolled(latents), decided)
                    pixels = pixels[:, -cycle.size * self.config.vae.stride[0] :]
                if given is not None:
                    pixels = given.put_back(pixels)
                for (prompt, seed), frames in zip(group, pixels, strict=False):
                    yield Video(frames, decided.fps, self.metadata(request, decided, prompt, seed))
        finally:
            self._bar.close()

    def later(self, request: Request, decided: Settings, given: Given | None = None) -> Film:
        """The one clip of a request of one, as `stream` makes it, but made when it is read."""
        parts = (video.frames for video in self.stream(request, decided, given=given))
        said = self.metadata(request, decided, request.prompts[0], request.seed)
        return Film(parts, decided.frames, decided.height, decided.width, decided.fps, said)

    @property
    def window(self) -> int:
        """Frames of the longest clip that is made at once."""
        return max(self.config.frames)

    @property
    def _watching(self) -> bool:
        """Whether somebody sees a progress bar."""
        return sys.stderr.isatty()

    @property
    def film_window(self) -> int:
        """Frames of a film's windows: the length that the model knows best."""
        return self.config.frames[0]

    def film(
        self,
        request: Request,
        shots: Sequence[Shot],
        seed: int,
        head: Frames | None = None,
        kept: Kept | None = None,
    ) -> Film:
        """A clip of any length, made while it is read; the settings are the request's. Raises BadRequest.

        head: the first stride * n + 1 frames, where they are given. kept: windows on disk, until the film is saved.
        """
        if self.config.known == "channels":
            self._check_begun(shots, head)
        decided = self.plan(replace(request, frames=self.film_window, seconds=None))
        stride, count = self.config.vae.stride[0], sum(shot.frames for shot in shots)
        given = 0 if head is None else (len(head) - 1) // stride + 1
        windows = windows_for(shots, decided.latent[0], stride, given, self.config.ahead)
        parts = self._watched_film(_Windows(self, decided), windows, shots, seed, head, kept)
        said = self.metadata(request, decided, shots[0].prompt, seed)
        if len(shots) > 1:
            said["shots"] = [{"prompt": s.prompt, "frames": s.frames, "cut": s.cut} for s in shots]
        return Film(parts, count, decided.height, decided.width, decided.fps, said)

    def _check_begun(self, shots: Sequence[Shot], head: Frames | None) -> None:
        """Raises BadRequest where a shot begins without a picture; the model can begin with nothing else."""
        first = 0
        for number, run in enumerate(runs(shots)):
            if run[0].image is None and (number or head is None):
                remedy = "give --image, or in a storyboard the scene's image"
                if first:
                    remedy = "leave out 'Cut to:', or give a storyboard where its scene has an image or continues"
                raise BadRequest(f"{self.name} begins from pictures, and shot {first + 1} has none: {remedy}")
            first += len(run)

    def _watched_film(
        self, model: "_Windows", windows: int, shots: Sequence[Shot], seed: int, head: Frames | None, kept: Kept | None
    ) -> Iterator[Frames]:
        if self._watching:
            self._bar.open(windows, model.decided.times())
        negative = [model.decided.negative] if model.decided.guided else []
        try:
            self._encode_prompts([shot.prompt for shot in shots] + negative)
            yield from film(model, shots, model.decided.latent, seed, head, kept)
        finally:
            self._bar.close()

    def _encode_prompts(self, prompts: Iterable[str]) -> None:
        """Brings the contexts of all prompts of a request to the device, before anything else is there. Those of other
        requests leave where there are too many."""
        wanted = dict.fromkeys(prompts)
        for prompt in wanted:
            self._context(prompt)
        others = [prompt for prompt in self._contexts if prompt not in wanted]
        for prompt in others[: max(0, len(self._contexts) - MOST_CONTEXTS)]:
            del self._contexts[prompt]

    def _context(self, prompt: str) -> Float[Array, "m e"]:
        """What the text encoder makes of a prompt, which it is asked once where that is kept."""
        if prompt not in self._contexts:
            ids, mask = encoded(self.tokenizer, self.config, [prompt], cut=True)
            params = self.params["text"]
            if ("text",) not in self._compiled:
                self._compiled["text",] = compiled(partial(encode_text, self.config.text), params, ids, mask)
            self._contexts[prompt] = self._compiled["text",](params, ids, mask)[0]
        return self._contexts[prompt]

    def _sampled(
        self,
        clips: Sequence[tuple[str, int]],
        decided: Settings,
        times: np.ndarray,
        known: Known,
        beside: Beside,
        second: int = 1,
        cycle: Cycle | None = None,
    ) -> Float[Array, "b t h w c"]:
        """Latents of clips given as (prompt, seed), whose second latent frame is so many after the first.

        Of two experts one is in memory while it samples; the other one takes its state and goes on.
        """
        prompts = [prompt for prompt, _ in clips] + [decided.negative] * (len(clips) if decided.guided else 0)
        context = jnp.stack([self._context(prompt) for prompt in prompts])
        seeds = np.array([seed for _, seed in clips], np.uint32)
        step = self.config.fps / decided.fps
        positions = np.asarray(anchored(second, decided.latent[0], self.config.reach, step))
        state = None
        for part, span in spans(self.config, SAMPLERS[decided.sampler], times).items():
            scale = decided.guidance_scale_low if part == "dit_low" else decided.guidance_scale
            numbers = np.float32(scale), np.float32(decided.temperature)
            told = context, seeds, times, *numbers, positions, known, beside, state
            state = self._sampled_by(part, told, decided, span, cycle)
        assert state is not None
        self._bar.finish_sampling()
        return state[0]

    def _sampled_by(
        self, part: str, told: tuple, decided: Settings, evaluations: tuple[int, int | None], cycle: Cycle | None
    ) -> State:
        """The state after a transformer's evaluations; `told` is what `sample_latents`, compiled once for these shapes,
        takes after its parameters."""
        arguments = self.params[part], *told
        shapes = tuple(jax.tree.map(np.shape, told))
        kind = (shapes, decided.sampler, decided.guided, self._watching, cycle, evaluations)
        if kind not in self._compiled:
            report = self._bar.report if self._watching else None
            dit = replace(self.config.dit, unroll=1)  # a loop compiles sooner, runs as fast
            function = partial(sample_latents, replace(self.config, dit=dit), SAMPLERS[decided.sampler],
                               decided.guided, report, cycle=cycle, evaluations=evaluations)  # fmt: skip
            self._compiled[kind] = compiled(function, *arguments)
        return interruptible(lambda: jax.block_until_ready(self._compiled[kind](*arguments)))

    def _known(
        self, given: Given | None, shape: tuple[int, ...], kept: Known | None = None
    ) -> tuple[Known, Beside]:
        """What is known of latents of shape [b t h w c], and how else the model is told; `kept` are latents that are
        there already, of the given frames. Raises BadRequest."""
        config, stride = self.config, self.config.vae.stride[0]
        if config.known != "channels":
            known = nothing_known(shape) if given is None else known_of(given, shape, stride, self._encoded)
            return known, Beside()
        if given is None or given.head is None or given.rough is not None:
            raise BadRequest(f"{self.name} goes on from a picture, or from a clip's end: say --image, --extend, "
                             "--between, --connect, --fill or --storyboard")  # fmt: skip
        channels = channels_of(given, shape, stride, self._encoded, kept)
        image = None if config.vision is None else self._seen(given.head[0])
        b = shape[0]
        return nothing_known(shape), Beside(
            None if image is None else jnp.broadcast_to(image, (b, *image.shape)),
            jnp.broadcast_to(channels, (b, *channels.shape)),
        )

    def _seen(self, picture: UInt8[np.ndarray, "y x 3"]) -> Float[Array, "i e"]:
        """The image encoder's tokens of a picture."""
        config, params = self.config.vision, self.params["vision"]
        assert config is not None
        image = prepared(picture, config.size)[None]
        if ("vision",) not in self._compiled:
            self._compiled["vision",] = compiled(partial(encode_image, config), params, image)
        return self._compiled["vision",](params, image)[0]

    def _decoded(self, latents: Float[Array, "b t h w c"], decided: Settings) -> UInt8[np.ndarray, "b t y x 3"]:
        """Frames of the latents: in one piece where that is small, else chunk by chunk, or tile by tile."""
        params, config, shown = self.params["vae"], self.config.vae, np.s_[:, :, : decided.height, : decided.width]
        decode = self._stream(latents.shape)
        if decode is not decode_to_bytes:
            return interruptible(lambda: decode(params, config, latents, {}))[0][shown]
        if latents.shape[0] * latents.shape[1] * self.config.vae.stride[0] * decided.height * decided.width > WHOLE:
            return np.concatenate([part[shown] for part in decode_chunks(params, config, latents)], 1)
        kind = ("decoder", latents.shape)
        if kind not in self._compiled:
            self._compiled[kind] = compiled(partial(decode_whole, config), params, latents)
        return np.asarray(interruptible(lambda: self._compiled[kind](params, latents)))[shown]

    def _stream(self, shape: tuple[int, ...]) -> Callable:
        """What decodes latents [b t h w c], a part of a stream, in the memory of this machine."""
        (_, rows, columns), (b, *latent) = self.config.vae.stride, shape
        if latent[1] * rows * latent[2] * columns <= LARGEST:
            return decode_to_bytes
        memory = memory_of_devices() / jax.local_device_count()
        return decode_tiles if in_tiles(self.config.vae, self.params["vae"], latent, memory, b) else decode_singly

    def _encoded(
        self, frames: UInt8[np.ndarray, "t y x 3"] | Float[np.ndarray, "t y x 3"]
    ) -> Float[np.ndarray, "t2 h w c"]:
        """Latents of frames, bytes or floats in [-1, 1]: in one piece where that is small, else streamed.

        Edges are repeated to whole patches.
        """
        (_, rows, columns), (_, ph, pw) = self.config.vae.stride, self.config.dit.patch
        _, height, width, _ = frames.shape
        more = (0, 0), (0, -height % (rows * ph)), (0, -width % (columns * pw)), (0, 0)
        frames = np.pad(frames, more, "edge")
        video = (frames.astype(np.float32) / 127.5 - 1.0 if frames.dtype == np.uint8 else frames)[None]
        kind = ("encoder", video.shape)
        if kind not in self._compiled:
            config = self.config.vae
            large = np.prod(frames.shape[:3]) > WHOLE

            def encode(params: Any, video: Float[Array, "1 t y x 3"]) -> Any:
                if large:
                    return stream_encode(params, config, video)
                return VAE(config).apply({"params": params}, video, method="encode")

            self._compiled[kind] = compiled(encode, self.params["vae"], video)
        return np.asarray(interruptible(lambda: self._compiled[kind](self.params["vae"], video)))[0]

    def metadata(self, request: Request, decided: Settings, prompt: str, seed: int) -> dict[str, Any]:
        """What it takes to make the clip again."""
        two = {} if self.config.boundary is None else {"guidance_scale_low": decided.guidance_scale_low}
        return {
            "prompt": prompt,
            "negative": decided.negative,
            "seed": seed,
            "model": self.name,
            **self.opened,
            "steps": decided.steps,
            "guidance_scale": decided.guidance_scale,
            **two,
            "temperature": decided.temperature,
            "sampler": decided.sampler,
            "shift": decided.shift,
            "version": f"sorajax {__version__}",
        }


@dataclass(frozen=True)
class _Windows:
    """A pipeline as `sorajax.sampling.film` asks it."""

    pipeline: Pipeline
    decided: Settings

    @property
    def stride(self) -> int:
        return self.pipeline.config.vae.stride[0]

    @property
    def reach(self) -> int:
        return self.pipeline.config.reach

    @property
    def ahead(self) -> int:
        return self.pipeline.config.ahead

    def sample(self, prompt: str, seed: int, past: Past) -> Float[np.ndarray, "t h w c"]:
        pipeline, decided, times = self.pipeline, self.decided, self.decided.times()
        (known, second, frames), beside = past, Beside()
        if pipeline.config.known == "channels":
            known, beside = pipeline._known(Given(head=frames), known.latent.shape, known)
        return np.asarray(pipeline._sampled([(prompt, seed)], decided, times, known, beside, second))[0]

    def encode(self, frames: Frames) -> Float[np.ndarray, "t h w c"]:
        return self.pipeline._encoded(frames)

    def decode(self, latents: Float[np.ndarray, "t h w c"], cache: Any) -> tuple[Frames, Any]:
        params, config = self.pipeline.params["vae"], self.pipeline.config.vae
        decode = self.pipeline._stream((1, *latents.shape))
        frames, cache = interruptible(lambda: decode(params, config, latents[None], cache))
        return np.asarray(frames)[0, :, : self.decided.height, : self.decided.width], cache


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
    keep_compiled()
    embedded = str(model) == EMBEDDED
    config, params, tokenizer, name = open_parts(WORLD if embedded else model, dtype, loras, quantize)
    adapters = [lora if isinstance(lora, str) else f"{lora[0]}:{lora[1]:g}" for lora in loras]
    opened = {"dtype": dtype, "adapters": adapters, "quantize": quantize}
    opened = {what: said for what, said in opened.items() if said}
    return Pipeline(config, params, Tokenizer(tokenizer, config.text.tokens), EMBEDDED if embedded else name, opened)
