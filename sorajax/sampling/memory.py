"""Memory and FLOPs of sampling, estimated from shapes alone: whether a clip fits is known before weights are loaded."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sorajax.devices.placement import Placement
from sorajax.devices.residency import WEIGHTS_SHARE, Parts
from sorajax.devices.sharding import replicated
from sorajax.diffusion.caching import EasyCache
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models.softmax import SCORES_LIMIT
from sorajax.models.sora import SoraConfig
from sorajax.models.stream import CHUNK, next_frames
from sorajax.models.text import TextConfig
from sorajax.models.tiles import TILE, UNTILED_PIXELS, feature_stride, next_features, next_tile, reach, tile_starts
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.program import (
    MAX_WHOLE_PIXELS,
    Ranges,
    decode_whole,
    encode_frames,
    encode_image,
    encode_text,
    expert_ranges,
    lower,
    sample_latents,
)
from sorajax.sampling.settings import Settings

SPARE = 1.25
"""Factor by which a compiled program may exceed its estimate."""
TILE_STEP = 8
"""The sides of tiles are multiples of it, which devices divide."""


class PlannedProgram(NamedTuple):
    """A program that sampling runs, with the shapes of its arguments."""

    name: str
    function: Callable
    arguments: tuple
    """Shapes without arrays; the first argument holds the weights."""
    planned: int
    """Estimated memory in bytes: weights plus the largest activations that exist at the same time."""
    calls: int
    """Calls per clip."""
    flops: float
    """FLOPs per call; 0: not estimated."""
    streams: bool = False
    """The last argument is the cache of an autoencoder's stream, which devices split as they split frames."""

    def lower(self, placement: Placement, platforms: tuple[str, ...] | None = None) -> jax.stages.Lowered:
        """Lowers the program for a mesh, as the pipeline does before it compiles."""
        weights, *others = self.arguments
        mesh = placement.mesh
        if mesh is None:
            return lower(self.function, placement, *self.arguments, platforms=platforms)
        cache = others.pop() if self.streams else None
        whole = jax.tree.map(lambda _: replicated(mesh), others)
        split = placement.frame_shardings(cache)
        arguments = [weights, *others, *([cache] if self.streams else [])]
        shardings = [placement.shardings(weights), *whole, *([split] if self.streams else [])]
        placed = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), arguments, shardings)
        return lower(self.function, placement, *placed, platforms=platforms)


def sampling_programs(
    config: SoraConfig,
    weights: Mapping[str, Any],
    shape: tuple[int, ...],
    steps: int,
    memory: float = 0,
    devices: int = 1,
    guided: bool = True,
    times: Float[np.ndarray, " steps+1"] | None = None,
) -> list[PlannedProgram]:
    """The programs of sampling one clip, in order, for latents of shape [t h w c].

    weights: shapes of "text", "dit" and "vae", and of "vision" for a model with an image encoder. A model of two
    experts, equal in size, has one in memory at a time. memory: bytes of a device; frames are decoded whole if they are
    small or fit into those of all devices, else in tiles. times: of the sampler; with two experts, they say which
    evaluations each of them makes. Without them one program makes all.
    """
    programs = [text_program(config.text, weights["text"])]
    if config.vision is not None:
        programs.append(vision_program(config.vision, weights["vision"]))
    if config.conditioning.needs_first_frame:
        programs.append(encoder_program(config.vae, weights["vae"], shape))
    ranges = {"dit": (0, None)} if times is None else expert_ranges(config, SAMPLERS[config.sampler], times)
    for part, evaluations in ranges.items():
        programs.append(transformer_program(config, weights["dit"], shape, steps, guided, part, evaluations))
    side = tile_side(config.vae, weights["vae"], shape, memory, devices=devices)
    return [*programs, *decoder_programs(config.vae, weights["vae"], shape, side)]


def text_program(config: TextConfig, weights: Any) -> PlannedProgram:
    """The text encoder, called for the prompt and for the negative prompt."""
    m, item = config.tokens, jnp.dtype(config.dtype).itemsize
    scores, values = 8 * config.heads * m * m, m * (3 * config.hidden + 6 * config.width) * item
    arguments = weights, array(1, m, kind=jnp.int32), array(1, m, kind=bool)
    function = partial(encode_text, config)
    return PlannedProgram("text", function, arguments, nbytes(weights) + scores + values, 2, 2 * m * matrices(weights))


def vision_program(config: VisionConfig, weights: Any) -> PlannedProgram:
    """The image encoder, called for the first frame."""
    tokens, item = config.tokens, jnp.dtype(config.dtype).itemsize
    values = 8 * config.heads * tokens * tokens + tokens * (2 * config.hidden + 6 * config.width) * item
    function = partial(encode_image, config)
    arguments = weights, array(1, config.size, config.size, 3)
    return PlannedProgram("vision", function, arguments, nbytes(weights) + values, 1, 2 * tokens * matrices(weights))


def transformer_program(
    config: SoraConfig,
    weights: Any,
    shape: tuple[int, ...],
    steps: int,
    guided: bool = True,
    part: str = "dit",
    evaluations: tuple[int, int | None] = (0, None),
) -> PlannedProgram:
    """The sampler with all its steps, or those of one expert; each step evaluates both guidance branches in one
    batch."""
    config = replace(config, dit=replace(config.dit, unroll=1))  # as the pipeline does
    dit, m, tokens = config.dit, config.text.tokens, tokens_of(config, shape)
    conditions = abstract_conditions(config, shape, steps, guided)
    keys = tokens + m + (0 if config.vision is None else config.vision.tokens)
    attention = 4 * tokens * keys * dit.width * dit.depth
    first, stop = evaluations
    calls = (steps if stop is None else stop) - first
    flops = calls * (2 if guided else 1) * (2 * tokens * matrices(weights) + attention)
    sampler = SAMPLERS[config.sampler]
    function = partial(sample_latents, config, sampler, guided, None, cycle=None, ranges=Ranges(evaluations))
    state = None if part == "dit" else sampler.begin(conditions.known.latent)
    planned = nbytes(weights) + activation_bytes(config, shape, guided)
    name = "transformer" if part == "dit" else "transformer, low noise"
    return PlannedProgram(name, function, (weights, conditions, state), planned, 1, flops)


def activation_bytes(config: SoraConfig, shape: tuple[int, ...], guided: bool = True) -> int:
    """Bytes of a block's largest activations at the same time, input and output of the tokens and the hidden units, and
    of the keys and values of text and image in all blocks."""
    dit, item = config.dit, jnp.dtype(config.dit.dtype).itemsize
    per_token = 2 * (dit.width + dit.hidden)
    read = config.text.tokens + (0 if config.vision is None else config.vision.tokens)
    return (2 if guided else 1) * (tokens_of(config, shape) * per_token + 2 * dit.depth * read * dit.width) * item


def batch_of(params: Parts, config: SoraConfig, settings: Settings, batch: int | None, clips: int) -> int:
    """Clips per sampling call: `batch`, or by default 1 on CPU and as many as fit, at most 8, on accelerators; at most
    `clips`. EasyCache decides for a whole batch, so its clips are sampled one by one."""
    if isinstance(settings.cache, EasyCache):
        return 1
    limit = 1 if jax.default_backend() == "cpu" else 8
    clip_bytes = activation_bytes(config, settings.latent, settings.guided)
    return min(batch or params.batch_that_fits(limit, "dit", clip_bytes), clips)


def check_fits(params: Parts, config: SoraConfig, shape: tuple[int, ...], guided: bool) -> None:
    """Raises ValueError if the transformer's weights and its activations for latents of shape [t h w c] do not fit into
    memory, or if a mesh that the user set does not divide these latents."""
    params.placement.check(tokens_of(config, shape), config.dit.heads)
    stride, rows, columns = config.vae.stride
    what = f"{shape[2] * columns}x{shape[1] * rows}, {1 + (shape[0] - 1) * stride} frames at once,"
    params.check("dit", activation_bytes(config, shape, guided), what)


def tokens_of(config: SoraConfig, shape: tuple[int, ...]) -> int:
    """Spacetime tokens of a clip whose latents have shape [t h w c]."""
    return math.prod(size // patch for size, patch in zip(shape, config.dit.patch))


def encoder_program(config: VAEConfig, weights: Any, shape: tuple[int, ...]) -> PlannedProgram:
    """The encoder, called once for the conditioning clip; a large clip is a stream of groups of frames."""
    time, rows, columns = config.stride
    height, width = shape[1] * rows, shape[2] * columns
    video = array(1, 1 + (shape[0] - 1) * time, height, width, 3)
    part = partial(VAE(config).apply, method="encode_part")
    _, cache = jax.eval_shape(part, {"params": weights}, array(1, 1, height, width, 3), {})
    streamed = math.prod(video.shape[1:4]) > MAX_WHOLE_PIXELS
    together = time if streamed else video.shape[1]
    widest = together * height * width // config.pixel_patch**2 * config.base * jnp.dtype(config.dtype).itemsize
    planned = nbytes(weights) + nbytes(video) * (2 if streamed else 1) + 2 * nbytes(cache) + 4 * widest
    return PlannedProgram("encoder", partial(encode_frames, config), (weights, video), planned, 1, 0.0)


def decoder_programs(config: VAEConfig, weights: Any, shape: Sequence[int], side: int = 0) -> list[PlannedProgram]:
    """The programs that decode a clip: one for whole frames, or, with tiles of a `side` in latent positions, one for
    their features and one for a tile."""
    _, *strides = config.stride
    frame = math.prod(shape[1:3]) * math.prod(strides)
    if frame <= UNTILED_PIXELS and shape[0] * config.stride[0] * frame <= MAX_WHOLE_PIXELS:
        return [whole_decoder_program(config, weights, shape)]
    if side:
        return [features_program(config, weights, shape), tile_program(config, weights, shape, side)]
    return [stream_program(config, weights, shape)]


def stream_program(config: VAEConfig, weights: Any, shape: Sequence[int]) -> PlannedProgram:
    """The decoder of whole frames, for the latent frames after the first that are decoded together."""
    frame = math.prod(size * stride for size, stride in zip(shape[1:3], config.stride[1:]))
    together = min(CHUNK, shape[0] - 1) if frame <= UNTILED_PIXELS else 1  # as the codec does
    pixels = together * config.stride[0] * frame
    planned = 4 * widest_bytes(config, pixels) + scores_bytes(together, shape)
    calls = 1 + -(-(shape[0] - 1) // together)
    return part_program("decoder", partial(next_frames, config), weights, (together, *shape[1:]), planned, calls)


def features_program(config: VAEConfig, weights: Any, shape: Sequence[int]) -> PlannedProgram:
    """The decoder's first stages, on whole frames."""
    each, scale = feature_stride(config)
    widest = each * math.prod(shape[1:3]) * scale**2 * (config.decoder_base or config.base) * config.multipliers[-1]
    planned = 4 * widest * jnp.dtype(config.dtype).itemsize + scores_bytes(1, shape)
    latent = 1, *shape[1:]
    return part_program("decoder, features", partial(next_features, config), weights, latent, planned, shape[0])


def tile_program(config: VAEConfig, weights: Any, shape: Sequence[int], side: int) -> PlannedProgram:
    """The decoder's other stages, on a tile."""
    (time, rows, columns), (each, scale) = config.stride, feature_stride(config)
    whole, _ = jax.eval_shape(partial(next_features, config), weights, array(1, 1, *shape[1:]), {})
    features = each, *(scale * min(side, size) for size in shape[1:3]), whole.shape[-1]
    planned = 4 * widest_bytes(config, time * tile_area(shape, side) * rows * columns)
    calls = number_of_tiles(config, shape, side) * shape[0]
    function, kind = partial(next_tile, config), whole.dtype
    return part_program("decoder, a tile", function, weights, features, planned, calls, kind)


def part_program(
    name: str,
    function: Callable,
    weights: Any,
    shape: tuple[int, ...],
    planned: int,
    calls: int,
    kind: Any = jnp.float32,
) -> PlannedProgram:
    """A program of a stream, for parts after the first frame. planned: bytes besides weights and cache."""
    _, cache = jax.eval_shape(function, weights, array(1, 1, *shape[1:], kind=kind), {})
    arguments = weights, array(1, *shape, kind=kind), cache
    return PlannedProgram(name, function, arguments, nbytes(weights) + 2 * nbytes(cache) + planned, calls, 0.0, True)


def widest_bytes(config: VAEConfig, pixels: int) -> int:
    """Of the features at a resolution of so many pixels, in the decoder."""
    channels = config.multipliers[0] * (config.decoder_base or config.base)
    return pixels * channels * jnp.dtype(config.dtype).itemsize


def scores_bytes(frames: int, shape: Sequence[int]) -> int:
    """Of the attention in the autoencoder's middle, twice."""
    return 8 * min(frames * math.prod(shape[1:3]) ** 2, SCORES_LIMIT)


def whole_decoder_program(config: VAEConfig, weights: Any, shape: Sequence[int]) -> PlannedProgram:
    """The decoder, called once for a whole clip."""
    _, rows, columns = config.stride
    pixels = (1 + (shape[0] - 1) * config.stride[0]) * shape[1] * rows * shape[2] * columns
    planned = nbytes(weights) + 4 * widest_bytes(config, pixels)
    return PlannedProgram("decoder", partial(decode_whole, config), (weights, array(1, *shape)), planned, 1, 0.0)


def tile_side(
    config: VAEConfig, weights: Any, shape: Sequence[int], memory: float, clips: int = 1, devices: int = 1
) -> int:
    """The side of the tiles, in latent positions, in which `clips` clips, each of latents [t h w c], are decoded; 0:
    whole frames, because they are small, or because decoding them takes no more memory than the weights leave of a
    device's `memory` in bytes. Of the tiles that fit, those that compute least. Several devices split a frame or a
    tile."""
    _, rows, columns = config.stride
    if shape[1] * rows * shape[2] * columns <= UNTILED_PIXELS:
        return 0
    weights = jax.eval_shape(lambda: weights)
    held = nbytes(weights)

    def fits(activations: float) -> bool:
        return SPARE * clips * (held + activations / devices) <= (1 - WEIGHTS_SHARE) * memory

    if fits(stream_program(config, weights, shape).planned - held):
        return 0
    smallest = tile_program(config, weights, shape, TILE).planned - held
    area = partial(tile_area, shape)
    sides = [
        side for side in range(TILE, max(shape[1:3]) + TILE_STEP, TILE_STEP) if fits(smallest * area(side) / area(TILE))
    ]
    return min(sides or [TILE], key=lambda side: number_of_tiles(config, shape, side) * area(side))


def tile_area(shape: Sequence[int], side: int) -> int:
    """Latent positions in a tile."""
    return math.prod(min(side, size) for size in shape[1:3])


def number_of_tiles(config: VAEConfig, shape: Sequence[int], side: int) -> int:
    """Tiles of a frame."""
    return math.prod(len(tile_starts(size, side, 2 * reach(config))) for size in shape[1:3])


def array(*shape: int, kind: Any = jnp.float32) -> Any:
    """A shape and dtype without an array."""
    return jax.ShapeDtypeStruct(shape, kind)


def nbytes(tree: Any) -> int:
    """Bytes of all arrays in a tree, or of arrays of its shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def matrices(tree: Any) -> int:
    """Number of weights in the blocks' matrices, by which every token is multiplied."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree["blocks"]) if leaf.ndim == 3)
