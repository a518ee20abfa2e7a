"""Weights of another implementation <-> our parameters, by one table read in both directions.

A row names a parameter of ours, a tensor of theirs and, as an einops pattern from theirs to ours, how its axes move.
Reading is strict both ways: a tensor that no row reads and a parameter that no row fills both raise.
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

Finish = Callable[[str, jax.Array], Any]
"""The path and value of a parameter -> what takes its place."""


class Row(NamedTuple):
    """One parameter. `layers` > 0: ours is their stack, and `{layer}` in `theirs` counts them."""

    ours: str
    theirs: str
    layout: str = "d -> d"
    layers: int = 0
    sizes: tuple[tuple[str, int], ...] = ()
    """Lengths of axes that `layout` joins, so that it can be read backwards."""


def check_tensors(rows: Sequence[Row], tensors: Mapping[str, np.ndarray], shapes: Any) -> None:
    """Raises ValueError where names, shapes or types of tensors are not those of the parameters, as importing does;
    reads no tensor whose mapping tells what it is without (`hollow`)."""
    read = getattr(tensors, "hollow", tensors.__getitem__)
    for row, leaf in _matched(rows, tensors, shapes):
        for name in _names(row):
            _part(row, name, {name: read(name)}, leaf.shape)


def stream_parameters(
    rows: Sequence[Row],
    tensors: Mapping[str, np.ndarray],
    shapes: Any,
    finish: Finish = lambda name, leaf: leaf,
) -> dict:
    """Their tensors -> our parameters, tensor by tensor to where each belongs: host memory holds one tensor, not the
    model.

    `shapes` is the tree of our parameters, ShapeDtypeStructs with the type, and where it is wanted the sharding, that
    each parameter shall have. Each parameter goes through `finish` as soon as it is there. Raises ValueError, naming
    names, where a tensor is unread or missing, a parameter is unfilled or the table's own, or a shape differs.
    """
    filled = {}
    for row, leaf in _matched(rows, tensors, shapes):
        if not row.layers:
            part = _part(row, row.theirs, tensors, leaf.shape)
            filled[row.ours] = finish(row.ours, jax.device_put(part.astype(leaf.dtype), leaf.sharding))
            continue
        stack = jnp.zeros(leaf.shape, leaf.dtype, device=leaf.sharding)
        for layer, name in enumerate(_names(row)):
            stack = _put_layer(stack, layer, _part(row, name, tensors, leaf.shape).astype(leaf.dtype))
        filled[row.ours] = finish(row.ours, jax.block_until_ready(stack))
    return unflatten_dict(filled, sep="/")


@partial(jax.jit, donate_argnums=0)
def _put_layer(stack: jax.Array, layer: int, part: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, part, layer, 0)


def _matched(rows: Sequence[Row], tensors: Mapping[str, Any], shapes: Any) -> list[tuple[Row, Any]]:
    """Each row with the parameter that it fills. Raises ValueError where rows, tensors and parameters do not match."""
    expected = flatten_dict(shapes, sep="/")
    theirs = {name for row in rows for name in _names(row)}
    _refuse("tensors that no parameter takes", set(tensors) - theirs)
    _refuse("tensors are missing", theirs - set(tensors))
    _refuse("parameters that no tensor fills", set(expected) - {row.ours for row in rows})
    _refuse("rows without a parameter", {row.ours for row in rows} - set(expected))
    return [(row, expected[row.ours]) for row in rows]


def _part(row: Row, name: str, tensors: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """One of their tensors with our axes; `shape` is that of the whole parameter. Raises ValueError where it differs.

    A tensor of integers or booleans is no weight, and one of 8 bits has lost its scale: both are refused.
    """
    tensor = tensors[name]
    if tensor.dtype.kind in "iub" or tensor.dtype.itemsize == 1:
        raise ValueError(
            f"{name} is {tensor.dtype}, and weights are float32, bfloat16 or float16: get these weights "
            "in one of those types"
        )
    part = turned(row, row.layout, tensor)
    wanted = tuple(shape[1:]) if row.layers else tuple(shape)
    if part.shape != wanted:
        raise ValueError(
            f"{name} gives {row.ours} the shape {part.shape}, the config says {wanted}: use the config of these weights"
        )
    return part


def export_parameters(rows: Sequence[Row], parameters: Any) -> dict[str, np.ndarray]:
    """The inverse of `stream_parameters`. Raises ValueError where a parameter has no row, or a row no parameter."""
    return dict(exported(rows, parameters))


def exported(rows: Sequence[Row], parameters: Any) -> Iterator[tuple[str, np.ndarray]]:
    """As `export_parameters`, tensor by tensor: of arrays on devices one tensor at a time comes to the host."""
    ours = flatten_dict(parameters, sep="/")
    _refuse("parameters that have no tensor", set(ours) - {row.ours for row in rows})
    _refuse("parameters are missing", {row.ours for row in rows} - set(ours))
    for row in rows:
        before, after = row.layout.split("->")
        leaf = ours[row.ours]
        for layer, name in enumerate(_names(row)):
            part = np.asarray(leaf[layer] if row.layers else leaf)
            yield name, np.ascontiguousarray(turned(row, f"{after} -> {before}", part))


def _names(row: Row) -> list[str]:
    return [row.theirs.format(layer=layer) for layer in range(row.layers)] if row.layers else [row.theirs]


def turned(row: Row, layout: str, tensor: np.ndarray) -> np.ndarray:
    """A tensor with the axes of `layout`, which is the row's own or that backwards. Raises ValueError."""
    try:
        return rearrange(tensor, layout, **dict(row.sizes))
    except ValueError as error:  # einops names axes, not tensors
        raise ValueError(f"{row.theirs} or {row.ours}, shape {tensor.shape}, does not fit {layout!r}") from error


def _refuse(what: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        raise ValueError(f"{len(names)} {what}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
