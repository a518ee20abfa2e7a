"""Weights of 8 bits (by the library qwix): kept small, and made whole block by block while a block is computed.

Kernels of the blocks have one float32 scale for each output: int8 with symmetric rounding, or float8 e4m3. What is
computed runs in the model's own type, so only the weights' memory and its traffic shrink.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

Bits = Literal["int8", "fp8"]
TYPES = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}


def is_quantized_leaf(name: str, ndim: int) -> bool:
    """Whether a parameter, "blocks/up/kernel", is one of those that get 8 bits: a kernel of all blocks together."""
    return ndim == 3 and name.startswith("blocks/") and name.endswith("/kernel")


def quantized_leaf(name: str, leaf: Any, bits: Bits) -> Any:
    """A parameter in 8 bits, if it is one of those and not yet. Raises ValueError where the library is missing."""
    if not isinstance(leaf, jax.Array | np.ndarray) or not is_quantized_leaf(name, leaf.ndim):
        return leaf
    try:
        import qwix
    except ImportError as error:
        raise ValueError('weights of 8 bits need the library qwix: pip install "sorajax[quantized]"') from error
    small = jax.jit(lambda x: qwix.quantize(x, TYPES[bits], channelwise_axes=(0, 2), scale_dtype=jnp.float32))
    return jax.block_until_ready(small(leaf))


def quantize(params: Any, bits: Bits) -> Any:
    """All parameters of a transformer or text encoder, those of blocks in 8 bits."""
    return unflatten_dict(
        {name: quantized_leaf(name, leaf, bits) for name, leaf in flatten_dict(params, sep="/").items()}, sep="/"
    )


def made_whole(block: type[nn.Module]) -> type[nn.Module]:
    """The block, which takes parameters in 8 bits and computes with whole ones."""

    def whole(variables: Any) -> Any:
        import qwix

        def one(leaf: Any) -> Any:
            return qwix.dequantize(leaf) if isinstance(leaf, qwix.QArray) else leaf

        return jax.tree.map(one, variables, is_leaf=lambda leaf: isinstance(leaf, qwix.QArray))

    return nn.map_variables(block, "params", trans_in_fn=whole)
