"""The diffusion transformer: (noisy latents, a clock per latent frame, text) -> velocity.

    x = linear(patches)
    e = mlp(sinusoid(1000 * time)),  m = linear(silu(e))                    per latent frame
    block:  x += gate_1 * attention(norm(x) * (1 + scale_1) + shift_1)      shifts, scales, gates: table + m
            x += cross_attention(affine_norm(x), text)                      and, by config, image tokens
            x += gate_2 * feed_forward(norm(x) * (1 + scale_2) + shift_2)
    velocity = unpatchify(linear(norm(x) * (1 + scale) + shift))            shift, scale: table + e

A flow map has a second time, `until`, and predicts the mean velocity from `time` to `until`. There are two ways to read
it. With `until_blocks` above 0 the last blocks and the output read it in place of `time` (Decoupled MeanFlow, arXiv
2510.24474): no new parameters, and at `until = time` it is the same function. With `until_gate` above 0 it has an
embedding of its own (AnyFlow, arXiv 2605.13724):

    e = (1 - gate) * mlp(sinusoid(1000 * time)) + gate * mlp_until(sinusoid(1000 * until))

Where frames have actions, each adds an embedding to its frame's `e`, zero before training. So does the guidance scale w
of a model that reads one: mlp_guidance(sinusoid(1000 * (1 - 1 / w))) of each clip.

Peebles & Xie 2023 (adaLN-zero) with the shared modulation of PixArt-alpha (Chen et al. 2023, section 2.3);
weight-compatible, by config, with the Wan 2.1 / 2.2 transformers (Wan team 2025, section 4.2). Parameters are float32;
norms, modulation, rope and time features run in float32, matrix products in `dtype`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from sorajax.devices.sharding import shard
from sorajax.models.attention import attend
from sorajax.models.frame_cache import KeysValues, frames_bias, joined
from sorajax.models.layers import LayerNorm, Linear, Module, RMSNorm, standardize
from sorajax.models.quantized import dequantized
from sorajax.models.spacetime import Patch, Rope, patchify, rope, rope_angles, rotate, unpatchify

TIME_UNITS = 1000.0
"""The transformer's input is 1000 * time, the open models' convention."""


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """Shape of a transformer; the defaults are Wan 2.1 T2V 1.3B. Raises ValueError where heads do not fit the width."""

    width: int = 1536
    hidden: int = 8960
    depth: int = 30
    heads: int = 12
    in_channels: int = 16
    out_channels: int = 16
    patch: Patch = (1, 2, 2)
    text_width: int = 4096
    image_width: int = 0
    """Width of image tokens (Wan 2.1 image to video: CLIP's, 1280); 0: the transformer has no image input."""
    frequencies: int = 256
    """Width of the sinusoidal time features."""
    pooled_text: bool = False
    """Adds a linear projection of the mean text embedding to the time embedding: text also modulates every block."""
    epsilon: float = 1e-6
    unroll: int = 1
    """Blocks per iteration of the layer scan. `depth` removes the loop: faster on CPU, slower to compile."""
    stacked: bool = True
    """Stacks each weight of all blocks in one leaf, which the layer scan slices. False: every block has its own leaves,
    without a loop. On CPU a slice is a copy, which takes as long as the matrix products where a batch has few
    tokens."""
    remat: Literal["none", "dots", "full"] = "full"
    """Rematerialisation in the backward pass: none, all but matrix products, or whole blocks."""
    dtype: str = "float32"
    """Compute dtype of the matrix products."""
    quantized: bool = False
    """The blocks' kernels have 8 bits and are not trained, see `models.quantized`."""
    int8_products: bool = False
    """When a quantized transformer samples on TPU and GPU, products of int8 kernels have int8 operands."""
    until_blocks: int = 0
    """In a flow map, the number of last blocks that read `until` in place of `time`, as the output does."""
    until_gate: float = 0.0
    """In a flow map with an embedding of `until`, that embedding's weight, 0.25 in AnyFlow."""
    until_interval: bool = False
    """That embedding encodes `time - until` instead of `until`."""
    actions: int = 0
    """Number of possible actions, one of which each latent frame has; 0: the transformer reads no actions."""
    guidance: float = 0.0
    """In a model distilled for a range of guidance scales, which it reads as an input: the scale where none is given;
    at least 1, or 0: the transformer reads no scale."""
    guidance_range: tuple[float, float] | None = None
    """The range of those scales; None where the transformer reads none."""
    attended_frames: int = 0
    """Number of latent frames that each latent frame attends to, itself and those before it, see `models.frame_cache`;
    0: to all frames of the clip."""

    def __post_init__(self):
        if isinstance(self.depth, int) and self.depth < 1:  # of a config.json, types are checked after this
            raise ValueError(f"depth {self.depth} is not allowed: use 1 block or more")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} does not split into {self.heads} heads of even width: "
                "choose a width that is a multiple of 2 * heads"
            )
        if self.until_blocks and not 0 < self.until_blocks < self.depth:
            raise ValueError(
                f"until_blocks {self.until_blocks} is not allowed: of {self.depth} blocks 0 to {self.depth - 1} can "
                "read the second time"
            )
        low, high = self.guidance_range or (0.0, 0.0)
        if not (low <= self.guidance <= high and (low >= 1 or self.guidance_range is None)):
            raise ValueError(
                f"guidance {self.guidance:g} in guidance_range {self.guidance_range} is not allowed: use a scale in a "
                "range from 1 up, or 0 and null: the transformer reads no scale"
            )
        if not 0 <= self.until_gate <= 1:
            raise ValueError(f"until_gate {self.until_gate:g} is not allowed: use 0 to 1, e.g. 0.25; 0 is none")
        if self.until_gate and self.until_blocks:
            raise ValueError(
                f"until_gate {self.until_gate:g} and until_blocks {self.until_blocks} are two ways to read the second "
                "time: set one of them to 0"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def is_flow_map(self) -> bool:
        """Whether it predicts mean velocities between two times."""
        return self.until_blocks > 0 or self.until_gate > 0


class Modulation(NamedTuple):
    """A block's shifts, scales and gates, each [b t 1 d], float32."""

    shift_attention: Array
    scale_attention: Array
    gate_attention: Array
    shift_feed_forward: Array
    scale_feed_forward: Array
    gate_feed_forward: Array


def time_features(time: Float[Array, "*any t"], width: int) -> Float[Array, "*any t f"]:
    """Sinusoids of 1000 * time, cosines first, base 10000, float32."""
    frequencies = jnp.exp(-jnp.log(10_000.0) * jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))
    angles = TIME_UNITS * time.astype(jnp.float32)[..., None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def pool_text(context: Float[Array, "b m e"]) -> Float[Array, "b 1 e"]:
    """Mean over a prompt's tokens; the zeros beyond its length are left out."""
    length = jnp.sum(jnp.any(context != 0, -1), -1)[:, None, None]
    return jnp.sum(context, 1, keepdims=True) / jnp.maximum(length, 1)


def modulate(x: Float[Array, "b s d"], shift: Float[Array, "b t 1 d"], scale: Float[Array, "b t 1 d"], epsilon: float):
    """LayerNorm without affine, then the scale and shift of each latent frame, in float32."""
    frames = rearrange(standardize(x, epsilon), "b (t r) d -> b t r d", t=shift.shape[1])
    return (frames * (1 + scale) + shift).reshape(x.shape)


def gated(x: Float[Array, "b s d"], gate: Float[Array, "b t 1 d"]) -> Float[Array, "b s d"]:
    frames = rearrange(x, "b (t r) d -> b t r d", t=gate.shape[1])
    return (frames * gate).reshape(x.shape)


class TextCache(NamedTuple):
    """All that the transformer reads of text and image tokens; it is the same at every evaluation of a clip. Keys and
    values of all blocks are stacked, or in one entry for each block, as the parameters are."""

    pooled: Float[Array, "b 1 e"]
    """The mean text embedding, see `pool_text`."""
    text: Any
    """`KeysValues` of each block's cross-attention to text."""
    image: Any = None
    """The same for image tokens, where the transformer has them as input."""

    def of_first(self, count: int) -> TextCache:
        """That of the first `count` clips of a batch."""
        text, image = jax.tree.map(lambda leaf: leaf[..., :count, :, :, :], (self.text, self.image))
        return TextCache(self.pooled[:count], text, image)


def keys_and_values(config: DiTConfig, source: Float[Array, "b m d"]) -> KeysValues:
    """Keys and values of tokens, by the layers `k`, `norm_k` and `v` of the module that calls this."""
    dense = partial(Linear, config.width, dtype=config.dtype)
    heads = partial(rearrange, pattern="b s (n k) -> b s n k", n=config.heads)
    keys = heads(RMSNorm(config.epsilon, name="norm_k")(dense(name="k")(source)))
    return KeysValues(keys, heads(dense(name="v")(source)))


class Attention(Module):
    """Multi-head attention from x to itself (with rope) or to text (`turn=None`); q and k are RMS-normalised over the
    full width, before the head split. Text and image are tokens, or their keys and values."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b s d"],
        source: Float[Array, "b m d"] | KeysValues,
        turn: Rope | None,
        image: Float[Array, "b i d"] | KeysValues | None = None,
        past: KeysValues | None = None,
        bias: Float[Array, "1 1 s m"] | None = None,
    ) -> tuple[Float[Array, "b s d"], KeysValues]:
        """The result, and the keys and values of the source. past: those of tokens before x. bias: of the scores."""
        config = self.config
        dense = partial(Linear, config.width, dtype=config.dtype)
        heads = partial(rearrange, pattern="b s (n k) -> b s n k", n=config.heads)
        q = heads(RMSNorm(config.epsilon, name="norm_q")(dense(name="q")(x)))
        own = source if isinstance(source, KeysValues) else keys_and_values(config, source)
        k, v = own if past is None else joined(past, own)
        if turn is not None:
            q_turn = turn if past is None else Rope(*(part[-q.shape[1] :] for part in turn))
            q, k = rotate(q, q_turn), rotate(k, turn)
        is_self = turn is not None  # self-attention, whose tokens the mesh may shard
        q = shard(q, ("data", "fsdp"), "seq", "tensor", None)
        k, v = (shard(a, ("data", "fsdp"), "seq", "tensor", None) for a in (k, v))
        if not is_self:  # each device computes keys and values of a part of the text, and gathers the others
            k, v = (shard(a, ("data", "fsdp"), None, "tensor", None) for a in (k, v))
        mixed = attend(q, k, v, bias, spread=is_self and not config.attended_frames)
        if image is not None:
            mixed = mixed + ImageAttention(config, name="image")(q, image)
        return dense(name="out")(mixed.reshape(*x.shape[:2], config.width)), own


class ImageAttention(Module):
    """Cross-attention to image tokens: a second pair of keys and values, beside the text's."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self, q: Float[Array, "b s n k"], image: Float[Array, "b i d"] | KeysValues
    ) -> Float[Array, "b s n k"]:
        k, v = image if isinstance(image, KeysValues) else keys_and_values(self.config, image)
        k, v = (shard(a, ("data", "fsdp"), None, "tensor", None) for a in (k, v))
        return attend(q, k, v)


class ImageEmbedding(Module):
    """Projects image tokens to the model width: norm, linear, GELU, linear, norm."""

    config: DiTConfig

    @nn.compact
    def __call__(self, image: Float[Array, "b i e"]) -> Float[Array, "b i d"]:
        dense = partial(Linear, dtype=self.config.dtype)
        norm = partial(LayerNorm, 1e-5, dtype=jnp.float32)
        x = norm(name="norm_in")(image).astype(self.config.dtype)
        x = dense(self.config.width, name="out")(nn.gelu(dense(image.shape[-1], name="in")(x), approximate=False))
        return norm(name="norm_out")(x).astype(self.config.dtype)


class FeedForward(Module):
    config: DiTConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b s d"]) -> Float[Array, "b s d"]:
        hidden = Linear(self.config.hidden, dtype=self.config.dtype, name="up")(x)
        hidden = shard(nn.gelu(hidden, approximate=True), ("data", "fsdp"), "seq", "tensor")
        return Linear(self.config.width, dtype=self.config.dtype, name="down")(hidden)


class Block(Module):
    config: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b s d"],
        modulation: Sequence[Float[Array, "b t 6 d"]],
        text: Any,
        turn: Rope,
        image: Any,
        reads_until: Bool[Array, ""] | None = None,
        past: KeysValues | None = None,
        bias: Float[Array, "1 1 s m"] | None = None,
    ) -> tuple[Float[Array, "b s d"], KeysValues | None]:
        """The tokens after the block, and where there is a past, keys and values of its self-attention. modulation: of
        `time`, and of `until` where the block may read that instead."""
        config = self.config
        table = self.param("modulation", nn.initializers.normal(config.width**-0.5), (6, config.width))
        chosen = modulation[0] if reads_until is None else jnp.where(reads_until, modulation[1], modulation[0])
        m = Modulation(*jnp.moveaxis(table + chosen, 2, 0)[:, :, :, None])

        h = modulate(x, m.shift_attention, m.scale_attention, config.epsilon).astype(config.dtype)
        mixed, own = Attention(config, name="self_attention")(h, h, turn, None, past, bias)
        x = x + gated(mixed, m.gate_attention).astype(x.dtype)

        h = LayerNorm(config.epsilon, dtype=jnp.float32, name="norm_cross")(x).astype(config.dtype)
        x = x + Attention(config, name="cross_attention")(h, text, None, image)[0]

        h = modulate(x, m.shift_feed_forward, m.scale_feed_forward, config.epsilon).astype(config.dtype)
        x = x + gated(FeedForward(config, name="feed_forward")(h), m.gate_feed_forward).astype(x.dtype)
        return shard(x, ("data", "fsdp"), "seq", None), None if past is None else own


def embedded(config: DiTConfig, context: Float[Array, "b m e"], image: Float[Array, "b i e"] | None):
    """Text and image tokens at the model's width, by the layers `text_in`, `text_out` and `image_in` of the module that
    calls this."""
    dense = partial(Linear, dtype=config.dtype)
    text = shard(dense(config.width, name="text_in")(context.astype(config.dtype)), ("data", "fsdp"), "seq", None)
    text = dense(config.width, name="text_out")(nn.gelu(text, approximate=True))
    return text, None if image is None else ImageEmbedding(config, name="image_in")(image)


def check_image(config: DiTConfig, image: Array | None) -> None:
    """Raises ValueError where there are image tokens and the transformer has no such input, or the reverse."""
    if (image is None) == (config.image_width > 0):
        raise ValueError(
            f"image_width is {config.image_width}, and image tokens were "
            f"{'not ' if image is None else ''}given: give them if and only if it is above 0"
        )


class DiT(Module):
    """The transformer of the module's docstring: (x, time, text) -> velocity."""

    config: DiTConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t h w c"],
        time: Float[Array, "b t"],
        context: Float[Array, "b m e"] | TextCache,
        positions: Float[Array, " t"] | None = None,
        image: Float[Array, "b i e"] | None = None,
        until: Float[Array, "b t"] | None = None,
        actions: Int[Array, "b t"] | None = None,
        guidance: Float[Array, " b"] | None = None,
        past: Any = None,
    ) -> Any:
        """The velocity (noise - data) at latents `x` [b t h w c], float32; with `past`, it and the keys and values of
        these frames.

        time: diffusion time of each latent frame (1 = noise, 0 = data).
        context: text embeddings, zero beyond the prompt's length and not masked; or, for several
            evaluations, what `models.text_cache` makes of them and of the image tokens.
        positions: temporal positions of the latent frames in units of one latent frame at the model's base frame rate;
            None: 0, 1, 2, ...
        image: tokens of the first frame, exactly where `config.image_width` is above 0; ValueError otherwise.
        until: of a flow map, the time of each latent frame until which the velocity is averaged; None: `time`.
        actions: of a model with `config.actions`, the action that led to each latent frame; None: the first one.
        guidance: of a model with `config.guidance`, the guidance scale of each clip, at least 1; None: that one.
        past: of a model with `config.attended_frames`, keys and values of the frames before x.
        """
        config = self.config
        cached = isinstance(context, TextCache)
        if not cached:
            check_image(config, image)
        dense = partial(Linear, dtype=config.dtype)
        t, h, w = (size // p for size, p in zip(x.shape[1:4], config.patch, strict=True))
        before = 0 if past is None else jax.tree.leaves(past)[0].shape[-3] // (h * w)
        bias = frames_bias(before, t, h * w, config.attended_frames)
        positions = jnp.arange(before + t, dtype=jnp.float32) if positions is None else positions
        turn = rope(rope_angles(positions, h, w, config.head_width))

        times = time[None] if until is None or not config.until_blocks else jnp.stack([time, until])
        features = time_features(times, config.frequencies)[:, :, :: config.patch[0]]
        e = Linear(config.width, name="time_in")(features)
        e = Linear(config.width, name="time_out")(nn.silu(e))
        if config.until_gate:
            end = time if until is None else until
            features = time_features(time - end if config.until_interval else end, config.frequencies)
            end = Linear(config.width, name="until_in")(features[None, :, :: config.patch[0]])
            end = Linear(config.width, name="until_out")(nn.silu(end))
            e = (1 - config.until_gate) * e + config.until_gate * end
        if config.pooled_text:
            e = e + Linear(config.width, name="pooled_text")(
                context.pooled if isinstance(context, TextCache) else pool_text(context)
            )
        if config.actions:
            table = self.param("actions", nn.initializers.zeros, (config.actions, config.width))
            e = e + table[jnp.zeros(time.shape, jnp.int32) if actions is None else actions]
        if config.guidance:
            scale = jnp.full(len(x), config.guidance, jnp.float32) if guidance is None else guidance
            hidden = Linear(config.width, name="guidance_in")(time_features(1 - 1 / scale[:, None], config.frequencies))
            out = Linear(config.width, name="guidance_out", kernel_init=nn.initializers.zeros)
            e = e + out(nn.silu(hidden))
        modulation = Linear(6 * config.width, name="time_modulation", kernel_init=nn.initializers.zeros)(nn.silu(e))
        modulations = tuple(rearrange(modulation, "n b t (six d) -> n b t six d", six=6))
        reads_until = None if len(times) == 1 else jnp.arange(config.depth) >= config.depth - config.until_blocks

        if isinstance(context, TextCache):
            text, image = context.text, context.image
        else:
            text, image = embedded(config, context, image)

        tokens = dense(config.width, name="patch_in")(patchify(x, config.patch).astype(config.dtype))
        tokens = shard(tokens, ("data", "fsdp"), "seq", None)
        tokens, own = self._blocks(cached)(tokens, modulations, text, turn, image, reads_until, past, bias)

        table = self.param("modulation_out", nn.initializers.normal(config.width**-0.5), (2, config.width))
        shift, scale = jnp.moveaxis(table + e[-1][:, :, None], 2, 0)[:, :, :, None]
        tokens = modulate(tokens, shift, scale, config.epsilon)
        patches = Linear(  # in float32: a negligible cost, and the velocity is not rounded
            math.prod(config.patch) * config.out_channels, name="patch_out", kernel_init=nn.initializers.zeros
        )(tokens)
        velocity = unpatchify(patches, (t, h, w), config.patch)
        return velocity if past is None else (velocity, own)

    def _blocks(self, cached: bool):
        """All blocks as one function: a scan over weights with a leading `depth` axis, or a chain of blocks. cached:
        text and image are keys and values of each block."""
        block = dequantized(Block, but_int8=self.config.int8_products) if self.config.quantized else Block
        if self.config.remat != "none":
            policy = None if self.config.remat == "full" else jax.checkpoint_policies.dots_with_no_batch_dims_saveable
            block = nn.remat(block, prevent_cse=False, policy=policy)
        if not self.config.stacked:
            blocks = [block(self.config, name=f"block_{layer}") for layer in range(self.config.depth)]

            def chain(
                x: Array, modulation: Any, text: Any, turn: Rope, image: Any, reads_until: Any, past: Any, bias: Any
            ):
                added = []
                for layer, block in enumerate(blocks):
                    before = None if past is None else past[layer]
                    own = [each[layer] if cached and each is not None else each for each in (text, image)]
                    late = None if reads_until is None else reads_until[layer]
                    x, new = block(x, modulation, own[0], turn, own[1], late, before, bias)
                    added.append(new)
                return x, tuple(added)

            return chain
        each = 0 if cached else nn.broadcast
        scanned = nn.scan(
            block,
            variable_axes={"params": 0, "adapters": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, each, nn.broadcast, each, 0, 0, nn.broadcast),
            length=self.config.depth,
            unroll=min(self.config.unroll, self.config.depth),
        )
        return lambda x, *more: scanned(self.config, name="blocks")(x, *more)
