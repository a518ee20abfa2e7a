"""Another size of a model: more layers, smaller patches, more or fewer channels, starting from trained weights.

deeper   a transformer of more layers, the same function (block expansion, Wu et al. 2024, section 3.2)
finer    a transformer of smaller patches, near the one before (cf. FlexiViT, Beyer et al. 2023)
wider    an autoencoder of more channels, the same function (Net2WiderNet, Chen et al. 2016, section 3.2)
narrower an autoencoder of fewer channels, near the one before if that was made by `wider`
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from sorajax.models.spacetime import Patch

OUTPUTS = ("self_attention/out/", "cross_attention/out/", "feed_forward/down/")
"""The outputs that a block adds to its tokens; with these at zero, a new block is the identity and still learns."""
GROUPS = {"encoder": {"qkv": 3}, "decoder": {"qkv": 3, "time": 2}}
"""Ends of layers' names -> the groups into which their outputs are split."""


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
        grown = np.asarray(leaf)[source]
        if any(part in name for part in OUTPUTS):
            grown[copied] = 0
        flat[name] = grown
    return unflatten_dict(flat, sep="/")


def finer(params: Any, before: Patch, after: Patch) -> Any:
    """The parameters of a `DiT` with patches of `before`, for patches of `after`, which must divide them.

    A token of a smaller patch is embedded as if the rest of the larger patch were like it. Its velocity is the mean
    over the larger patch's. So latents that are constant within a large patch give every small one the large one's
    embedding, and what a token passes on of its own latent is kept. Positions lie closer than they were. It is a start,
    not the same function: no transformer of independent small patches is. Raises ValueError where patches do not
    divide.
    """
    if before == after:
        return params
    if any(old % new for old, new in zip(before, after, strict=True)):
        raise ValueError(f"weights with patches of {before} give no start for patches of {after}: choose divisors")
    pt, ph, pw = after
    sizes = dict(zip(("ft", "fh", "fw"), (old // new for old, new in zip(before, after, strict=True)), strict=True))
    sizes |= {"pt": pt, "ph": ph, "pw": pw}
    large, small = "(ft pt fh ph fw pw c)", "(pt ph pw c)"
    patch_in, patch_out = params["patch_in"], params["patch_out"]
    return params | {
        "patch_in": patch_in | {"kernel": reduce(patch_in["kernel"], f"{large} d -> {small} d", "sum", **sizes)},
        "patch_out": {
            "kernel": reduce(patch_out["kernel"], f"d {large} -> d {small}", "mean", **sizes),
            "bias": reduce(patch_out["bias"], f"{large} -> {small}", "mean", **sizes),
        },
    }


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


def narrower(part: str, params: Any, before: int, after: int) -> Any:
    """The "encoder" or "decoder" of a `VAE` with `after` of `before` channels, at least half of them.

    The reverse of `wider` with a factor of 2: channel i and its copy, half of the channels behind it, become one, the
    mean of both, where the copy has no place any more. A layer that reads them adds their weights. What training has
    made of two copies since is lost, so the result is a start. Raises ValueError for other numbers of channels.
    """
    if not before <= 2 * after < 2 * before:
        raise ValueError(f"{before} channels cannot become {after}: choose {-(-before // 2)} to {before - 1}")
    narrow: dict[str, Any] = {}
    for name, leaf in flatten_dict(params, sep="/").items():
        layer, kind = name.split("/")[-2:]
        if layer not in ("latent", "moments"):
            if kind == "kernel" and layer != "conv_in":
                leaf = jnp.moveaxis(_merged(jnp.moveaxis(leaf, -2, -1), before, after, 1.0), -1, -2)
            if layer != "conv_out":
                groups = next((n for end, n in GROUPS[part].items() if layer.endswith(end)), 1)
                parts = [_merged(x, before, after, 0.5) for x in jnp.split(jnp.asarray(leaf), groups, -1)]
                if layer == "qkv":  # a pair's share of the product of queries and keys was that of two
                    half, gone = leaf.shape[-1] // 6, leaf.shape[-1] // 3 - parts[0].shape[-1]
                    scale = jnp.ones(parts[0].shape[-1]).at[half - gone : half].set(2.0)
                    parts[0] = parts[0] * scale * (after / before) ** 0.5
                leaf = jnp.concatenate(parts, -1)
        narrow[name] = leaf
    return unflatten_dict(narrow, sep="/")


def _merged(leaf: Float[Array, "... c"], before: int, after: int, weight: float) -> Float[Array, "... d"]:
    """The last channels of the second half, of which there is no room, added to their originals, times `weight`."""
    channels = leaf.shape[-1]
    half, rest = channels // 2, channels * after // before
    first, copies = leaf[..., :half], leaf[..., half:]
    alone = rest - half  # originals whose copies remain
    merged = (first[..., alone:] + copies[..., alone:]) * weight
    return jnp.concatenate([first[..., :alone], merged, copies[..., :alone]], -1)
