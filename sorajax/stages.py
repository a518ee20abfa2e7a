"""What sampling runs one after the other, as shapes without arrays: what fits can be asked before anything is there."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sorajax.diffusion.known import nothing_known
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models.sora import SoraConfig
from sorajax.models.tiles import LARGEST, OVERLAP, TILE, starts
from sorajax.models.vae import VAE
from sorajax.sampling import Beside, encode_text, sample_latents


class Stage(NamedTuple):
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


def stages(config: SoraConfig, weights: Mapping[str, Any], shape: tuple[int, ...], steps: int) -> list[Stage]:
    """The stages of sampling one guided clip of latents [t h w c]; `weights` are shapes of "text", "dit" and "vae"."""
    config = replace(config, dit=replace(config.dit, unroll=1))  # as the pipeline does
    text, dit, vae, known = config.text, config.dit, config.vae, jax.eval_shape(lambda: nothing_known((1, *shape)))

    def array(shape: tuple[int, ...], kind: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, kind)

    m, item = text.tokens, jnp.dtype(text.dtype).itemsize
    said = nbytes(weights["text"]) + 8 * text.heads * m * m + m * (3 * text.hidden + 6 * text.width) * item
    first = Stage("text", partial(encode_text, text), (weights["text"], array((1, m), jnp.int32), array((1, m), bool)),
                  said, 2, 2 * m * matrices(weights["text"]))  # fmt: skip

    tokens, item = math.prod(n // p for n, p in zip(shape, dit.patch)), jnp.dtype(dit.dtype).itemsize
    alive = 2 * tokens * (dit.hidden + 12 * dit.width) * item
    sample = partial(sample_latents, config, SAMPLERS["unipc"], True, None)
    noisy = ({"dit": weights["dit"]}, array((2, m, text.width)), array((1,), jnp.uint32), array((steps + 1,)),
             array((2,)), array(shape[:1]), known, Beside())  # fmt: skip
    attention = 4 * tokens * (tokens + m) * dit.width * dit.depth
    second = Stage("transformer", sample, noisy, nbytes(weights["dit"]) + alive, 1,
                   steps * 2 * (2 * tokens * matrices(weights["dit"]) + attention))  # fmt: skip

    time, rows, columns = vae.stride
    large = shape[1] * rows * shape[2] * columns > LARGEST
    tile = [min(TILE // stride, size) if large else size for stride, size in zip((rows, columns), shape[1:3])]
    decode = partial(VAE(vae).apply, method="decode_part")
    latent, params = array((1, 1, *tile, shape[3])), {"params": weights["vae"]}
    _, cache = jax.eval_shape(decode, params, latent, {})
    pixels = time * tile[0] * rows * tile[1] * columns
    widest = pixels * vae.multipliers[0] * (vae.decoder_base or vae.base) * jnp.dtype(vae.dtype).itemsize
    count = math.prod(len(starts(n, t, max(1, t - OVERLAP // s)))
                      for n, t, s in zip(shape[1:3], tile, (rows, columns))) * shape[0]  # fmt: skip
    third = Stage("decoder, a tile" if large else "decoder", decode, (params, latent, cache),
                  nbytes(weights["vae"]) + 2 * nbytes(cache) + 4 * widest, count, 0.0)  # fmt: skip
    return [first, second, third]


def nbytes(tree: Any) -> int:
    """Bytes of all arrays, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def matrices(tree: Any) -> int:
    """Weights that every token is multiplied by: those of the blocks' matrices."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree["blocks"]) if leaf.ndim == 3)
