"""The compiled programs of sampling: prompts to context, context to latents, latents to frames."""

import math
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from jaxtyping import Array, Bool, Float, Int, UInt8

from sorajax.devices.executables import executable
from sorajax.devices.placement import ONE_DEVICE, Placement
from sorajax.diffusion.caching import Schedule, advance
from sorajax.diffusion.fixed_frames import Velocity, drop_conditioning
from sorajax.diffusion.flow import whole_times
from sorajax.diffusion.guidance import guided_pair
from sorajax.diffusion.looped import Cycle, looped
from sorajax.diffusion.samplers import Sampler, State
from sorajax.models.dit import TextCache
from sorajax.models.sora import SoraConfig
from sorajax.models.stream import Part, to_bytes
from sorajax.models.text import TextConfig, TextEncoder
from sorajax.models.vae import VAE, VAEConfig, stream_encode
from sorajax.models.velocity import read_once, velocity_of
from sorajax.models.vision import Vision, VisionConfig
from sorajax.sampling.conditions import Conditions

Result = TypeVar("Result")
MAX_WHOLE_PIXELS = 2**20
"""Pixels in all frames of a batch up to which one call takes little memory; above it, clips are streamed."""


def encode_text(
    config: TextConfig, params: dict[str, Any], ids: Int[Array, "b m"], mask: Bool[Array, "b m"]
) -> Float[Array, "b m e"]:
    """Encodes token ids to a text context; `mask` is true for tokens of the prompt, false for padding."""
    context: Any = TextEncoder(config).apply({"params": params}, ids, mask)
    return context


def encode_image(config: VisionConfig, params: dict[str, Any], image: Float[Array, "b y x 3"]) -> Float[Array, "b i e"]:
    """Encodes a first frame, prepared by `models.vision.prepared`, to tokens of the image encoder."""
    tokens: Any = Vision(config).apply({"params": params}, image)
    return tokens


class Ranges(NamedTuple):
    """Which of a sampler's evaluations one program makes, each range as (first, stop); None is the end."""

    evaluations: tuple[int, int | None] = (0, None)
    """The evaluations of the program's transformer."""
    guided: tuple[int, int | None] = (0, None)
    """The guided evaluations; the others compute only the conditional branch."""

    def parts(self, count: int) -> list[tuple[bool, tuple[int, int]]]:
        """The program's evaluations, of `count` in all, as ranges (whether guided, (first, stop)), in order."""
        first, stop, low, high = (count if end is None else end for end in (*self.evaluations, *self.guided))
        ends = [first, *(min(max(end, first), stop) for end in (low, max(low, high))), stop]
        parts = zip((False, True, False), zip(ends[:-1], ends[1:], strict=True), strict=True)
        return [(guided, (start, end)) for guided, (start, end) in parts if start < end]


def sample_latents(
    config: SoraConfig,
    sampler: Sampler,
    guided: bool,
    watch: Callable[[Velocity], Velocity] | None,
    params: dict[str, Any],
    conditions: Conditions,
    state: State | None = None,
    *,
    cycle: Cycle | None = None,
    ranges: Ranges = Ranges(),  # noqa: B008 (a value)
    cache: Schedule | None = None,
) -> State:
    """Samples latents; returns the sampler's state, whose first entry they are.

    params: of the transformer, or of one of two experts. guided: whether the context has negative prompts. ranges:
    which evaluations these parameters make. cache: see `diffusion.caching`. state: of the sampler after the expert
    before. watch: wraps the velocity, to report its evaluations.
    """
    b, *shape = conditions.known.latent.shape
    noise = jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), shape))(conditions.seeds)
    noise = noise * conditions.temperature
    state = sampler.begin(config.conditioning.initial(conditions.known, noise)) if state is None else state
    rows = sampler.rows(conditions.times)
    parts = ranges.parts(len(rows[0]))
    with_null = guided and any(is_guided for is_guided, _ in parts)
    context = conditions.context if with_null else conditions.context[:b]
    read = read_once(config.dit, {"params": params}, context, conditions.extra.image)
    for is_guided, (first, stop) in parts:
        is_guided = guided and is_guided
        text = read if is_guided else read.of_first(b)
        velocity = conditioned(config, is_guided, {"params": params}, text, conditions, noise, cycle)
        velocity = velocity if watch is None else watch(velocity)
        part = tuple(row[first:stop] for row in rows)
        if cache is None:
            state = sampler.advance(velocity, state, part)
        else:
            state = advance(sampler, velocity, cache, state, part, (first, stop))
    return state


def evaluation_times(
    config: SoraConfig, sampler: Sampler, times: Float[np.ndarray, " steps+1"]
) -> Float[np.ndarray, " evaluations"]:
    """The time of each evaluation, as the transformer sees it."""
    at: Any = sampler.evaluated(np.asarray(times))
    return np.asarray(whole_times(at) if config.whole_times else at)


def conditioned(
    config: SoraConfig,
    guided: bool,
    variables: Mapping[str, Any],
    text: TextCache,
    conditions: Conditions,
    noise: Float[Array, "b t h w c"],
    cycle: Cycle | None = None,
) -> Velocity:
    """The velocity that a sampler integrates: guided, and zero or on its straight path where frames are fixed.

    variables: the transformer's, see `velocity_of`. text: the prompts and, with guidance, the negative ones, read once.
    noise: what the clips begin from.
    """
    known = conditions.known
    transformer = velocity_of(config.dit, variables, text, conditions.extra, conditions.positions)

    def model(x: Float[Array, "b t h w c"], *times: Float[Array, "b t"]) -> Any:
        return transformer(x, *map(whole_times, times) if config.whole_times else times)

    def pair(x: Float[Array, "b t h w c"], *times: Float[Array, "b t"]) -> tuple[Array, Array]:
        conditional = unconditional = (x, *times)
        if config.drop_conditioning_in_cfg and cycle is None:
            unconditional = drop_conditioning(known, noise, x, *times)
        both = map(jnp.concatenate, zip(conditional, unconditional, strict=True))
        velocity, velocity_null = jnp.split(model(*both), 2)
        return velocity, velocity_null

    velocity = guided_pair(pair, conditions.guidance_scale) if guided else model
    return config.conditioning.hold_fixed(velocity, known, noise) if cycle is None else looped(velocity, cycle)


def expert_ranges(
    config: SoraConfig, sampler: Sampler, times: Float[np.ndarray, " steps+1"]
) -> dict[str, tuple[int, int | None]]:
    """The evaluations (first, stop) that each transformer of a model makes, in order. With two experts, "dit" makes
    those at times of at least `config.boundary`, and "dit_low" the rest."""
    if config.boundary is None:
        return {"dit": (0, None)}
    at = evaluation_times(config, sampler, times)
    count = int((at >= np.float32(config.boundary)).sum())
    ranges = {"dit": (0, count), "dit_low": (count, len(at))}
    return {part: (first, stop) for part, (first, stop) in ranges.items() if first < stop}


def encode_frames(
    config: VAEConfig, params: dict[str, Any], video: Float[Array, "1 t y x 3"]
) -> Float[Array, "1 t2 h w c"]:
    """Encodes frames in [-1, 1]; many pixels as a stream."""
    if math.prod(video.shape[1:4]) > MAX_WHOLE_PIXELS:
        return stream_encode(params, config, video)
    latents: Any = VAE(config).apply({"params": params}, video, method="encode")
    return latents


def decode_whole(
    config: VAEConfig, params: dict[str, Any], latents: Float[Array, "b t h w c"]
) -> UInt8[Array, "b t y x 3"]:
    """Decodes the latents of short clips to uint8 frames in one call."""
    video: Any = VAE(config).apply({"params": params}, latents, method="decode")
    return to_bytes(video)


def lower(
    function: Callable, placement: Placement, *arguments: Any, platforms: tuple[str, ...] | None = None
) -> jax.stages.Lowered:
    """Lowers a function for arguments of these shapes and shardings; pipelines and plans both compile what this
    returns. platforms: other than this process's. Raises ValueError where the parameters among the arguments do not fit
    the model's config."""
    return trace_and_lower(function, placement, *arguments, platforms=platforms)[1]


def trace_and_lower(
    function: Callable, placement: Placement, *arguments: Any, platforms: tuple[str, ...] | None = None
) -> tuple[jax.stages.Traced, jax.stages.Lowered]:
    """As `lower`; returns also the traced function."""
    try:
        with placement.active():
            traced = jax.jit(function).trace(*arguments)
            return traced, traced.lower(lowering_platforms=platforms)
    except FlaxError as error:
        raise ValueError("the model's weights do not fit its config.json: export it again") from error


def compile_function(function: Callable, *arguments: Any, placement: Placement = ONE_DEVICE) -> Callable:
    """Compiles a function for arguments of these shapes; on CPU without the optimisations that cost more time than they
    save. Raises ValueError where the parameters among the arguments do not fit the model's config."""
    return compiled(lower(function, placement, *arguments))


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles a lowered function."""
    return interruptible(partial(lowered.compile, compiler_options()))


def compiler_options() -> dict[str, Any]:
    """XLA's options for sampling, besides those of its flags."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


class Programs:
    """A cache of compiled programs; each is read from disk or compiled when it first runs (`devices.executables`)."""

    def __init__(self, placement: Placement = ONE_DEVICE) -> None:
        self.placement = placement
        self.compiled: dict[Hashable, Callable] = {}

    def __call__(
        self, kind: Hashable, function: Callable, weights: Any, *arguments: Any, placement: Placement | None = None
    ) -> Any:
        """Runs the function, compiled at the first call of its kind. `kind` must contain all that the program depends
        on, the shapes of its arguments included. Every device gets all arguments but the weights, which are placed.
        placement: another one, with the same parts of the weights on each device."""
        placement = placement or self.placement
        if placement != self.placement:
            weights = placement.place(weights)  # the same arrays, by the axes of another mesh
        arguments = (weights, *placement.replicate(arguments))
        program = self.of(kind, function, arguments, placement)
        return interruptible(lambda: jax.block_until_ready(program(*arguments)))

    def part(self, name: str, function: Callable) -> Part:
        """Decodes a part of a stream by the program of `function`, e.g. `models.stream.next_frames`; does not wait for
        it. Every device gets the latents; the cache is split as frames are."""

        def decode(params: Any, config: VAEConfig, latents: Any, cache: Any) -> tuple[Any, Any]:
            arguments = params, self.placement.replicate(latents), self.placement.split(cache)
            kind = name, latents.shape, bool(cache)
            return self.of(kind, partial(function, config), arguments, self.placement)(*arguments)

        return decode

    def of(self, kind: Hashable, function: Callable, arguments: tuple[Any, ...], placement: Placement) -> Callable:
        """The compiled program of a kind."""
        if kind not in self.compiled:
            trace = partial(trace_and_lower, function, placement, *arguments)
            inputs = function, arguments, compiler_options(), placement.mesh
            self.compiled[kind] = executable(*inputs, trace, compiled)
        return self.compiled[kind]


def interruptible(work: Callable[[], Result]) -> Result:
    """Runs `work` in a thread, so that Ctrl-C takes effect at once: a call of XLA blocks the thread that makes it."""
    return in_background(work).result()


def in_background(work: Callable[[], Result]) -> Future[Result]:
    """Begins `work` in a thread of its own, which does not keep the process from ending."""
    future: Future[Result] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed to the waiting thread, which raises it
            future.set_exception(error)

    Thread(target=do, daemon=True).start()
    return future
