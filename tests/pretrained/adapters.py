"""Adapters added to a whole tree of parameters, as they are where a model is read."""

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.pretrained.lora import add_adapter


def adapted(params, adapters, scale=1.0):
    """The parameters, which stay, with `scale` times the adapters in them."""
    flat, changes = flatten_dict(params, sep="/"), flatten_dict(adapters, sep="/")
    return unflatten_dict({name: add_adapter(name, jnp.array(x), changes, scale) for name, x in flat.items()}, sep="/")
