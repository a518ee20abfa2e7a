"""8-bit weights (with the library qwix): the blocks' kernels are stored in 8 bits, and dequantized block by block.

They are int8 with symmetric rounding, or float8 e4m3, with one float32 scale per output. In training and on CPU the
products run in the model's dtype, so quantization saves memory and memory traffic only. Sampling on TPU and GPU
multiplies int8 kernels by int8 inputs, which are quantized where they are computed, with one scale per token:

    x W = (s_x s_w) * (x_8 W_8),    x_8 = round(x / s_x),    s_x = max |x| / 127 of a token      (int32 sums)
"""

from functools import cache, partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.devices.sharding import on_several_devices

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
    return jax.block_until_ready(_quantizer(bits)(leaf))


@cache
def _quantizer(bits: Bits) -> Any:
    """One function for all kernels, so that those of one shape share a program."""
    try:
        import qwix
    except ImportError as error:
        raise ValueError('8-bit weights need the library qwix: pip install "sorajax[quantized]"') from error
    return jax.jit(lambda x: qwix.quantize(x, TYPES[bits], channelwise_axes=(0, 2), scale_dtype=jnp.float32))


def quantize(params: Any, bits: Bits) -> Any:
    """All parameters of a transformer or text encoder, with the kernels of its blocks quantized."""
    return unflatten_dict(
        {name: quantized_leaf(name, leaf, bits) for name, leaf in flatten_dict(params, sep="/").items()}, sep="/"
    )


def is_quantized(leaf: Any) -> bool:
    """Whether a parameter has 8 bits."""
    return hasattr(leaf, "qvalue")


def product(x: jax.Array, kernel: Any, dtype: Any) -> jax.Array:
    """x [... d] @ an int8 kernel [d o]: of int8 operands on TPU and GPU, in `dtype` on CPU."""
    flat = x.reshape(-1, x.shape[-1]) if not on_several_devices() else x
    parts = {"cpu": partial(product_as_stored, dtype=dtype), "default": partial(product_in_int8, dtype=dtype)}
    return jax.lax.platform_dependent(flat, kernel, **parts).reshape(*x.shape[:-1], kernel.shape[-1])


def product_as_stored(x: jax.Array, kernel: Any, dtype: Any) -> jax.Array:
    """With the kernel dequantized."""
    import qwix

    return x.astype(dtype) @ qwix.dequantize(kernel).astype(dtype)


def product_in_int8(x: jax.Array, kernel: Any, dtype: Any) -> jax.Array:
    """With x quantized: one scale for each of its rows."""
    import qwix

    rows = qwix.quantize(x.astype(jnp.float32), jnp.int8, channelwise_axes=range(x.ndim - 1))
    result: jax.Array = qwix.dot_general(rows, kernel, (((x.ndim - 1,), (0,)), ((), ())))
    return result.astype(dtype)


def dequantized(block: type[nn.Module], but_int8: bool = False) -> type[nn.Module]:
    """The block with quantized parameters, dequantized within its computation. but_int8: int8 kernels stay quantized,
    because the layers multiply by them."""

    def dequantize(variables: Any) -> Any:
        import qwix

        def dequantize_leaf(leaf: Any) -> Any:
            if not isinstance(leaf, qwix.QArray) or (but_int8 and leaf.qvalue.dtype == jnp.int8):
                return leaf
            return qwix.dequantize(leaf)

        return jax.tree.map(dequantize_leaf, variables, is_leaf=lambda leaf: isinstance(leaf, qwix.QArray))

    return nn.map_variables(block, "params", trans_in_fn=dequantize)
