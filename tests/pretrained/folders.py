"""Model folders: all their parameters, whether two hold the same, and changed JSON files."""

import json

import jax
import numpy as np


def all_parts(opened):
    return {name: part.load() for name, part in opened.parts.items()}


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def change(path, **said):
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
