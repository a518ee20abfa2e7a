"""Weights of another implementation <-> our parameters, by one table read in both directions.

A row names one of our parameters, one of their tensors, and the einops pattern that converts their axes into ours. Both
directions are strict: a tensor that no row reads and a parameter that no row fills raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.devices.sharding import put

Finish = Callable[[str, jax.Array], Any]
"""(path, value) of a parameter -> its replacement."""


class Row(NamedTuple):
    """One parameter. With `layers` > 0, ours is the stack of their tensors, and `{layer}` in `theirs` is the index."""

    ours: str
    theirs: str
    layout: str = "d -> d"
    layers: int = 0
    sizes: tuple[tuple[str, int], ...] = ()
    """Lengths of the axes that `layout` merges, for the inverse."""


def check_tensors(rows: Sequence[Row], tensors: Mapping[str, np.ndarray], shapes: Any) -> None:
    """Raises ValueError where names, shapes or dtypes of tensors do not match the parameters, as importing does.

    Reads no values where the mapping has `placeholder`, which gives shape and dtype only.
    """
    read = getattr(tensors, "placeholder", tensors.__getitem__)
    for row, leaf in matched_rows(rows, tensors, shapes):
        for name in _names(row):
            _part(row, name, {name: read(name)}, leaf.shape)


def stream_parameters(
    rows: Sequence[Row],
    tensors: Mapping[str, np.ndarray],
    shapes: Any,
    finish: Finish = lambda name, leaf: leaf,
) -> dict:
    """Their tensors -> our parameters, streamed tensor by tensor to the devices: host memory holds one tensor, not the
    model.

    `shapes` is the tree of our parameters: ShapeDtypeStructs with the dtype, and optionally the sharding, of each. Each
    parameter is replaced by `finish(path, value)` as soon as it is loaded. Raises ValueError, with names, for tensors
    that are missing or that no row reads, parameters that no row fills, rows without a parameter, and unequal shapes.
    """
    filled = {}
    for row, leaf in matched_rows(rows, tensors, shapes):
        if not row.layers:
            part = _part(row, row.theirs, tensors, leaf.shape)
            whole = part.astype(leaf.dtype)
            placed = jax.device_put(whole) if leaf.sharding is None else put(whole, leaf.sharding)
            filled[row.ours] = finish(row.ours, placed)
            continue
        stack = jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
        for layer, name in enumerate(_names(row)):
            stack = _put_layer(stack, layer, _part(row, name, tensors, leaf.shape).astype(leaf.dtype))
        filled[row.ours] = finish(row.ours, jax.block_until_ready(stack))
    return unflatten_dict(filled, sep="/")


@partial(jax.jit, donate_argnums=0)
def _put_layer(stack: jax.Array, layer: int, part: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, part, layer, 0)


def matched_rows(rows: Sequence[Row], tensors: Mapping[str, Any], shapes: Any) -> list[tuple[Row, Any]]:
    """(row, its parameter) of all rows. Raises ValueError where rows, tensors and parameters do not match."""
    expected = flatten_dict(shapes, sep="/")
    theirs = {name for row in rows for name in _names(row)}
    _refuse("tensors that no parameter takes", set(tensors) - theirs)
    _refuse("tensors are missing", theirs - set(tensors))
    _refuse("parameters that no tensor fills", set(expected) - {row.ours for row in rows})
    _refuse("rows without a parameter", {row.ours for row in rows} - set(expected))
    return [(row, expected[row.ours]) for row in rows]


def _part(row: Row, name: str, tensors: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """One of their tensors with our axes; `shape` is that of the whole parameter. Raises ValueError where it differs,
    and for tensors that are no weights (integers, booleans) or need a scale (8 bits).
    """
    tensor = tensors[name]
    if tensor.dtype.kind in "iub" or tensor.dtype.itemsize == 1:
        raise ValueError(
            f"{name} is {tensor.dtype}, and weights are float32, bfloat16 or float16: get these weights "
            "in one of these types"
        )
    part = rearrange_tensor(row, row.layout, tensor)
    expected = tuple(shape[1:]) if row.layers else tuple(shape)
    if part.shape != expected:
        raise ValueError(
            f"{name} gives {row.ours} the shape {part.shape}, the config says {expected}: use the config "
            "of these weights"
        )
    return part


def export_parameters(rows: Sequence[Row], parameters: Any) -> dict[str, np.ndarray]:
    """The inverse of `stream_parameters`. Raises ValueError where a parameter has no row, or a row no parameter."""
    return dict(export_tensors(rows, parameters))


def export_tensors(rows: Sequence[Row], parameters: Any) -> Iterator[tuple[str, np.ndarray]]:
    """As `export_parameters`, tensor by tensor: only one tensor at a time is copied from the devices to the host."""
    ours = flatten_dict(parameters, sep="/")
    _refuse("parameters that have no tensor", set(ours) - {row.ours for row in rows})
    _refuse("parameters are missing", {row.ours for row in rows} - set(ours))
    for row in rows:
        before, after = row.layout.split("->")
        leaf = ours[row.ours]
        for layer, name in enumerate(_names(row)):
            part = np.asarray(leaf[layer] if row.layers else leaf)
            yield name, np.ascontiguousarray(rearrange_tensor(row, f"{after} -> {before}", part))


def _names(row: Row) -> list[str]:
    return [row.theirs.format(layer=layer) for layer in range(row.layers)] if row.layers else [row.theirs]


def rearrange_tensor(row: Row, layout: str, tensor: np.ndarray) -> np.ndarray:
    """A tensor rearranged by `layout`, the row's or its inverse. Raises ValueError where it does not fit."""
    try:
        return rearrange(tensor, layout, **dict(row.sizes))
    except ValueError as error:  # einops names axes, not tensors
        raise ValueError(f"{row.theirs} or {row.ours}, shape {tensor.shape}, does not fit {layout!r}") from error


def _refuse(what: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        raise ValueError(f"{len(names)} {what}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
