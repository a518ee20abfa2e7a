"""The parts of the proof in their order: the cheap and important ones first.

PyTorch comes last and gets the remaining time, because the time of torch.compile cannot be predicted.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Section(NamedTuple):
    """One part: its module in this folder, its share of the time, and environment variables of its process."""

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
