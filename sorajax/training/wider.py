"""An autoencoder of more channels that begins as the same function (Net2WiderNet, Chen et al. 2016, section 3.2)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

GROUPS = {"encoder": {"qkv": 3}, "decoder": {"qkv": 3, "time": 2}}
"""Of layers, by the end of their names: what their outputs are cut into."""


def wider(part: str, params: Any, factor: int, key: jax.Array) -> Any:
    """The "encoder" or "decoder" of a `VAE` without shortcuts of Wan 2.2's form, with `factor` times the channels.

    Each channel stands there `factor` times. A layer that reads it shares its weight among the copies at random, so
    that they learn apart; norms see the same lengths, and queries are scaled to what attention expects.
    """
    wide: dict[str, Any] = {}
    for name, leaf in flatten_dict(params, sep="/").items():
        layer, kind = name.split("/")[-2:]
        own = jax.random.fold_in(key, len(wide))
        if layer not in ("latent", "moments"):
            if kind == "kernel" and layer != "conv_in":
                leaf = _shared(leaf, factor, own)
            if layer != "conv_out":
                leaf = _repeated(leaf, factor, next((n for end, n in GROUPS[part].items() if layer.endswith(end)), 1))
            if layer == "qkv":
                queries = leaf.shape[-1] // 3
                leaf = leaf.at[..., :queries].divide(factor**0.5)
        wide[name] = leaf
    return unflatten_dict(wide, sep="/")


def _shared(kernel: Float[Array, "... i o"], factor: int, key: jax.Array) -> Float[Array, "... fi o"]:
    shares = jax.nn.softmax(jax.random.normal(key, (factor, *kernel.shape)), 0)
    return jnp.concatenate(list(shares * kernel), -2)


def _repeated(leaf: Float[Array, "... o"], factor: int, groups: int) -> Float[Array, "... fo"]:
    parts = jnp.split(jnp.asarray(leaf), groups, -1)
    return jnp.concatenate([part for part in parts for _ in range(factor)], -1)
