"""Meshes and the one table that shards everything.

A mesh always has four axes: `data` replicates parameters and splits the batch, `fsdp` splits both, `seq` splits the
tokens of one clip, `tensor` splits heads and hidden units. `RULES` maps the path of a parameter to the axes of its
dimensions. Exponential moving averages and optimizer moments end in the path of their parameter, so the same table
shards the whole training state. Model code names no mesh: it only calls `shard`, the identity where no mesh is set.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXES = ("data", "fsdp", "seq", "tensor")
BATCH = ("data", "fsdp")

# First match wins; a pattern must match a suffix of the "/"-joined path. A spec is aligned to the *last* dimensions of
# the leaf, so that one line serves a matrix and a scanned stack of it. An axis that does not divide its dimension is
# dropped.
RULES: tuple[tuple[str, P], ...] = (
    (r"(q|k|v|qkv|gate|up)/kernel(/qvalue|/scale)?", P("fsdp", "tensor")),
    (r"(out|down)/kernel(/qvalue|/scale)?", P("tensor", "fsdp")),
    (r"(q|k|v|qkv|gate|up)/bias", P("tensor")),
    (r"embedding", P("tensor", "fsdp")),
    (r"kernel", P("fsdp", None)),
    (r"", P()),
)


def make_mesh(shape: Mapping[str, int] | str = "", devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices with every axis of `AXES`, those not named having size 1.

    `shape` is `{"data": 2, "fsdp": 4}` or `"data=2,fsdp=4"`; one axis may be -1, the rest of the devices. With nothing
    said, all devices are on `fsdp`. Raises ValueError for unknown axes and for sizes that do not fill the devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = parse_axes(shape) if isinstance(shape, str) else dict(shape)
    if unknown := [name for name in sizes if name not in AXES]:
        raise ValueError(f"mesh axis {unknown[0]!r} does not exist: the axes are {', '.join(AXES)}")
    if bad := [f"{name}={size}" for name, size in sizes.items() if size < 1 and size != -1]:
        raise ValueError(f"mesh {bad[0]} is not a size: give 1 or more, or -1 for the rest of the devices")
    sizes = sizes or {"fsdp": -1}
    rest = [name for name, size in sizes.items() if size == -1]
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    if len(rest) > 1 or len(devices) % known or (not rest and known != len(devices)):
        said = ",".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"mesh {said} does not fill {len(devices)} devices: the sizes must multiply to it")
    if rest:
        sizes[rest[0]] = len(devices) // known
    grid = tuple(sizes.get(name, 1) for name in AXES)
    return jax.make_mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def whole_machine() -> Mesh | None:
    """A mesh that splits weights over all devices; None where there is one."""
    return make_mesh({"fsdp": -1}) if jax.device_count() > 1 else None


def parse_axes(text: str) -> dict[str, int]:
    """Sizes from "data=2,fsdp=4". Raises ValueError."""
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    if bad := [part for part in pairs if not re.fullmatch(r"\w+=-?\d+", part)]:
        raise ValueError(f"mesh part {bad[0]!r} is not axis=size, e.g. data=2,fsdp=4")
    return {name: int(size) for name, size in (part.split("=") for part in pairs)}


def divides(mesh: Mesh, axis: str, what: str, size: int) -> None:
    """Raises ValueError where a mesh axis does not divide a size, with the values that would."""
    if size % mesh.shape[axis]:
        fit = ", ".join(str(n) for n in range(1, min(size, mesh.size) + 1) if size % n == 0 and mesh.size % n == 0)
        raise ValueError(f"mesh {axis}={mesh.shape[axis]} does not divide {size} {what}: use {axis}={fit}")


def path_name(path: tuple[Any, ...]) -> str:
    """The "/"-joined name of a leaf, e.g. `params/dit/blocks/up/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def spec_for(name: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    """The PartitionSpec that `RULES` gives a leaf of this path and shape on this mesh."""
    rule = next(spec for pattern, spec in RULES if re.search(rf"(^|/){pattern}$", name) or not pattern)
    last = tuple(rule)[-len(shape) :] if shape else ()
    return fitting(P(*[None] * (len(shape) - len(last)), *last), shape, mesh)


def fitting(spec: P, shape: tuple[int, ...], mesh: Mesh | jax.sharding.AbstractMesh) -> P:
    """`spec` without the axes that do not divide their dimension of `shape`."""

    def fits(axes: Any, size: int) -> bool:
        names = axes if isinstance(axes, tuple) else (axes,)
        return size % int(np.prod([mesh.shape[name] for name in names if name is not None])) == 0

    return P(*[axes if fits(axes, size) else None for axes, size in zip(spec, shape, strict=False)])


def shardings(tree: Any, mesh: Mesh) -> Any:
    """A NamedSharding for each leaf of a tree of arrays or ShapeDtypeStructs: parameters or a whole training state."""
    return jax.tree.map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_for(path_name(path), leaf.shape, mesh)), tree
    )


def on_several_devices() -> bool:
    """Whether what is traced now runs on a mesh of more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1


def shard(x: jax.Array, *spec: Any) -> jax.Array:
    """Constrains `x` to these mesh axes, one entry per dimension, the first ones at least; the identity where no mesh
    is set, or where none of the axes divides its dimension."""
    if not on_several_devices():
        return x
    fit = fitting(P(*spec), x.shape, jax.sharding.get_abstract_mesh())
    return jax.lax.with_sharding_constraint(x, fit) if any(axes is not None for axes in fit) else x


def gathered(tree: Any) -> Any:
    """The whole of every array, in each process's reach."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental.multihost_utils import process_allgather

    return process_allgather(tree, tiled=True)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the leading dimension over `data` and `fsdp`."""
    return NamedSharding(mesh, P(BATCH))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts this process's share of a batch (a tree of numpy arrays, leading batch dimension) on the mesh.

    Raises ValueError if the batch does not divide over the devices that split it.
    """
    where = batch_sharding(mesh)
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    local = max(1, ways // jax.process_count())

    def put(x: np.ndarray) -> jax.Array:
        if x.shape[0] % local:
            raise ValueError(f"a batch of {x.shape[0]} does not divide over {local} devices: choose a multiple of it")
        return jax.make_array_from_process_local_data(where, x)

    return jax.tree.map(put, batch)
