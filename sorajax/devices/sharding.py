"""Meshes, and the one table that shards parameters, EMA and optimizer state.

A mesh always has four axes: `data` replicates parameters and splits the batch, `fsdp` splits both, `seq` splits the
tokens of one clip, `tensor` splits heads and hidden units. `RULES` maps the path of a parameter to the axes of its
dimensions. Exponential moving averages and optimizer moments end in the path of their parameter, so the same table
shards the whole training state. Model code has no mesh in it: it only calls `shard`, the identity without a mesh.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXES = ("data", "fsdp", "seq", "tensor")
BATCH = ("data", "fsdp")
REPLICAS = ("data", "fsdp", "seq")
"""Axes over which a model in use has copies of its parameters, or splits them if one device has no room for all."""

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


def split_over_all_devices() -> Callable[[Any], Any] | None:
    """The `shardings` of parameters on `mesh_of_all_devices`; None where there is one device."""
    mesh = mesh_of_all_devices()
    return None if mesh is None else partial(shardings, mesh=mesh)


def sampling_axes(devices: int, guided: bool, tokens: int, heads: int) -> dict[str, int]:
    """How one clip is split over devices: the two branches of guidance over `data`, then the clip's tokens over `seq`,
    then heads over `tensor`. Devices that none of them divides over repeat the work of others, on `data`."""
    data = 2 if guided and devices % 2 == 0 else 1
    seq = math.gcd(devices // data, tokens)
    tensor = math.gcd(devices // data // seq, heads)
    return {"data": devices // seq // tensor, "seq": seq, "tensor": tensor}


def parse_axes(text: str) -> dict[str, int]:
    """The axis sizes in a text such as "data=2,fsdp=4". Raises ValueError for a part that is not axis=size."""
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    if bad := [part for part in pairs if not re.fullmatch(r"\w+=-?\d+", part)]:
        raise ValueError(f"mesh part {bad[0]!r} is not axis=size, e.g. data=2,fsdp=4")
    return {name: int(size) for name, size in (part.split("=") for part in pairs)}


def axes_text(sizes: Mapping[str, int]) -> str:
    """A mesh as --mesh takes it."""
    return ",".join(f"{name}={sizes[name]}" for name in AXES if sizes.get(name, 1) != 1) or "fsdp=1"


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
    return aligned(rule_for(name), shape, mesh)


def rule_for(name: str) -> tuple[Any, ...]:
    """The first of `RULES` that matches a path."""
    return tuple(next(spec for pattern, spec in RULES if re.search(rf"(^|/){pattern}$", name) or not pattern))


def aligned(rule: tuple[Any, ...], shape: tuple[int, ...], mesh: Mesh) -> P:
    """A rule for the last dimensions of a leaf, without the axes that do not divide them."""
    last = rule[-len(shape) :] if shape else ()
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


def sampling_shardings(tree: Any, mesh: Mesh, split: bool) -> Any:
    """The NamedSharding of each parameter of a model in use. split: over all axes, not only over `tensor`."""

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        rule = [(REPLICAS if split else None) if axis == "fsdp" else axis for axis in rule_for(path_name(path))]
        return NamedSharding(mesh, aligned(tuple(rule), leaf.shape, mesh))

    return jax.tree.map_with_path(sharding, tree)


def replicated(mesh: Mesh) -> NamedSharding:
    """All of an array on every device."""
    return NamedSharding(mesh, P())


def put(value: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Puts an array on its devices. Of devices of several processes each process fills its own, from the same value."""
    if sharding.is_fully_addressable or (isinstance(value, jax.Array) and not value.is_fully_addressable):
        return jax.device_put(value, sharding)
    whole = np.asarray(value)
    return jax.make_array_from_callback(whole.shape, sharding, whole.__getitem__)


def to_host(value: Any) -> np.ndarray:
    """The whole value of an array, also of one that is spread over several processes, which then all call this."""
    if isinstance(value, jax.Array) and not (value.is_fully_addressable or value.is_fully_replicated):
        value = gather(value)
    return np.asarray(value)


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


def other_axes(batch: int, heads: int = 0) -> tuple[str, ...]:
    """Axes of the current mesh that can split tokens, because they split neither a batch of this size nor, if there are
    several heads, these."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return ()
    used = fitting(P(BATCH, "tensor"), (batch, heads or 1), mesh)
    return tuple(name for name in AXES if mesh.shape[name] > 1 and name not in (*(used[0] or ()), used[1]))


def shard_frames(x: jax.Array) -> jax.Array:
    """A sharding constraint for frames or latents [b t h w c]: clips over `data` and `fsdp` if these divide them, and
    columns, rows or both over all other axes. Convolutions exchange the edges of neighbouring parts."""
    return shard(x, *frames_spec(x.shape)) if on_several_devices() else x


def frames_spec(shape: tuple[int, ...]) -> P:
    """How `shard_frames` splits frames of this shape on the current mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    clips, others = fitting(P(BATCH), shape[:1], mesh)[0], other_axes(shape[0])
    for cut in (0, len(others), *range(1, len(others))):
        spec = P(None, None, others[:cut] or None, others[cut:] or None)
        if fitting(spec, shape, mesh) == spec:
            return P(clips, *spec[1:])
    return P(clips)


def gather(tree: Any) -> Any:
    """All-gathers every array, so that each process can read all of its values; in one process, the tree itself."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental.multihost_utils import process_allgather

    return process_allgather(tree, tiled=True)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the leading dimension over `data` and `fsdp`."""
    return NamedSharding(mesh, P(BATCH))


def batch_ways(mesh: Mesh) -> int:
    """The number of parts into which the mesh splits a batch."""
    return int(np.prod([mesh.shape[axis] for axis in BATCH]))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts this process's part of a batch (a tree of numpy arrays, leading batch dimension) on the mesh.

    Raises ValueError where its size is no multiple of the local devices that split the batch.
    """
    where = batch_sharding(mesh)
    local = max(1, batch_ways(mesh) // jax.process_count())

    def put(x: np.ndarray) -> jax.Array:
        if x.shape[0] % local:
            raise ValueError(f"a batch of {x.shape[0]} does not divide over {local} devices: choose a multiple of it")
        return jax.make_array_from_process_local_data(where, x)

    return jax.tree.map(put, batch)
