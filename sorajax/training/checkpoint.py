"""Checkpoints of a training run.

They are Orbax steps: written asynchronously and atomically, the newest ones and the best one kept. Each
carries the experiment's config and the position in the data as JSON, and one fingerprint per leaf, because array data
that changed on disk is otherwise restored without a word. Restoring takes the newest step whose fingerprints agree, and
any mesh: the target's shardings decide where the arrays go.
"""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from sorajax.devices.sharding import path_name
from sorajax.errors import one_line
from sorajax.files import Address, as_path
from sorajax.training.former import present_name
from sorajax.training.remote import RemoteSteps

STORAGES = ("gs", "s3")
"""Schemes of addresses at which Orbax writes checkpoints; at others `RemoteSteps` does."""


def is_remote(directory: Path) -> TypeGuard[Address]:
    """Whether this is an address at which Orbax does not write itself."""
    return isinstance(directory, Address) and str(directory).partition(":")[0] not in STORAGES


def check_directory(directory: Path) -> None:
    """Raises ValueError for an address at which several processes together cannot write checkpoints."""
    if is_remote(directory) and jax.process_count() > 1:
        known = " or ".join(f"{name}://" for name in STORAGES)
        raise ValueError(
            f"--directory {directory}: {jax.process_count()} processes write checkpoints to a folder that all see, or "
            f"to {known}; name one of them"
        )


def changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The differences between two configs in JSON, as a clause for a message; empty if there are none."""
    before, now = {present_name(name): value for name, value in _flat(old).items()}, _flat(new)
    changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
    return f", with {', '.join(changed)}" if changed else ""


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


@dataclass(frozen=True)
class Restored:
    """The result of `Checkpoints.restore`."""

    step: int
    state: Any
    config: dict[str, Any]
    data: dict[str, Any]
    seconds: float
    """Trained so far; 0 in checkpoints of versions that did not keep it."""
    averages: dict[str, Any]
    """Named averages of the parameters; none in checkpoints of versions that did not keep them."""


class Checkpoints:
    """The checkpoints of one training directory.

    Keeps the newest `keep` steps and the one with the lowest metric. `read_only` never writes or deletes.
    """

    def __init__(self, directory: str | Path, keep: int = 2, read_only: bool = False):
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.directory = as_path(directory).absolute()
        self.remote = RemoteSteps(self.directory) if is_remote(self.directory) else None
        best = preservation_policy.BestN(get_metric_fn=lambda metrics: metrics["loss"], reverse=True, n=1)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy([preservation_policy.LatestN(keep), best]),
            best_fn=lambda metrics: metrics["loss"],
            best_mode="min",
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        )
        # epath, Orbax's own path, knows what an address is
        folder = str(self.remote.folder if self.remote else self.directory)
        self.manager = ocp.CheckpointManager(folder, options=options, item_names=("state", "averages", "meta"))
        self.unusable: list[int] = []

    def save(
        self,
        step: int,
        state: Any,
        config: dict[str, Any],
        data: dict[str, Any],
        metric: float,
        seconds: float = 0.0,
        averages: dict[str, Any] | None = None,
    ) -> None:
        """Starts writing `state` as `step`; `metric` is a loss, `config` and `data` are JSON values, `seconds` those
        that the run has trained, `averages` named trees like the parameters.

        Returns before the arrays are on disk; a crash until then leaves the older steps as they were. Raises OSError
        where this or an earlier one cannot be written, as `wait` and `close` do.
        """
        for broken in self.unusable:
            self.manager.delete(broken)
        self.unusable = []
        meta = {"config": config, "data": data, "seconds": seconds, "fingerprints": _named(fingerprints(state))}
        items: dict[str, Any] = {"state": ocp.args.StandardSave(state)}
        if averages:
            items["averages"] = ocp.args.StandardSave(averages)
            meta["averages"] = {name: _named(fingerprints(tree)) for name, tree in averages.items()}
        composite = ocp.args.Composite(**items, meta=ocp.args.JsonSave(meta))
        with self._writing():
            if self.remote:
                self.remote.wait()
            self.manager.save(step, args=composite, metrics={"loss": float(metric)}, force=True)
            if self.remote:
                self.remote.publish_after(self.manager.wait_until_finished)

    def steps(self) -> list[int]:
        """All steps on disk, oldest first."""
        return sorted(self.manager.all_steps())

    def restore(self, abstract: Any, step: int | None = None, average: Any = None) -> Restored:
        """The newest step that is whole, or `step`; `abstract` is a tree of ShapeDtypeStructs with shardings, and
        `average` that of one average; None leaves the averages out.

        A step that cannot be used is skipped with one line on stderr. Raises FileNotFoundError if there is no
        checkpoint and ValueError if none can be used.
        """
        steps = [step] if step is not None else self.steps()[::-1]
        if not steps:
            raise FileNotFoundError(f"{self.directory} holds no checkpoint")
        broken: dict[int, str] = {}
        for number in steps:
            try:
                found = self._restore(number, abstract, average)
            except Exception as error:  # Orbax raises bare Exceptions for damaged files; the reason is told below
                broken[number] = f"step {number}: {one_line(error)}"
                continue
            if broken:
                self.unusable = list(broken)
                print(f"{self.directory}: fell back to step {number} ({'; '.join(broken.values())})", file=sys.stderr)
            return found
        raise ValueError(f"no checkpoint in {self.directory} can be used ({'; '.join(broken.values())})")

    def _restore(self, step: int, abstract: Any, average: Any) -> Restored:
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
        found = self.manager.restore(step, args=items)
        meta = found.meta
        check_unchanged(found.state, meta["fingerprints"])
        written, averages = meta.get("averages", {}), {}
        if written and average is not None:
            trees = ocp.args.Composite(averages=ocp.args.StandardRestore(dict.fromkeys(written, average)))
            averages = self.manager.restore(step, args=trees).averages
            for name, values in written.items():
                check_unchanged(averages[name], values)
        return Restored(step, found.state, meta["config"], meta["data"], meta.get("seconds", 0.0), averages)

    def wait(self) -> None:
        """Returns when everything is on disk."""
        with self._writing():
            self.manager.wait_until_finished()
            if self.remote:
                self.remote.wait()

    def close(self) -> None:
        """Waits, then frees the threads."""
        with self._writing():
            if self.remote:
                self.remote.wait()
            self.manager.close()
            if self.remote:
                self.remote.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns any error inside, which Orbax's threads may raise as any type, into one line."""
        try:
            yield
        except Exception as error:
            steps = self.manager.all_steps(read=True)
            left = f"the last whole one is step {max(steps)}" if steps else "there is none yet"
            where, remedy = str(self.directory), "check the address and the login"
            if not isinstance(self.directory, Address):
                free = shutil.disk_usage(self.directory).free / 2**30
                where, remedy = f"{where}, where {free:.1f} GiB are free", "make room"
            raise OSError(
                f"a checkpoint could not be written to {where} ({one_line(error)}): {left}; {remedy} and continue with "
                "--resume"
            ) from error


@jax.jit
def fingerprints(tree: Any) -> Any:
    """One uint32 per leaf: the position-weighted sum of its bits modulo 2^32, the same for any sharding."""

    def one(x: jax.Array) -> jax.Array:
        width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[x.dtype.itemsize]
        bits = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else jax.lax.bitcast_convert_type(x, width)
        bits = bits.astype(jnp.uint32)
        place = jnp.zeros(x.shape, jnp.uint32)
        for axis, size in enumerate(x.shape):
            place = place * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)

    return jax.tree.map(one, tree)


def check_unchanged(tree: Any, written: dict[str, int]) -> None:
    """Raises ValueError where a leaf's fingerprint is no longer the one that was written beside it."""
    now = _named(fingerprints(tree))
    if changed := [name for name, value in written.items() if now.get(name) != value]:
        raise ValueError(f"{changed[0]} changed on disk after it was written")


def _named(tree: Any) -> dict[str, int]:
    return {path_name(path): int(value) for path, value in jax.tree_util.tree_leaves_with_path(jax.device_get(tree))}
