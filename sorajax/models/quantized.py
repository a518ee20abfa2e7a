"""8-bit weights (with the library qwix): stored quantized, and dequantized block by block during the computation.

The blocks' kernels are int8 with symmetric rounding, or float8 e4m3, with one float32 scale per output. Computation
runs in the model's dtype, so quantization saves memory and memory traffic only.
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
    """Whether a parameter is quantized: a kernel that stacks all blocks, such as "blocks/up/kernel"."""
    return ndim == 3 and name.startswith("blocks/") and name.endswith("/kernel")


def quantized_leaf(name: str, leaf: Any, bits: Bits) -> Any:
    """The quantized parameter; unchanged where it is quantized already or is not one of those.

    Raises ValueError where qwix is not installed.
    """
    if not isinstance(leaf, jax.Array | np.ndarray) or not is_quantized_leaf(name, leaf.ndim):
        return leaf
    try:
        import qwix
    except ImportError as error:
        raise ValueError('8-bit weights need the library qwix: pip install "sorajax[quantized]"') from error
    quantize_array = jax.jit(lambda x: qwix.quantize(x, TYPES[bits], channelwise_axes=(0, 2), scale_dtype=jnp.float32))
    return jax.block_until_ready(quantize_array(leaf))


def quantize(params: Any, bits: Bits) -> Any:
    """All parameters of a transformer or text encoder, with the kernels of its blocks quantized."""
    return unflatten_dict(
        {name: quantized_leaf(name, leaf, bits) for name, leaf in flatten_dict(params, sep="/").items()}, sep="/"
    )


def dequantized(block: type[nn.Module]) -> type[nn.Module]:
    """The block with quantized parameters, which are dequantized where it computes."""

    def dequantize(variables: Any) -> Any:
        import qwix

        def dequantize_leaf(leaf: Any) -> Any:
            return qwix.dequantize(leaf) if isinstance(leaf, qwix.QArray) else leaf

        return jax.tree.map(dequantize_leaf, variables, is_leaf=lambda leaf: isinstance(leaf, qwix.QArray))

    return nn.map_variables(block, "params", trans_in_fn=dequantize)
