"""LoKr: a change of weights that is a Kronecker product (Yeh et al. 2023, "LyCORIS", eq. 8).

    W' = W + s W1 (x) W2         each of the two whole, or a product of two smaller matrices

s is alpha / rank where one of them is such a product, else 1; where PEFT saved it, what its config says.
"""

from collections.abc import Mapping

import numpy as np

NAMES = tuple(f"lokr_{factor}{part}" for factor in ("w1", "w2") for part in ("", "_a", "_b"))
"""Of its tensors. With another, lokr_t2, the second is a convolution in three parts, which the transformer has not."""


def factors(parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int | None]:
    """W1, W2 and the rank of those that are products, None where both are whole. Raises KeyError for a missing one."""
    found, rank = [], None
    for name in ("lokr_w1", "lokr_w2"):
        if name in parts:
            found.append(parts[name])
        else:
            a, b = parts[f"{name}_a"], parts[f"{name}_b"]
            rank = len(b)
            found.append((a @ b.reshape(rank, -1)).reshape(len(a), *b.shape[1:]))
    return found[0], found[1], rank


def product(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The Kronecker product; where the second has more axes, those of a convolution, they stay."""
    return np.kron(one.reshape(*one.shape, *[1] * (two.ndim - one.ndim)), two)
