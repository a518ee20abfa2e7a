"""The parts of the proof, in the order in which they run: the cheap and important ones first.

PyTorch comes last and has whatever time the others leave: how long torch.compile takes nobody can say.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Part(NamedTuple):
    """One part: its module in this folder, its share of the time, and what its process needs in the environment."""

    module: str
    weight: float
    environment: Mapping[str, str] = {}


PARTS = {
    "numerics": Part("numerics", 6),
    "sampling": Part("sampling", 7),
    "training": Part("training", 4),
    "world": Part("world", 2),
    "torch": Part("peer", 5, {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),  # PyTorch allocates beside JAX
}
