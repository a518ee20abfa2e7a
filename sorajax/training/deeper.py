"""A transformer of more layers that begins as the same function (block expansion, Wu et al. 2024, section 3.2)."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

OUTPUTS = ("self_attention/out/", "cross_attention/out/", "feed_forward/down/")
"""What a block adds to its tokens; a block where these are zero changes nothing, and learns."""


def deeper(params: Any, depth: int) -> Any:
    """The parameters of a `DiT` with stacked blocks, of `depth` layers where they are fewer.

    The new blocks stand evenly among the old ones. Each is a copy of the one before it that adds nothing yet.
    """
    flat = flatten_dict(params, sep="/")
    blocks = {name: leaf for name, leaf in flat.items() if name.startswith("blocks/")}
    before = len(next(iter(blocks.values()), ()))
    if not 0 < before < depth:
        return params
    source = np.arange(depth) * before // depth
    copied = np.r_[False, source[1:] == source[:-1]]
    for name, leaf in blocks.items():
        grown = jnp.asarray(leaf)[source]
        flat[name] = grown.at[copied].set(0) if any(part in name for part in OUTPUTS) else grown
    return unflatten_dict(flat, sep="/")
