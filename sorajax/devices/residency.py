"""Which of a model's parts are in memory: text encoder, transformer, autoencoder, each there while it is used.

A small model stays whole. Of a large one each part is read when it is asked for, and the one used longest ago leaves
when the device would be too full: the text encoder first, then the transformer, then the decoder; but one of two
experts leaves for the other.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax

CONTAINER = Path("/sys/fs/cgroup")
EXPERTS = {"dit", "dit_low"}  # two transformers that take each other's place
FULLEST = 0.6  # of the memory that parts may take together; the rest is for what is computed


class Parts(Mapping[str, Any]):
    """Parameters by part.

    A part whose place another one needs leaves the devices. It waits in the host's memory, where that is another one
    and has room, and comes back from there sooner than from its files.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Any]], sizes: Mapping[str, int], memory: int | None = None):
        """`sizes` in bytes; `memory` of the devices together, None: all parts stay.

        Raises ValueError where one of them does not fit.
        """
        self._loaders, self._sizes, self._memory = dict(loaders), dict(sizes), memory
        self._there: dict[str, Any] = {}
        self._waiting: dict[str, Any] = {}
        for name, needed in sizes.items():
            if memory is not None and needed > memory:
                raise ValueError(
                    f"{name} takes {needed / 1e9:.1f} GB of {memory / 1e9:.1f} GB: use more devices, half the bytes "
                    "with --dtype bfloat16, or a quarter with --quantize int8"
                )

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Parts":
        """Parts that are in memory already."""
        parts = cls({name: partial(params.__getitem__, name) for name in params}, {})
        parts._there = dict(params)
        return parts

    def read(self, name: str) -> Any:
        """The named part, which does not stay in memory."""
        return self._loaders[name]()

    def check(self, name: str, values: int, what: str) -> None:
        """Raises ValueError where a part and so many bytes of values that it makes, of `what`, do not fit."""
        needed = self._sizes.get(name, 0) + values
        if self._memory is not None and needed > self._memory:
            raise ValueError(
                f"{what} takes {needed / 1e9:.1f} GB, {values / 1e9:.1f} of them beside the weights, and there are "
                f"{self._memory / 1e9:.1f} GB: ask for fewer frames or a smaller size, use more devices, or say "
                "--quantize int8"
            )

    def most(self, clips: int, name: str, values: int) -> int:
        """How many clips, halved until they fit, a part can make at once that makes so many bytes of each."""
        if self._memory is None:
            return clips
        free = min(self._memory - self._sizes.get(name, 0), (1 - FULLEST) * self._memory)
        while clips > 1 and clips * values > free:
            clips //= 2
        return clips

    def __getitem__(self, name: str) -> Any:
        """The named part, in memory; the others leave where it needs their place."""
        missing = 0 if name in self._there else self._sizes.get(name, 0)
        others = [other for other in self._there if other != name]  # the one used longest ago first
        for other in sorted(others, key=lambda other: not {name, other} <= EXPERTS):
            filled = missing + sum(self._sizes.get(there, 0) for there in self._there)
            if self._memory is None or filled <= FULLEST * self._memory:
                break
            self._leave(other)
        self._there[name] = self._there.pop(name) if name in self._there else self._arrive(name)
        return self._there[name]

    def _leave(self, name: str) -> None:
        """Takes a part from the devices."""
        part = self._there.pop(name)
        if host_has_room(self._sizes.get(name, 0)):
            self._waiting[name] = jax.device_get(part), jax.tree.map(lambda leaf: leaf.sharding, part)

    def _arrive(self, name: str) -> Any:
        """Brings a part to the devices."""
        if name not in self._waiting:
            return self._loaders[name]()
        part, where = self._waiting.pop(name)
        return jax.device_put(part, where)

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


def host_has_room(size: int) -> bool:
    """Whether the host has memory of its own, and of that, and of what its container may take, twice so many bytes."""
    import psutil

    if jax.default_backend() == "cpu" or jax.process_count() > 1:
        return False
    free = psutil.virtual_memory().available
    try:
        most, taken = (int((CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return 2 * size < free
    return 2 * size < min(free, most - taken)


def memory_of_devices() -> int:
    """Bytes that all local devices have; on CPU those of the machine."""
    import psutil

    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    if all(limits):
        return sum(limits)
    return psutil.virtual_memory().total
