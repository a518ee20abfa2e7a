"""LoKr: a weight update that is a Kronecker product (Yeh et al. 2023, "LyCORIS", eq. 8).

    W' = W + s W1 (x) W2         each factor is a full matrix, or a product of two smaller ones

s is alpha / rank where a factor is such a product, else 1; for files of PEFT it follows from the adapter's config.
"""

from collections.abc import Mapping

import numpy as np

NAMES = tuple(f"lokr_{factor}{part}" for factor in ("w1", "w2") for part in ("", "_a", "_b"))
"""Names of its tensors. Not lokr_t2, which decomposes convolutions: the transformer has none."""


def factors(parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int | None]:
    """W1, W2 and the rank of the factorised ones, None where both are full. Raises KeyError for a missing tensor."""
    matrices, rank = [], None
    for name in ("lokr_w1", "lokr_w2"):
        if name in parts:
            matrices.append(parts[name])
        else:
            a, b = parts[f"{name}_a"], parts[f"{name}_b"]
            rank = len(b)
            matrices.append((a @ b.reshape(rank, -1)).reshape(len(a), *b.shape[1:]))
    return matrices[0], matrices[1], rank


def product(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The Kronecker product; further axes of the second factor, those of a convolution, are kept."""
    return np.kron(one.reshape(*one.shape, *[1] * (two.ndim - one.ndim)), two)
