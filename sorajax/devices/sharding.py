"""Meshes, and the one table that shards parameters, EMA and optimizer state.

A mesh always has four axes: `data` replicates parameters and splits the batch, `fsdp` splits both, `seq` splits the
tokens of one clip, `tensor` splits heads and hidden units. `RULES` maps the path of a parameter to the axes of its
dimensions. Exponential moving averages and optimizer moments end in the path of their parameter, so the same table
shards the whole training state. Model code has no mesh in it: it only calls `shard`, the identity without a mesh.
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
    """A mesh over all devices with every axis of `AXES`; axes that `shape` does not name have size 1.

    `shape` is `{"data": 2, "fsdp": 4}` or `"data=2,fsdp=4"`; one size may be -1: all remaining devices. An empty shape
    puts all devices on `fsdp`. Raises ValueError for unknown axes and for sizes whose product is not the device count.
    """
    devices = jax.devices() if devices is None else devices
    sizes = parse_axes(shape) if isinstance(shape, str) else dict(shape)
    if unknown := [name for name in sizes if name not in AXES]:
        raise ValueError(f"mesh axis {unknown[0]!r} does not exist: the axes are {', '.join(AXES)}")
    if bad := [f"{name}={size}" for name, size in sizes.items() if size < 1 and size != -1]:
        raise ValueError(f"mesh {bad[0]} is not a size: give 1 or more, or -1 for the rest of the devices")
    sizes = sizes or {"fsdp": -1}
    inferred = [name for name, size in sizes.items() if size == -1]
    product = int(np.prod([size for size in sizes.values() if size != -1]))
    if len(inferred) > 1 or len(devices) % product or (not inferred and product != len(devices)):
        text = ",".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"mesh {text} does not fill {len(devices)} devices: the product of the sizes must be that")
    if inferred:
        sizes[inferred[0]] = len(devices) // product
    grid = tuple(sizes.get(name, 1) for name in AXES)
    return jax.make_mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def mesh_of_all_devices() -> Mesh | None:
    """A mesh that splits parameters over all devices; None where there is one device."""
    return make_mesh({"fsdp": -1}) if jax.device_count() > 1 else None


def parse_axes(text: str) -> dict[str, int]:
    """The axis sizes in a text such as "data=2,fsdp=4". Raises ValueError for a part that is not axis=size."""
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    if bad := [part for part in pairs if not re.fullmatch(r"\w+=-?\d+", part)]:
        raise ValueError(f"mesh part {bad[0]!r} is not axis=size, e.g. data=2,fsdp=4")
    return {name: int(size) for name, size in (part.split("=") for part in pairs)}


def check_divides(mesh: Mesh, axis: str, what: str, size: int) -> None:
    """Raises ValueError, naming the sizes that fit, where a mesh axis does not divide `size`, a number of `what`."""
    if size % mesh.shape[axis]:
        fits = ", ".join(str(n) for n in range(1, min(size, mesh.size) + 1) if size % n == 0 and mesh.size % n == 0)
        raise ValueError(f"mesh {axis}={mesh.shape[axis]} does not divide {size} {what}: use {axis}={fits}")


def path_name(path: tuple[Any, ...]) -> str:
    """The "/"-joined name of a leaf, e.g. `params/dit/blocks/up/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def spec_for(name: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    """The PartitionSpec that `RULES` gives a leaf of this path and shape on this mesh."""
    rule = next(spec for pattern, spec in RULES if re.search(rf"(^|/){pattern}$", name) or not pattern)
    last = tuple(rule)[-len(shape) :] if shape else ()
    return fitting(P(*[None] * (len(shape) - len(last)), *last), shape, mesh)


def fitting(spec: P, shape: tuple[int, ...], mesh: Mesh | jax.sharding.AbstractMesh) -> P:
    """`spec` without the mesh axes that do not divide their dimension of `shape`."""

    def fits(axes: Any, size: int) -> bool:
        names = axes if isinstance(axes, tuple) else (axes,)
        return size % int(np.prod([mesh.shape[name] for name in names if name is not None])) == 0

    return P(*[axes if fits(axes, size) else None for axes, size in zip(spec, shape, strict=False)])


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The NamedSharding of each leaf of a tree of arrays or ShapeDtypeStructs: parameters or a whole training state."""
    return jax.tree.map_with_path(
        lambda path, leaf: NamedSharding(mesh, spec_for(path_name(path), leaf.shape, mesh)), tree
    )


def on_several_devices() -> bool:
    """Whether the computation being traced runs on a mesh of more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1


def shard(x: jax.Array, *spec: Any) -> jax.Array:
    """A sharding constraint: one mesh axis, tuple of axes or None for each of the leading dimensions of `x`.

    The identity without a mesh, and where none of the axes divides its dimension.
    """
    if not on_several_devices():
        return x
    fit = fitting(P(*spec), x.shape, jax.sharding.get_abstract_mesh())
    return jax.lax.with_sharding_constraint(x, fit) if any(axes is not None for axes in fit) else x


def gather(tree: Any) -> Any:
    """All-gathers every array, so that each process can read all of its values; in one process, the tree itself."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental.multihost_utils import process_allgather

    return process_allgather(tree, tiled=True)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the leading dimension over `data` and `fsdp`."""
    return NamedSharding(mesh, P(BATCH))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts this process's part of a batch (a tree of numpy arrays, leading batch dimension) on the mesh.

    Raises ValueError where its size is no multiple of the local devices that split the batch.
    """
    where = batch_sharding(mesh)
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    local = max(1, ways // jax.process_count())

    def put(x: np.ndarray) -> jax.Array:
        if x.shape[0] % local:
            raise ValueError(f"a batch of {x.shape[0]} does not divide over {local} devices: choose a multiple of it")
        return jax.make_array_from_process_local_data(where, x)

    return jax.tree.map(put, batch)
