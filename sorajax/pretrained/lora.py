"""Low-rank adapters of the transformer: files of the open-model community <-> ours, and their sum with the weights.

    W' = W + scale * (alpha / rank) * B A          (Hu et al. 2021, eq. 3; our kernels are W transposed)

Names are those of diffusers and PEFT (`transformer.blocks.0.attn1.to_q.lora_A.weight`); read are also those of the
original release and of other trainers (`diffusion_model.blocks.0.self_attn.q.lora_down.weight`, with `.alpha`, and
`lora_unet_blocks_0_self_attn_q...`). Reading is strict: a tensor that fits no layer is named and refused.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import save_file

from sorajax.checkpoint import write_atomically
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import EXPERTS
from sorajax.pretrained.original import DIT, Names, rename
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.wan import dit_table

TARGETS = r"(self_attention|cross_attention)/(q|k|v|out)|feed_forward/(up|down)"
PREFIXES = ("transformer.", "diffusion_model.", "base_model.model.", "model.diffusion_model.", "lora_unet_")
SECOND = "transformer_2."
"""The prefix of adapters of the second expert."""
ENDINGS = {"lora_A.weight": "a", "lora_down.weight": "a", "lora_A.default.weight": "a",
           "lora_B.weight": "b", "lora_up.weight": "b", "lora_B.default.weight": "b", "alpha": "alpha"}  # fmt: skip

UNDERSCORED: Names = [
    (r"_self_attn_", "_attn1_"), (r"_cross_attn_", "_attn2_"), (r"(_attn[12])_([qkv])\.", r"\1_to_\2."),
    (r"(_attn[12])_o\.", r"\1_to_out_0."), (r"_ffn_0\.", "_ffn_net_0_proj."), (r"_ffn_2\.", "_ffn_net_2."),
]  # fmt: skip
"""Names of the original release whose dots some trainers replace."""


class Adapter(NamedTuple):
    """A file of adapters, what they are multiplied by, and the expert that they are for; None: both."""

    path: Path
    scale: float = 1.0
    expert: str | None = None


class Layer(NamedTuple):
    """Where an adapter of the open names goes: our path, and which of a stack; None where blocks are not stacked."""

    path: str
    place: int | None


def layers(config: DiTConfig) -> dict[str, Layer]:
    """Every linear layer's open name, e.g. `blocks.0.attn1.to_q`, and where it is."""
    found: dict[str, Layer] = {}
    for row in dit_table(replace(config, pooled_text=False)):
        if not row.ours.endswith("/kernel") or row.ours == "patch_in/kernel":
            continue
        path, name = row.ours.removesuffix("/kernel"), row.theirs.removesuffix(".weight")
        for place in range(row.layers) if row.layers else (None,):
            found[name if place is None else name.format(layer=place)] = Layer(path, place)
    return found


def init_adapters(shapes: Any, rank: int, targets: str, key: jax.Array) -> dict:
    """New adapters {path: {"a": [.. in rank], "b": [.. rank out]}}, nested; b is zero, so that nothing changes yet.

    shapes: the tree of the transformer's parameters. targets: a pattern that a layer's whole path below its block, or
    from the top, must match. Raises ValueError where nothing matches, or a rank is no number of directions.
    """
    if rank < 1:
        raise ValueError(f"rank {rank} is not allowed: use 1 or more, e.g. 16")
    chosen = {}
    kernels = {
        path.removesuffix("/kernel"): leaf for path, leaf in flatten_dict(shapes, sep="/").items()
        if path.endswith("/kernel")
    }  # fmt: skip
    for path, leaf in kernels.items():
        below = re.sub(r"^block(s|_\d+)/", "", path)
        if re.fullmatch(targets, below) and path != "patch_in":
            *stack, rows, columns = leaf.shape
            key, own = jax.random.split(key)
            a = jax.random.uniform(own, (*stack, rows, rank), minval=-1, maxval=1) / rows**0.5
            chosen[path] = {"a": a, "b": jnp.zeros((*stack, rank, columns))}
    if not chosen:
        known = ", ".join(sorted({re.sub(r"^block(s|_\d+)/", "", path) for path in kernels}))
        raise ValueError(f"targets {targets!r} match no layer: there are {known}")
    return unflatten_dict({tuple(path.split("/")): pair for path, pair in chosen.items()})


def adapted(params: Any, adapters: Any, scale: Any = 1.0) -> dict:
    """The transformer's parameters with `scale` times the adapters in their kernels; the types stay."""
    flat = flatten_dict(params, sep="/")
    pairs = flatten_dict(adapters, sep="/")
    for path in {name.rpartition("/")[0] for name in pairs}:
        change = jnp.matmul(pairs[f"{path}/a"], pairs[f"{path}/b"], precision="highest")
        kernel = flat[f"{path}/kernel"]
        flat[f"{path}/kernel"] = kernel + (scale * change).astype(kernel.dtype)
    return unflatten_dict(flat, sep="/")


def save_lora(
    path: Path, adapters: Any, config: DiTConfig, alpha: float, said: Mapping[str, Any] | None = None
) -> None:
    """Writes adapters with diffusers' names. alpha / rank is multiplied into B, so that every reader agrees on it.

    `said` goes into the file's metadata as JSON. Raises OSError.
    """
    tensors: dict[str, np.ndarray] = {}
    flat = {name: np.asarray(leaf, np.float32) for name, leaf in flatten_dict(adapters, sep="/").items()}
    rank = next(iter(flat.values())).shape[-1] if flat else 0
    for name, (layer, place) in layers(config).items():
        if f"{layer}/a" not in flat:
            continue
        a, b = (flat[f"{layer}/{part}"] if place is None else flat[f"{layer}/{part}"][place] for part in "ab")
        rank = a.shape[-1]
        tensors[f"transformer.{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
        tensors[f"transformer.{name}.lora_B.weight"] = np.ascontiguousarray(b.T * np.float32(alpha / rank))
    metadata = {"format": "pt", "rank": str(rank), "alpha": str(rank), "sorajax": json.dumps(said or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_lora(path: str | Path, config: DiTConfig, second: bool = False) -> dict:
    """The adapters in a file, alpha / rank multiplied in: the rank may differ from layer to layer (where they are
    stacked, smaller ones are filled up with zeros).

    `second`: those of a second expert, where the file tells the experts apart; else all serve both. Raises
    FileNotFoundError, and ValueError for what fits no layer, or a layer of another shape, on one line.
    """
    tensors = Tensors(path)
    names = layers(config)
    flattened = {name.replace(".", "_"): name for name in names}
    two = any(name.startswith(SECOND) for name in tensors)
    found: dict[str, dict[str, np.ndarray]] = {}
    unknown = []
    for stored in tensors:
        other = stored.startswith(SECOND)
        if two and other != second:
            continue
        name, part = _parsed(stored.removeprefix(SECOND), flattened)
        if name not in names or part is None:
            unknown.append(stored)
        else:
            found.setdefault(name, {})[part] = np.asarray(tensors[stored], np.float32)
    if unknown or not found:
        shown = ", ".join(unknown[:5]) or "no adapter"
        raise ValueError(f"{path} holds {shown}, which fits no layer of this model: it is an adapter of another model, "
                         "or of another kind")  # fmt: skip
    strength = _strength(path)
    pairs = {name: _pair(path, name, parts, strength) for name, parts in found.items()}
    return unflatten_dict(dict(_stacked(path, pairs, names, config)), sep="/")


def _parsed(name: str, flattened: Mapping[str, str]) -> tuple[str, str | None]:
    """A stored name as (open name of the layer, "a", "b" or "alpha"; None for anything else)."""
    ending = next((ending for ending in ENDINGS if name.endswith(f".{ending}")), None)
    if ending is None:
        return name, None
    name = name.removesuffix(f".{ending}")
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    underscored = rename(f"{name}.", UNDERSCORED)[:-1]
    return flattened.get(underscored) or rename(f"{name}.", DIT)[:-1], ENDINGS[ending]


def _strength(path: str | Path) -> Callable[[str, int], float]:
    """(layer, rank) -> what PEFT's own settings, which diffusers keep in the file's metadata, multiply it by; 1 where
    there are none."""
    said = json.loads(_metadata(path).get("lora_adapter_metadata", "{}"))
    said = {name.removeprefix("transformer."): value for name, value in said.items()}
    if "lora_alpha" not in said:
        return lambda name, rank: 1.0
    special = said.get("alpha_pattern") or {}

    def strength(name: str, rank: int) -> float:
        alpha = next((value for key, value in special.items() if name.endswith(key)), said["lora_alpha"])
        return float(alpha) / (rank**0.5 if said.get("use_rslora") else rank)

    return strength


def _pair(
    path: str | Path, name: str, parts: Mapping[str, np.ndarray], strength: Callable[[str, int], float]
) -> tuple[np.ndarray, np.ndarray]:
    """(a [in rank], b [rank out]) with alpha / rank in b."""
    if not {"a", "b"} <= parts.keys():
        raise ValueError(f"{path}: {name} has only one of its two matrices: get the file again")
    a, b = (parts[part].reshape(len(parts[part]), -1).T for part in "ab")
    rank = a.shape[1]
    return a, b * np.float32(float(parts["alpha"]) / rank if "alpha" in parts else strength(name, rank))


def _stacked(
    path: str | Path,
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: Mapping[str, Layer],
    config: DiTConfig,
) -> Iterator[tuple[str, np.ndarray]]:
    from sorajax.models.sora import init_dit

    shapes = flatten_dict(jax.eval_shape(lambda key: init_dit(config, key), jax.random.key(0)), sep="/")
    for layer in dict.fromkeys(names[name].path for name in pairs):
        kernel = shapes[f"{layer}/kernel"]
        own = {names[name].place: pair for name, pair in pairs.items() if names[name].path == layer}
        for name, (a, b) in pairs.items():
            if names[name].path == layer and (len(a), b.shape[1]) != kernel.shape[-2:]:
                raise ValueError(f"{path}: {name} is made for {len(a)} x {b.shape[1]}, and this model has "
                                 f"{' x '.join(map(str, kernel.shape[-2:]))}: it is an adapter of another model")
        if None in own:
            yield f"{layer}/a", own[None][0]
            yield f"{layer}/b", own[None][1]
            continue
        rank = max(a.shape[1] for a, _ in own.values())
        whole_a = np.zeros((kernel.shape[0], kernel.shape[1], rank), np.float32)
        whole_b = np.zeros((kernel.shape[0], rank, kernel.shape[2]), np.float32)
        for place, (a, b) in own.items():
            whole_a[place, :, : a.shape[1]], whole_b[place, : len(b)] = a, b
        yield f"{layer}/a", whole_a
        yield f"{layer}/b", whole_b


def parse_lora(text: str) -> Adapter:
    """An adapter from "FILE" or "FILE:SCALE", and either after "high=" or "low=".

    Raises ValueError for a scale that is no number.
    """
    before, _, rest = text.partition("=")
    expert, text = (before, rest) if before in EXPERTS and not Path(text).exists() else (None, text)
    name, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists():
        return Adapter(Path(text).expanduser(), 1.0, expert)
    try:
        return Adapter(Path(name).expanduser(), float(scale), expert)
    except ValueError:
        raise ValueError(f"{text}: {scale!r} is no scale; write FILE or FILE:SCALE, e.g. a.safetensors:0.8") from None


def trained_expert(path: Path) -> str | None:
    """The expert that a file of ours was trained for, where it was one."""
    return json.loads(_metadata(path).get("sorajax", "{}")).get("expert")


def _metadata(path: str | Path) -> dict[str, str]:
    if not Path(path).is_file():
        return {}
    with safe_open(path, framework="np") as file:
        return file.metadata() or {}

