"""Offloading: which of a model's parts (text encoder, transformers, autoencoder) are in device memory.

A small model stays in memory as a whole. The parts of a large one are loaded when they are used, and the least recently
used part is offloaded when the device would be too full: first the text encoder, then the transformer, then the
decoder. Experts replace each other first.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import jax

from sorajax.devices.placement import ONE_DEVICE, Placement

CONTAINER = Path("/sys/fs/cgroup")
EXPERTS = {"dit", "dit_low"}  # two transformers that replace each other
WEIGHTS_SHARE = 0.6  # of the memory, at most, for all loaded parts; activations need the rest


class Parts(Mapping[str, Any]):
    """Parameters of each part, loaded on access.

    A part is offloaded when another one needs its memory: to host memory, where that is separate from the devices' and
    has room, from which it is loaded again faster than from its files.
    """

    def __init__(
        self,
        loaders: Mapping[str, Callable[[], Any]],
        sizes: Mapping[str, int],
        memory: int | None = None,
        placement: Placement = ONE_DEVICE,
    ):
        """`loaders` read each part; `sizes` in bytes, of all copies together; `memory` of all devices in bytes, None:
        nothing is offloaded. placement: where the loaders put the parts.

        Raises ValueError where one part alone does not fit.
        """
        self.loaders, self.sizes, self.memory = dict(loaders), dict(sizes), memory
        self.placement = placement
        self.loaded: dict[str, Any] = {}
        self._lock = RLock()
        self._on_host: dict[str, Any] = {}
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
        parts.loaded = dict(params)
        return parts

    @property
    def fit_together(self) -> bool:
        """Whether no part is ever offloaded for another one."""
        return self.memory is None or sum(self.sizes.values()) <= WEIGHTS_SHARE * self.memory

    def read(self, name: str) -> Any:
        """The named part, read anew and not retained."""
        return self.loaders[name]()

    def check(self, name: str, values: int, what: str) -> None:
        """Raises ValueError where a part and `values` bytes of activations do not fit; `what` names the computation."""
        needed = self.sizes.get(name, 0) + values
        if self.memory is not None and needed > self.memory:
            raise ValueError(
                f"{what} takes {needed / 1e9:.1f} GB, {values / 1e9:.1f} of them activations, and the devices have "
                f"{self.memory / 1e9:.1f} GB: ask for fewer frames or a smaller size, use more devices, or add "
                "--quantize int8"
            )

    def batch_that_fits(self, clips: int, name: str, values: int) -> int:
        """The batch size, halved from `clips` until it fits, of a part with `values` bytes of activations per clip."""
        if self.memory is None:
            return clips
        free = min(self.memory - self.sizes.get(name, 0), (1 - WEIGHTS_SHARE) * self.memory)  # bytes
        while clips > 1 and clips * values > free:
            clips //= 2
        return clips

    def __getitem__(self, name: str) -> Any:
        """The named part, loaded. Threads may ask at once."""
        with self._lock:
            return self._with_room(name)

    def _with_room(self, name: str) -> Any:
        """The named part; others are offloaded first where it needs their memory."""
        missing = 0 if name in self.loaded else self.sizes.get(name, 0)
        others = [other for other in self.loaded if other != name]  # least recently used first
        for other in sorted(others, key=lambda other: not {name, other} <= EXPERTS):
            used = missing + sum(self.sizes.get(loaded, 0) for loaded in self.loaded)
            if self.memory is None or used <= WEIGHTS_SHARE * self.memory:
                break
            self._offload(other)
        self.loaded[name] = self.loaded.pop(name) if name in self.loaded else self._load(name)
        return self.loaded[name]

    def _offload(self, name: str) -> None:
        """Frees a part's device memory, and retains it in host memory where there is room."""
        part = self.loaded.pop(name)
        if host_has_room(self.sizes.get(name, 0)):
            self._on_host[name] = jax.device_get(part), jax.tree.map(lambda leaf: leaf.sharding, part)

    def _load(self, name: str) -> Any:
        """The part on the devices, from host memory or else from its loader."""
        if name not in self._on_host:
            return self.loaders[name]()
        part, where = self._on_host.pop(name)
        return jax.device_put(part, where)

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaders)

    def __len__(self) -> int:
        return len(self.loaders)


def host_has_room(size: int) -> bool:
    """Whether host memory is separate from the devices' and has twice `size` bytes free, within its container's limit.

    Always false on CPU and in multi-process runs.
    """
    import psutil

    if jax.default_backend() == "cpu" or jax.process_count() > 1:
        return False
    free = psutil.virtual_memory().available
    try:
        limit, used = (int((CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return 2 * size < free
    return 2 * size < min(free, limit - used)


def memory_of_devices() -> int:
    """Total memory of all local devices in bytes; on CPU, of the machine."""
    import psutil

    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    if all(limits):
        return sum(limits)
    return psutil.virtual_memory().total
