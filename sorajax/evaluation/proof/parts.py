"""The parts of the proof, in the order in which they run: the cheap and important ones first.

PyTorch comes last and has whatever time the others leave: how long torch.compile takes nobody can say.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Section(NamedTuple):
    """One part: its module in this folder, its share of the time, and what its process needs in the environment."""

    module: str
    weight: float
    environment: Mapping[str, str] = {}


SECTIONS = {
    "numerics": Section("numerics", 6),
    "sampling": Section("sampling", 7),
    "training": Section("training", 4),
    "world": Section("world", 2),
    "torch": Section("peer", 5, {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),  # PyTorch allocates beside JAX
}
