"""Text -> embeddings: a T5-style encoder and its tokenizer.

    x = embed(ids)
    block:  x += attention(rms(x)), with a learned bias per relative position and without scaling of the scores
            x += down(gelu(gate(rms(x))) * up(rms(x)))
    context = rms(x), zero beyond the prompt's length

Raffel et al. 2020, section 2.1, with a position bias in every layer (UMT5: Chung et al. 2023); weight-compatible, by
config, with UMT5 encoders.
"""

from __future__ import annotations

import dataclasses
import html
import math
import re
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from sorajax.devices.sharding import BATCH, other_axes, shard
from sorajax.models.attention import attend
from sorajax.models.layers import Dense, Module, RMSNorm
from sorajax.models.quantized import dequantized

PUNCTUATION = "!\"'(),.:;?-"
UNKNOWN = ("[UNK]", "<unk>", "<UNK>")


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Shape of a text encoder; the defaults are UMT5-XXL."""

    vocabulary: int = 256384
    width: int = 4096
    hidden: int = 10240
    depth: int = 24
    heads: int = 64
    head_width: int = 64
    buckets: int = 32
    """Number of relative-position buckets, half of them for each direction."""
    max_distance: int = 128
    """Distance in tokens from which on all positions share a bucket."""
    tokens: int = 512
    """Length of the longest prompt in tokens; shorter prompts are padded to it."""
    epsilon: float = 1e-6
    dtype: str = "float32"
    quantized: bool = False
    """The blocks' kernels have 8 bits, see `models.quantized`."""


def position_buckets(m: int, buckets: int, max_distance: int) -> Int[np.ndarray, "m m"]:
    """Bucket of each (query, key) pair by key position minus query position: exact for small distances, logarithmic
    beyond (Raffel et al. 2020, section 2.1)."""
    distance = np.arange(m)[None, :] - np.arange(m)[:, None]
    half, exact = buckets // 2, buckets // 4
    side = np.where(distance > 0, half, 0)
    distance = np.abs(distance)
    far = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / math.log(max_distance / exact) * (half - exact)
    return side + np.where(distance < exact, distance, np.minimum(exact + far.astype(np.int64), half - 1))


class TextBlock(Module):
    config: TextConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b m d"], mask: Bool[Array, "b m"], buckets: Int[Array, "m m"]):
        config = self.config
        dense = partial(Dense, use_bias=False, dtype=config.dtype)
        inner = config.heads * config.head_width

        h = RMSNorm(config.epsilon, name="norm_attention")(x)
        narrow = nn.initializers.normal((config.width * config.head_width) ** -0.5)  # scores are not scaled
        q = dense(inner, kernel_init=narrow, name="q")(h)
        tokens = other_axes(len(x), config.heads)
        q, k, v = (
            shard(rearrange(a, "b m (n k) -> b m n k", n=config.heads), BATCH, tokens, "tensor", None)
            for a in (q, dense(inner, name="k")(h), dense(inner, name="v")(h))
        )
        k, v = (shard(a, BATCH, None, "tensor", None) for a in (k, v))
        table = self.param("position_bias", nn.initializers.normal(0.02), (config.buckets, config.heads))
        bias = rearrange(table[buckets], "s m n -> 1 n s m") + jnp.where(mask, 0.0, -1e9)[:, None, None, :]
        h = attend(q, k, v, bias=bias, scale=1.0)
        x = x + dense(config.width, name="out")(rearrange(h, "b m n k -> b m (n k)"))

        h = RMSNorm(config.epsilon, name="norm_feed_forward")(x)
        h = nn.gelu(dense(config.hidden, name="gate")(h), approximate=True) * dense(config.hidden, name="up")(h)
        h = shard(h, BATCH, tokens, "tensor")
        return shard(x + dense(config.width, name="down")(h), BATCH, tokens), None


class TextEncoder(Module):
    config: TextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, "b m"], mask: Bool[Array, "b m"]) -> Float[Array, "b m d"]:
        """Embeddings, float32, of token `ids`; zero where `mask` is false, beyond a prompt's length."""
        config = self.config
        mask = mask.astype(bool)
        table = self.param("embedding", nn.initializers.normal(1.0), (config.vocabulary, config.width))
        x = shard(table.astype(config.dtype)[ids], BATCH, other_axes(len(ids), config.heads))
        buckets = jnp.asarray(position_buckets(ids.shape[1], config.buckets, config.max_distance))
        block = dequantized(TextBlock) if config.quantized else TextBlock
        blocks = nn.scan(
            block, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=config.depth
        )
        x, _ = blocks(config, name="blocks")(x, mask, buckets)
        return RMSNorm(config.epsilon, name="norm_out")(x).astype(jnp.float32) * mask[..., None]


def clean(prompt: str) -> str:
    """A prompt cleaned as in the open models' reference: repairs Unicode, unescapes HTML entities, collapses white
    space."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(prompt)))).strip()


class Tokenizer:
    """Prompts -> token ids, from a JSON file of the `tokenizers` library."""

    def __init__(self, source: str, tokens: int):
        """`source` is the content of the file; prompts are padded to `tokens`. Raises ValueError for invalid JSON."""
        import tokenizers

        self.source, self.tokens = source, tokens
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(source)
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"not a tokenizer file of the `tokenizers` library: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @property
    def vocabulary(self) -> int:
        return self._tokenizer.get_vocab_size()

    def pieces(self, prompt: str) -> list[str]:
        """The tokens of a prompt as text, unpadded."""
        return self._tokenizer.encode(prompt).tokens

    def decode(self, ids: Int[np.ndarray, "b m"], mask: Bool[np.ndarray, "b m"]) -> list[str]:
        """The prompts that `encode` made these of, as far as the tokenizer keeps them: most make lower case."""
        rows = [row[real].tolist() for row, real in zip(np.asarray(ids), np.asarray(mask), strict=True)]
        return [text.strip() for text in self._tokenizer.decode_batch(rows)]

    def encode(
        self, prompts: Sequence[str], cut: bool = False
    ) -> tuple[Int[np.ndarray, "b m"], Bool[np.ndarray, "b m"]]:
        """Token ids (int32, zero beyond a prompt's length) and the mask, true on its tokens.

        With `cut`, a prompt of too many tokens is truncated before its final special token; without, it raises
        ValueError.
        """
        ids = np.zeros((len(prompts), self.tokens), np.int32)
        mask = np.zeros((len(prompts), self.tokens), bool)
        for row, encoding in enumerate(self._tokenizer.encode_batch(list(prompts))):
            token_ids, length = encoding.ids, len(encoding.ids)
            if cut and length > self.tokens:
                ending = sum(encoding.special_tokens_mask[-1:])
                token_ids, length = token_ids[: self.tokens - ending] + token_ids[length - ending :], self.tokens
            if length > self.tokens:
                raise ValueError(
                    f"the prompt has {length} tokens, the model reads {self.tokens}: shorten it to about "
                    f"{len(prompts[row]) * self.tokens // length} characters"
                )
            ids[row, :length], mask[row, :length] = token_ids, True
        return ids, mask


def unfamiliar_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Words outside the tokenizer's vocabulary: unknown ones, and ones split into tokens of under 3 letters on average.

    A model has probably not seen them in training.
    """
    words = (word.strip(PUNCTUATION) for word in text.split())
    return [word for word in words if word and is_unfamiliar(tokenizer.pieces(word), word)]


def is_unfamiliar(pieces: Sequence[str], word: str) -> bool:
    return not pieces or any(piece in UNKNOWN for piece in pieces) or (len(pieces) > 1 and len(word) < 3 * len(pieces))
