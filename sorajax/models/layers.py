"""Layers that several models share. Parameters are float32; `dtype` is the compute dtype of the matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sorajax.devices.sharding import on_several_devices, shard_frames
from sorajax.models.quantized import is_quantized, product


def matmul(
    x: Float[Array, "... d"], kernel: Float[Array, "d o"], _: Any = None, **options: Any
) -> Float[Array, "... o"]:
    """x @ kernel with all leading axes flattened into one; replaces `dot_general` in `nn.Dense`.

    The gradient of the kernel then sums over one axis; for several, XLA on CPU first transposes both operands. On
    several devices the axes are not flattened, because they are sharded separately.
    """
    rows = x if on_several_devices() else x.reshape(-1, x.shape[-1])
    product = jax.lax.dot_general(rows, kernel, (((rows.ndim - 1,), (0,)), ((), ())), **options)
    return product.reshape(*x.shape[:-1], kernel.shape[-1])


class Module(nn.Module):
    """`nn.Module` that compares the shapes of existing parameters itself: Flax traces each initialiser for it, which is
    up to a third of the time in which a model is traced. The first argument of initialisers is the shape."""

    @nn.nowrap
    def param(self, name: str, init_fn: Callable, *init_args: Any, **options: Any) -> Any:
        """The parameter of this name; see `nn.Module.param`, which also raises the errors."""
        if not self.is_initializing() and self.has_variable("params", name):
            value: Any = self.get_variable("params", name)
            if jnp.shape(value) == tuple(init_args[0]):
                return value
        return super().param(name, init_fn, *init_args, **options)


class Dense(Module, nn.Dense):
    """`nn.Dense` as a `Module`."""


class LayerNorm(Module, nn.LayerNorm):
    """`nn.LayerNorm` as a `Module`."""


class Linear(Dense):
    """`nn.Dense` with `matmul`, and with a low-rank update W + a b where the collection `adapters` holds a and b.

    Computed as x W + (x a) b (Hu et al. 2021, section 4.1): neither the sum nor its gradient is materialised, so frozen
    weights need no further memory. a [in rank], b [rank out]; the LoRA scale is multiplied into them. A kernel of 8
    bits is multiplied as `models.quantized` says.
    """

    dot_general: Any = matmul

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... o"]:
        kernel: Any = self.get_variable("params", "kernel")
        if is_quantized(kernel):
            y = product(x, kernel, self.dtype) + self.get_variable("params", "bias").astype(self.dtype)
        else:
            y = super().__call__(x)
        if not self.has_variable("adapters", "a"):
            return y
        a: Array = self.get_variable("adapters", "a")
        b: Array = self.get_variable("adapters", "b")
        return y + matmul(matmul(x.astype(y.dtype), a.astype(y.dtype)), b.astype(y.dtype))


class RMSNorm(Module):
    """Root-mean-square norm over the last axis (Zhang & Sennrich 2019, eq. 4), computed in float32."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), -1, keepdims=True) + self.epsilon)
        return (x32 * scale).astype(x.dtype)


class ChannelNorm(Module):
    """The autoencoder's RMS norm: normalises the channels of each position, then multiplies by a learned gamma."""

    @nn.compact
    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        gamma = self.param("gamma", nn.initializers.ones, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        length = jnp.sqrt(jnp.sum(jnp.square(x32), -1, keepdims=True) + 1e-24)
        return (x32 / length * (x.shape[-1] ** 0.5 * gamma)).astype(x.dtype)


def standardize(x: Float[Array, "... d"], epsilon: float = 1e-6) -> Float[Array, "... d"]:
    """LayerNorm without learned scale and shift; the result is float32, for the modulation that follows."""
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + epsilon)


def convolve(
    x: Float[Array, "b t h w c"],
    kernel: Float[Array, "kt kh kw c o"],
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> Float[Array, "b t2 h2 w2 o"]:
    """3-D convolution: no padding in time, zero padding by `padding` (rows, columns) in space.

    Compiled for CPU, it is one 2-D convolution with the temporal taps concatenated on the channels, because XLA's 3-D
    convolution is 5 to 18 times slower there. On other platforms the 3-D one is as fast and takes less memory.
    """
    kernel, x = kernel.astype(x.dtype), shard_frames(x)
    if kernel.shape[:3] == (1, 1, 1) and stride == (1, 1, 1):
        return x @ kernel[0, 0, 0]
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: convolve_taps(x, kernel, stride, padding),
        default=lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, stride, ((0, 0), *padding), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        ),
    )


def convolve_taps(
    x: Float[Array, "b t h w c"], kernel: Float[Array, "kt kh kw c o"], stride: tuple[int, int, int], padding: Any
) -> Float[Array, "b t2 h2 w2 o"]:
    """The same convolution as one in two dimensions, whose input channels are those of all temporal taps."""
    b, t, h, w, _ = x.shape
    taps, out = kernel.shape[0], (t - kernel.shape[0]) // stride[0] + 1
    last = stride[0] * (out - 1) + 1
    x = jnp.concatenate([x[:, i : i + last : stride[0]] for i in range(taps)], -1).reshape(b * out, h, w, -1)
    if kernel.shape[1:3] == (1, 1) and stride[1:] == (1, 1):
        return (x @ kernel.reshape(-1, kernel.shape[-1])).reshape(b, out, h, w, -1)
    kernel = jnp.concatenate([kernel[i] for i in range(taps)], -2)
    y = jax.lax.conv_general_dilated(x, kernel, stride[1:], padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y.reshape(b, out, *y.shape[1:])
