"""Weights in 8 bits on disk, for models that a package carries: int8 with symmetric rounding and one scale per output.

    w = scale * round(w / scale),    scale = max |w| / 127 over the inputs of an output

In memory they are float32 again. `models.quantized` keeps 8 bits in memory, too.
"""

from collections.abc import Mapping

import numpy as np

SCALE = ".scale"
"""The suffix of a tensor's scales."""
SMALLEST = 4096
"""Smaller tensors, and vectors, stay float16."""


def pack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors as they are written: int8 with scales beside them, or float16. The last axis is that of outputs."""
    packed: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.size < SMALLEST:
            packed[name] = tensor.astype(np.float16)
            continue
        scale = np.abs(tensor).max(-2, keepdims=True).astype(np.float32) / 127
        scale = np.where(scale > 0, scale, np.float32(1))
        packed[name] = np.rint(tensor / scale).astype(np.int8)
        packed[name + SCALE] = scale
    return packed


def unpack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of `pack`, int8 ones as float32; others are as they were."""
    return {
        name: tensor * tensors[name + SCALE] if name + SCALE in tensors else tensor
        for name, tensor in tensors.items()
        if not (name.endswith(SCALE) and name.removesuffix(SCALE) in tensors)
    }
