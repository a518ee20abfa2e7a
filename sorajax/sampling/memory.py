"""What sampling runs one after the other, as shapes without arrays: what fits can be asked before anything is there."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sorajax.devices.residency import WEIGHTS_SHARE, Parts
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models.sora import SoraConfig
from sorajax.models.text import TextConfig
from sorajax.models.tiles import OVERLAP, TILE, UNTILED_PIXELS, tile_starts
from sorajax.models.vae import VAE, VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.sampling.conditions import abstract_conditions
from sorajax.sampling.program import encode_image, encode_text, sample_latents

SPARE = 1.25
"""By how much compiled programs may take more than planned."""


class PlannedProgram(NamedTuple):
    """A program that sampling runs, and what it takes, as shapes: the first argument holds the weights."""

    name: str
    function: Callable
    arguments: tuple
    planned: int
    """Bytes of memory by our own arithmetic: weights, and the largest values that are alive together."""
    calls: int
    """How often one clip runs it."""
    flops: float
    """Of one call."""


def sampling_programs(
    config: SoraConfig, weights: Mapping[str, Any], shape: tuple[int, ...], steps: int, memory: float = 0
) -> list[PlannedProgram]:
    """The stages of sampling one guided clip of latents [t h w c]; `weights` are shapes of "text", "dit" and "vae", and
    by model of "vision". Of two experts, which are alike, one is there at a time. Frames are decoded whole where they
    are small, or a device's `memory` in bytes has room for it.
    """
    made = [text_program(config.text, weights["text"])]
    if config.vision is not None:
        made.append(vision_program(config.vision, weights["vision"]))
    if config.conditioning.needs_first_frame:
        made.append(encoder_program(config.vae, weights["vae"], shape))
    made.append(transformer_program(config, weights["dit"], shape, steps))
    tiled = in_tiles(config.vae, weights["vae"], shape, memory)
    return [*made, decoder_program(config.vae, weights["vae"], shape, tiled)]


def text_program(config: TextConfig, weights: Any) -> PlannedProgram:
    """The prompt, and the negative one."""
    m, item = config.tokens, jnp.dtype(config.dtype).itemsize
    scores, values = 8 * config.heads * m * m, m * (3 * config.hidden + 6 * config.width) * item
    arguments = weights, array(1, m, kind=jnp.int32), array(1, m, kind=bool)
    function = partial(encode_text, config)
    return PlannedProgram("text", function, arguments, nbytes(weights) + scores + values, 2, 2 * m * matrices(weights))


def vision_program(config: VisionConfig, weights: Any) -> PlannedProgram:
    """The tokens of the first frame."""
    tokens, item = config.tokens, jnp.dtype(config.dtype).itemsize
    values = 8 * config.heads * tokens * tokens + tokens * (2 * config.hidden + 6 * config.width) * item
    function = partial(encode_image, config)
    arguments = weights, array(1, config.size, config.size, 3)
    return PlannedProgram("vision", function, arguments, nbytes(weights) + values, 1, 2 * tokens * matrices(weights))


def transformer_program(config: SoraConfig, weights: Any, shape: tuple[int, ...], steps: int) -> PlannedProgram:
    """All steps, each of both prompts in one batch."""
    config = replace(config, dit=replace(config.dit, unroll=1))  # as the pipeline does
    dit, m, tokens = config.dit, config.text.tokens, tokens_of(config, shape)
    conditions = abstract_conditions(config, shape, steps)
    read = tokens + m + (0 if config.vision is None else config.vision.tokens)
    attention = 4 * tokens * read * dit.width * dit.depth
    flops = steps * 2 * (2 * tokens * matrices(weights) + attention)
    function = partial(sample_latents, config, SAMPLERS["unipc"], True, None)
    return PlannedProgram(
        "transformer", function, (weights, conditions), nbytes(weights) + alive(config, shape), 1, flops
    )


def alive(config: SoraConfig, shape: tuple[int, ...], guided: bool = True) -> int:
    """Bytes of the values that are there together in a block: its tokens and hidden units, before and after."""
    each = 2 * (config.dit.width + config.dit.hidden) * jnp.dtype(config.dit.dtype).itemsize
    return (2 if guided else 1) * tokens_of(config, shape) * each


def check_fits(params: Parts, config: SoraConfig, shape: tuple[int, ...], guided: bool) -> None:
    """Raises ValueError where the transformer and what it makes of latents [t h w c] at once do not fit."""
    stride, rows, columns = config.vae.stride
    what = f"{shape[2] * columns}x{shape[1] * rows}, {1 + (shape[0] - 1) * stride} frames at once,"
    params.check("dit", alive(config, shape, guided), what)


def tokens_of(config: SoraConfig, shape: tuple[int, ...]) -> int:
    """Patches of a clip of latents."""
    return math.prod(size // patch for size, patch in zip(shape, config.dit.patch))


def encoder_program(config: VAEConfig, weights: Any, shape: tuple[int, ...]) -> PlannedProgram:
    """The frames of one latent frame after the first, of the clip that says what is known."""
    time, rows, columns = config.stride
    height, width = shape[1] * rows, shape[2] * columns
    encode = partial(VAE(config).apply, method="encode_part")
    video, params = array(1, time, height, width, 3), {"params": weights}
    _, cache = jax.eval_shape(encode, params, array(1, 1, height, width, 3), {})
    widest = time * height * width // config.pixel_patch**2 * config.base * jnp.dtype(config.dtype).itemsize
    planned = nbytes(weights) + 2 * nbytes(cache) + 4 * widest
    return PlannedProgram("encoder", encode, (params, video, cache), planned, shape[0], 0.0)


def decoder_program(config: VAEConfig, weights: Any, shape: Sequence[int], tiled: bool) -> PlannedProgram:
    """One latent frame after the first, of the whole frame or of a tile."""
    time, *strides = config.stride
    sizes = shape[1:3]
    tile = [min(TILE // stride, size) if tiled else size for size, stride in zip(sizes, strides)]
    tiles = [
        len(tile_starts(size, side, max(1, side - OVERLAP // stride)))
        for size, side, stride in zip(sizes, tile, strides)
    ]
    decode = partial(VAE(config).apply, method="decode_part")
    latent, params = array(1, 1, *tile, shape[3]), {"params": weights}
    _, cache = jax.eval_shape(decode, params, latent, {})
    pixels = time * math.prod(side * stride for side, stride in zip(tile, strides))
    widest = pixels * config.multipliers[0] * (config.decoder_base or config.base) * jnp.dtype(config.dtype).itemsize
    planned = nbytes(weights) + 2 * nbytes(cache) + 4 * widest + 8 * math.prod(tile) ** 2
    name = "decoder, a tile" if tiled else "decoder"
    return PlannedProgram(name, decode, (params, latent, cache), planned, math.prod(tiles) * shape[0], 0.0)


def in_tiles(config: VAEConfig, weights: Any, shape: Sequence[int], memory: float, clips: int = 1) -> bool:
    """Whether so many clips of latents [t h w c] are decoded tile by tile: where frames are large, and whole ones would
    take more than what parts leave of a device's `memory`."""
    _, rows, columns = config.stride
    if shape[1] * rows * shape[2] * columns <= UNTILED_PIXELS:
        return False
    planned = decoder_program(config, jax.eval_shape(lambda: weights), shape, tiled=False).planned
    return SPARE * clips * planned > (1 - WEIGHTS_SHARE) * memory


def array(*shape: int, kind: Any = jnp.float32) -> Any:
    """A shape without an array."""
    return jax.ShapeDtypeStruct(shape, kind)


def nbytes(tree: Any) -> int:
    """Bytes of all arrays, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def matrices(tree: Any) -> int:
    """Weights that every token is multiplied by: those of the blocks' matrices."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree["blocks"]) if leaf.ndim == 3)
