"""Keys and values of cross-attention, computed once a clip: text and image tokens do not change with time.

The modules here are the layers of `dit.DiT` that see text and image alone. They have the names that these layers have
in the transformer, so they read the transformer's parameters.
"""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from sorajax.devices.sharding import shard
from sorajax.models.dit import DiTConfig, TextCache, check_image, embedded, keys_and_values, pool_text
from sorajax.models.frame_cache import KeysValues
from sorajax.models.layers import Module
from sorajax.models.quantized import dequantized


class TextReader(Module):
    """Makes the `TextCache` of a clip from the parameters of a `DiT`."""

    config: DiTConfig

    @nn.compact
    def __call__(self, context: Float[Array, "b m e"], image: Float[Array, "b i e"] | None = None) -> TextCache:
        """image: tokens of the first frame, exactly where `config.image_width` is above 0; ValueError otherwise."""
        config = self.config
        check_image(config, image)
        tokens = embedded(config, context, image)
        block = dequantized(BlockReader) if config.quantized else BlockReader
        if config.stacked:
            scanned = nn.scan(
                block,
                variable_axes={"params": 0, "adapters": 0},
                split_rngs={"params": True},
                length=config.depth,
            )
            _, (text, pictures) = scanned(config, name="blocks")(tokens, None)
        else:
            blocks = [block(config, name=f"block_{layer}") for layer in range(config.depth)]
            text, pictures = zip(*(one(tokens, None)[1] for one in blocks), strict=True)
        return TextCache(pool_text(context), text, None if image is None else pictures)


class BlockReader(Module):
    """Keys and values of a `Block`'s cross-attention."""

    config: DiTConfig

    @nn.compact
    def __call__(self, tokens, _):
        return tokens, CrossReader(self.config, name="cross_attention")(*tokens)


class CrossReader(Module):
    """Keys and values of a cross-attention, an `Attention`, to text and to image tokens."""

    config: DiTConfig

    @nn.compact
    def __call__(self, text: Float[Array, "b m d"], image: Float[Array, "b i d"] | None):
        picture = None if image is None else ImageReader(self.config, name="image")(image)
        keys, values = keys_and_values(self.config, text)  # each device has a part of the text, until it is used
        return KeysValues(*(shard(part, ("data", "fsdp"), "seq", "tensor", None) for part in (keys, values))), picture


class ImageReader(Module):
    """Keys and values of an `ImageAttention`."""

    config: DiTConfig

    @nn.compact
    def __call__(self, image: Float[Array, "b i d"]) -> KeysValues:
        return keys_and_values(self.config, image)
