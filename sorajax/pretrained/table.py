"""Weights of another implementation <-> our parameters, by one table read in both directions.

A row names a parameter of ours, a tensor of theirs and, as an einops pattern from theirs to ours, how its axes move.
Reading is strict both ways: a tensor that no row reads and a parameter that no row fills both raise.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange
from flax.traverse_util import flatten_dict, unflatten_dict


class Row(NamedTuple):
    """One parameter. `layers` > 0: ours is their stack, and `{layer}` in `theirs` counts them."""

    ours: str
    theirs: str
    layout: str = "d -> d"
    layers: int = 0
    sizes: tuple[tuple[str, int], ...] = ()
    """Lengths of axes that `layout` joins, so that it can be read backwards."""


def import_parameters(rows: Sequence[Row], tensors: Mapping[str, np.ndarray], shapes: Any, dtype=np.float32) -> dict:
    """Their tensors -> our parameters as nested dicts of numpy arrays of `dtype`.

    `shapes` is the tree of our parameters, e.g. of ShapeDtypeStructs from `jax.eval_shape`. Raises ValueError, naming
    names, where a tensor is unread or missing, a parameter is unfilled or the table's own, or a shape differs.
    """
    expected = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    theirs = {name for row in rows for name in _names(row)}
    _refuse("tensors that no parameter takes", set(tensors) - theirs)
    _refuse("tensors are missing", theirs - set(tensors))
    _refuse("parameters that no tensor fills", set(expected) - {row.ours for row in rows})
    _refuse("rows without a parameter", {row.ours for row in rows} - set(expected))
    filled = {}
    for row in rows:
        parts = [_turned(row, row.layout, tensors[name]).astype(dtype) for name in _names(row)]
        filled[row.ours] = np.stack(parts) if row.layers else parts[0]
        if filled[row.ours].shape != expected[row.ours]:
            raise ValueError(f"{row.theirs} gives {row.ours} the shape {filled[row.ours].shape}, the config says "
                             f"{expected[row.ours]}: use the config of these weights")
    return unflatten_dict(filled, sep="/")


def export_parameters(rows: Sequence[Row], parameters: Any) -> dict[str, np.ndarray]:
    """The inverse of `import_parameters`. Raises ValueError where a parameter has no row, or a row no parameter."""
    ours = flatten_dict(parameters, sep="/")
    _refuse("parameters that have no tensor", set(ours) - {row.ours for row in rows})
    _refuse("parameters are missing", {row.ours for row in rows} - set(ours))
    tensors = {}
    for row in rows:
        before, after = row.layout.split("->")
        leaf = np.asarray(ours[row.ours])
        for name, part in zip(_names(row), leaf if row.layers else [leaf], strict=True):
            tensors[name] = np.ascontiguousarray(_turned(row, f"{after} -> {before}", part))
    return tensors


def _names(row: Row) -> list[str]:
    return [row.theirs.format(layer=layer) for layer in range(row.layers)] if row.layers else [row.theirs]


def _turned(row: Row, layout: str, tensor: np.ndarray) -> np.ndarray:
    try:
        return rearrange(tensor, layout, **dict(row.sizes))
    except ValueError as error:  # einops names axes, not tensors
        raise ValueError(f"{row.theirs} or {row.ours}, shape {tensor.shape}, does not fit {layout!r}") from error


def _refuse(what: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        raise ValueError(f"{len(names)} {what}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}")
