"""The network behind captions and longer prompts: an encoder of a clip's latents or of a prompt, and a decoder.

    x = gelu(conv(latents)), 3 x 3 x 3;  x += gelu(conv(x)), 3 x 3
    tokens = patches of x W + positions (t, y, x),  or  embed(ids) + positions
    encoder block:  x += attention(rms(x));  x += down(gelu(up(rms(x))))
    decoder block:  x += attention(rms(x)), causal;  x += attention(rms(x), memory);  x += down(gelu(up(rms(x))))
    memory = rms(x) of the last encoder block;  words = softmax(rms(x) embed^T) of the last decoder block

An encoder and a decoder of transformer blocks (Vaswani et al. 2017), after two convolutions, with which fewer clips
suffice (Xiao et al. 2021, early convolutions). A caption begins with a token of its register, so one decoder writes
captions of several kinds. The encoder's positions are sinusoids of the frame's number and of the place in units of the
frame's shorter side, so clips of any shape and length are read. Token 0, the tokenizer's padding, ends a caption.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from sorajax.models.attention import attend
from sorajax.models.layers import Linear, Module, RMSNorm, convolve
from sorajax.models.spacetime import Patch, patchify
from sorajax.models.vae import conv_parameters

REGISTERS = ("short", "detailed", "canonical")
"""The registers that the decoder writes in, in the order of their tokens."""
END = 0
"""The token that ends a caption."""
FREQUENCIES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Frequencies of the positional sinusoids: turns per shorter side of the frame, and per eight latent frames."""


@dataclasses.dataclass(frozen=True)
class WordsConfig:
    """Shape of the network."""

    vocabulary: int = 768
    tokens: int = 48
    """Longest caption in tokens."""
    width: int = 128
    heads: int = 4
    head_width: int = 24
    hidden: int = 256
    encoder_depth: int = 3
    decoder_depth: int = 2
    patch: Patch = (1, 2, 2)
    """Latent frames, rows and columns of one token."""
    channels: int = 12
    """Channels of the latents."""
    stem: int = 32
    """Channels of the convolutions."""
    autoencoder: str = "world"
    """The model whose autoencoder encodes the latents: `world`, or a folder."""
    epsilon: float = 1e-6


class Memory(NamedTuple):
    """The decoder's input: the encoder's tokens, and a mask of those that are not padding."""

    tokens: Float[Array, "b s d"]
    mask: Bool[Array, "b s"]


class Cache(NamedTuple):
    """Keys and values of the words so far, for each decoder block."""

    keys: Float[Array, "depth b m n k"]
    values: Float[Array, "depth b m n k"]


class Attention(Module):
    """Multi-head attention from x to `source`, or with keys and values that are given."""

    config: WordsConfig

    def setup(self) -> None:
        inner = self.config.heads * self.config.head_width
        dense = partial(Linear, use_bias=False)
        self.q, self.k, self.v = dense(inner), dense(inner), dense(inner)
        self.out = dense(self.config.width)

    def heads(self, x: Array) -> Array:
        return rearrange(x, "b m (n k) -> b m n k", n=self.config.heads)

    def keys_values(self, source: Float[Array, "b m d"]) -> tuple[Array, Array]:
        """Keys and values of tokens, split into heads."""
        return self.heads(self.k(source)), self.heads(self.v(source))

    def __call__(self, x: Float[Array, "b s d"], keys: Array, values: Array, visible: Bool[Array, "#b #s m"]) -> Array:
        bias = jnp.where(visible, 0.0, -1e9)[:, None]
        h = attend(self.heads(self.q(x)), keys, values, bias=bias)
        return self.out(rearrange(h, "b s n k -> b s (n k)"))


class FeedForward(Module):
    config: WordsConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b s d"]) -> Float[Array, "b s d"]:
        h = RMSNorm(self.config.epsilon, name="norm")(x)
        h = nn.gelu(Linear(self.config.hidden, use_bias=False, name="up")(h), approximate=True)
        return x + Linear(self.config.width, use_bias=False, name="down")(h)


class EncoderBlock(Module):
    config: WordsConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b s d"], mask: Bool[Array, "b s"]) -> Float[Array, "b s d"]:
        attention = Attention(self.config, name="attention")
        h = RMSNorm(self.config.epsilon, name="norm")(x)
        x = x + attention(h, *attention.keys_values(h), mask[:, None, :])
        return FeedForward(self.config, name="feed_forward")(x)


class DecoderBlock(Module):
    """One block on the words from `position` on, whose keys and values are written into the cache."""

    config: WordsConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s d"], memory: Memory, keys: Array, values: Array, position: Int[Array, ""]
    ) -> tuple[Array, Array, Array]:
        config = self.config
        attention, cross = Attention(config, name="attention"), Attention(config, name="cross")
        h = RMSNorm(config.epsilon, name="norm")(x)
        new_keys, new_values = attention.keys_values(h)
        keys = jax.lax.dynamic_update_slice(keys, new_keys, (0, position, 0, 0))
        values = jax.lax.dynamic_update_slice(values, new_values, (0, position, 0, 0))
        here = position + jnp.arange(x.shape[1])
        x = x + attention(h, keys, values, (jnp.arange(keys.shape[1])[None, :] <= here[:, None])[None])
        h = RMSNorm(config.epsilon, name="norm_cross")(x)
        x = x + cross(h, *cross.keys_values(memory.tokens), memory.mask[:, None, :])
        return FeedForward(config, name="feed_forward")(x), keys, values


class Convolution(Module):
    """A convolution that keeps rows, columns and frames, with zeros around them."""

    features: int
    frames: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        kernel, bias = conv_parameters(self, (self.frames, 3, 3), x.shape[-1], self.features)
        around = self.frames // 2
        x = jnp.pad(x, ((0, 0), (around, around), (0, 0), (0, 0), (0, 0)))
        return convolve(x, kernel, padding=((1, 1), (1, 1))) + bias


class Stem(Module):
    """Two convolutions of the latents, the first one over time, too."""

    config: WordsConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        x = nn.gelu(Convolution(self.config.stem, 3, name="conv_in")(x))
        return x + nn.gelu(Convolution(self.config.stem, 1, name="conv")(x))


def positions(t: int, h: int, w: int) -> Float[Array, "s f"]:
    """Sinusoids of every patch's time and place, in (t, h, w) raster order."""
    side = min(h, w)
    axes = (jnp.arange(t) / 8.0, (jnp.arange(h) + 0.5 - h / 2) / side, (jnp.arange(w) + 0.5 - w / 2) / side)
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    angles = (2 * jnp.pi * grid[..., None] * jnp.asarray(FREQUENCIES)).reshape(len(grid), -1)
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


class Words(Module):
    """Latents or a prompt -> `Memory`; memory and words -> the logits of the next words."""

    config: WordsConfig

    def setup(self) -> None:
        config, small = self.config, nn.initializers.normal(0.02)
        self.embedding = self.param("embedding", small, (config.vocabulary, config.width))
        self.registers = self.param("registers", small, (len(REGISTERS), config.width))
        self.text_positions = self.param("text_positions", small, (config.tokens + 1, config.width))
        self.stem = Stem(config)
        self.patch_in, self.place_in = Linear(config.width), Linear(config.width, use_bias=False)
        self.encoder = [EncoderBlock(config) for _ in range(config.encoder_depth)]
        self.decoder = [DecoderBlock(config) for _ in range(config.decoder_depth)]
        self.norm_encoder, self.norm_out = RMSNorm(config.epsilon), RMSNorm(config.epsilon)

    def read_clip(self, latent: Float[Array, "b t h w c"]) -> Memory:
        """The memory of clips, from their normalised latents; rows and columns are whole patches."""
        (pt, ph, pw), (b, t, h, w, _) = self.config.patch, latent.shape
        x = self.patch_in(patchify(self.stem(latent.astype(jnp.float32)), self.config.patch))
        x = x + self.place_in(positions(t // pt, h // ph, w // pw))
        return self._encoded(x, jnp.ones((b, x.shape[1]), bool))

    def read_prompt(self, ids: Int[Array, "b m"], mask: Bool[Array, "b m"]) -> Memory:
        """The memory of prompts."""
        return self._encoded(self.embedding[ids] + self.text_positions[: ids.shape[1]], mask)

    def _encoded(self, x: Float[Array, "b s d"], mask: Bool[Array, "b s"]) -> Memory:
        for block in self.encoder:
            x = block(x, mask)
        return Memory(self.norm_encoder(x), mask)

    def begin(self, b: int, tokens: int) -> Cache:
        """An empty cache for b captions of so many tokens."""
        config = self.config
        empty = jnp.zeros((config.decoder_depth, b, tokens, config.heads, config.head_width))
        return Cache(empty, empty)

    def write(self, x: Float[Array, "b s d"], memory: Memory, cache: Cache, position: Any) -> tuple[Array, Cache]:
        """The logits after words that are embedded already, float32, and the cache with them."""
        x = x + jax.lax.dynamic_slice_in_dim(self.text_positions, position, x.shape[1])
        blocks, keys, values = zip(self.decoder, cache.keys, cache.values, strict=True), [], []
        for block, old_keys, old_values in blocks:
            x, new_keys, new_values = block(x, memory, old_keys, old_values, position)
            keys.append(new_keys)
            values.append(new_values)
        logits = (self.norm_out(x) @ self.embedding.T).astype(jnp.float32)
        return logits, Cache(jnp.stack(keys), jnp.stack(values))

    def embed(self, ids: Int[Array, "b s"]) -> Float[Array, "b s d"]:
        return self.embedding[ids]

    def first(self, register: Int[Array, " b"]) -> Float[Array, "b 1 d"]:
        """The token of a register, which each caption begins with."""
        return self.registers[register][:, None]

    def __call__(
        self, memory: Memory, register: Int[Array, " b"], ids: Int[Array, "b m"]
    ) -> Float[Array, "b m vocabulary"]:
        """The logits of each word of captions, given those before it."""
        x = jnp.concatenate([self.first(register), self.embed(ids[:, :-1])], 1)
        return self.write(x, memory, self.begin(*ids.shape), 0)[0]

    def everything(self, latent: Array, ids: Array) -> Any:
        """Uses every parameter, for `init`."""
        register = jnp.zeros(len(ids), jnp.int32)
        self.read_prompt(ids, ids > 0)
        return self(self.read_clip(latent), register, ids)


@partial(jax.jit, static_argnums=0)
def init_words(config: WordsConfig, key: jax.Array) -> Any:
    """Random parameters."""
    latent, ids = jnp.zeros((1, *config.patch, config.channels)), jnp.zeros((1, config.tokens), jnp.int32)
    return Words(config).init(key, latent, ids, method="everything")["params"]


def words_loss(
    logits: Float[Array, "b m v"], ids: Int[Array, "b m"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy per word of captions that are padded with `END`, the first of which counts; the share of words
    that are the likeliest; and the share of captions all of whose words are."""
    counted = jnp.pad(ids != END, ((0, 0), (1, 0)), constant_values=True)[:, : ids.shape[1]]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), ids[..., None], -1)[..., 0]
    right = (jnp.argmax(logits, -1) == ids) | ~counted
    total = jnp.sum(counted)
    return -jnp.sum(chosen * counted) / total, jnp.sum(right & counted) / total, jnp.mean(jnp.all(right, 1))


def generate(
    config: WordsConfig,
    params: Any,
    memory: Memory,
    register: Int[Array, " b"],
    key: Array,
    temperature: Float[Array, ""],
    least: float = 0.05,
) -> Int[Array, "b m"]:
    """Captions, word by word, with `END` beyond their length; for use in a jitted function.

    temperature: 0 takes the likeliest word, 1 draws by the model's probabilities. Words less likely than `least` times
    the likeliest are never drawn (Nguyen et al. 2024, min-p).
    """
    apply = partial(Words(config).apply, {"params": params})
    b = len(register)

    def step(carry: Any, key: Array) -> Any:
        x, cache, position, ended = carry
        logits, cache = apply(x, memory, cache, position, method="write")
        logits = logits[:, 0]
        drawn = jnp.where(logits >= logits.max(-1, keepdims=True) + jnp.log(least), logits, -jnp.inf)
        drawn = jax.random.categorical(key, drawn / jnp.maximum(temperature, 1e-6))
        word = jnp.where(ended, END, jnp.where(temperature > 0, drawn, jnp.argmax(logits, -1)))
        return (apply(word[:, None], method="embed"), cache, position + 1, ended | (word == END)), word

    begun = apply(register, method="first"), apply(b, config.tokens, method="begin"), jnp.int32(0), jnp.zeros(b, bool)
    return jax.lax.scan(step, begun, jax.random.split(key, config.tokens))[1].T
