"""A transformer of smaller patches that begins from one of larger patches (cf. FlexiViT, Beyer et al. 2023).

A token of a smaller patch is embedded as if the rest of the larger patch were like it. Its velocity is the mean over
the larger patch's. So latents that are constant within a large patch give every small one the large one's embedding,
and what a token passes on of its own latent is kept. Positions lie closer than they were. It is a start, not the same
function: no transformer of independent small patches is.
"""

from typing import Any

from einops import reduce

from sorajax.models.spacetime import Patch


def finer(params: Any, before: Patch, after: Patch) -> Any:
    """The parameters of a `DiT` with patches of `before`, for patches of `after`, which must divide them.

    Raises ValueError where they do not.
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
