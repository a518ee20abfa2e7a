"""Adapters of the transformer: files of the open-model community <-> ours, and their sum with the weights.

    W' = W + scale * (alpha / rank) * B A          (Hu et al. 2021, eq. 3; our kernels are W transposed)
    W' = W + scale * D                             where a file holds a whole difference: of a norm, a bias, modulation,
                                                   or a Kronecker product (LoKr, see `pretrained.lokr`)

What PEFT says beside the weights (rank and alpha of single layers, rsLoRA, DoRA) is followed, see `pretrained.peft`.

Names are those of diffusers and PEFT (`transformer.blocks.0.attn1.to_q.lora_A.weight`); read are also those of the
original release and of other trainers (`diffusion_model.blocks.0.self_attn.q.lora_down.weight`, with `.alpha`, and
`lora_unet_blocks_0_self_attn_q...`), and the differences beside them (`.diff`, `.diff_b`, `.diff_m`). Reading is
strict: a tensor that fits no layer is named and refused. Only layers that read a picture are left out, with a note,
where a model has none, and changes of the first layer where it reads other channels: files are used for both kinds.

In memory adapters are a tree of {"a": [.. in rank], "b": [.. rank out]} for a kernel, with DoRA's "magnitude" [.. out]
beside them, and under any other parameter's own path what is added to it.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from sorajax.files import write_atomically
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import EXPERTS, init_dit
from sorajax.pretrained import lokr
from sorajax.pretrained.original import DIT, Names, rename
from sorajax.pretrained.peft import Settings, adapter_weights, check_one, in_metadata, settings, unnamed
from sorajax.pretrained.pickles import PICKLES, PickledTensors
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.table import Row, turned
from sorajax.pretrained.wan import dit_table

TARGETS = r"(self_attention|cross_attention)/(q|k|v|out)|feed_forward/(up|down)"
PREFIXES = (
    "transformer.",
    "pipe.dit.",
    "diffusion_model.",
    "base_model.model.",
    "model.diffusion_model.",
    "lora_unet__",
    "lora_unet_",
    "lycoris_",
)
SECOND = "transformer_2."
"""The prefix of adapters of the second expert."""
ENDINGS = {
    "lora_A.weight": "a",
    "lora_down.weight": "a",
    "lora.down.weight": "a",
    "lora_B.weight": "b",
    "lora_up.weight": "b",
    "lora.up.weight": "b",
    "lora_B.bias": "b bias",
    "alpha": "alpha",
    "lora_magnitude_vector": "magnitude",
    "dora_scale": "magnitude",
    **{name: name for name in lokr.NAMES},
    "diff": "weight",
    "diff_b": "bias",
    "diff_m": "modulation",
}
"""How names end, and what is meant: the two matrices, the bias of the second, their alpha, DoRA's magnitudes, the
factors of a Kronecker product, or a difference of a layer's weight, bias or modulation."""
CHANGED = dict.fromkeys(ENDINGS.values(), ".weight") | {"b bias": ".bias", "bias": ".bias", "modulation": ""}
"""How the open name of the tensor that each of them changes ends."""
PICTURES = re.compile(r"add_[kv]_proj|norm_added_k|image_embedder|[kv]_img|img_emb")
"""Layers that read a picture, by whichever names."""

FIRST = "patch_in/kernel"
"""What models of text and of pictures have of different sizes."""

UNDERSCORED: Names = [
    (r"_cross_attn_([kv])_img\.", r"_attn2_add_\1_proj."),
    (r"_self_attn_", "_attn1_"),
    (r"_cross_attn_", "_attn2_"),
    (r"(_attn[12])_([qkv])\.", r"\1_to_\2."),
    (r"(_attn[12])_o\.", r"\1_to_out_0."),
    (r"_ffn_0\.", "_ffn_net_0_proj."),
    (r"_ffn_2\.", "_ffn_net_2."),
    (r"^time_embedding_0\.", "condition_embedder_time_embedder_linear_1."),
    (r"^time_embedding_2\.", "condition_embedder_time_embedder_linear_2."),
    (r"^time_projection_1\.", "condition_embedder_time_proj."),
    (r"^text_embedding_0\.", "condition_embedder_text_embedder_linear_1."),
    (r"^text_embedding_2\.", "condition_embedder_text_embedder_linear_2."),
    (r"^img_emb_proj_1\.", "condition_embedder_image_embedder_ff_net_0_proj."),
    (r"^img_emb_proj_3\.", "condition_embedder_image_embedder_ff_net_2."),
    (r"^head_head\.", "proj_out."),
]
"""Names of the original release whose dots some trainers replace."""


class Adapter(NamedTuple):
    """A file of adapters, what they are multiplied by, and the expert that they are for; None: both."""

    path: Path
    scale: float = 1.0
    expert: str | None = None


class Place(NamedTuple):
    """Where a tensor of the open names goes: the row of the table, and which of a stack; None where it is no stack."""

    row: Row
    layer: int | None

    @property
    def module(self) -> str:
        """The path of the layer whose kernel it is."""
        return self.row.ours.removesuffix("/kernel")


def places(config: DiTConfig) -> dict[str, Place]:
    """Every tensor's open name, e.g. `blocks.0.attn1.to_q.weight`, and where it goes."""
    return {
        row.theirs if layer is None else row.theirs.format(layer=layer): Place(row, layer)
        for row in dit_table(replace(config, pooled_text=False))
        for layer in (range(row.layers) if row.layers else (None,))
    }


def init_adapters(shapes: Any, rank: int, targets: str, key: jax.Array) -> dict:
    """New adapters {path: {"a": [.. in rank], "b": [.. rank out]}}, nested; b is zero, so that nothing changes yet.

    shapes: the tree of the transformer's parameters. targets: a pattern that a layer's whole path below its block, or
    from the top, must match. Raises ValueError where nothing matches, or a rank is no number of directions.
    """
    if rank < 1:
        raise ValueError(f"rank {rank} is not allowed: use 1 or more, e.g. 16")
    chosen = {}
    kernels = {
        path.removesuffix("/kernel"): leaf
        for path, leaf in flatten_dict(shapes, sep="/").items()
        if path.endswith("/kernel")
    }
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


def added(name: str, leaf: jax.Array, adapters: Mapping[str, Any], scale: float, number: int = 0) -> jax.Array:
    """The parameter `name` with `scale` times the adapters, a flat tree, in it: where it is and of its type. It may not
    be used any more; beside it there is, of a stack, one layer's change at a time. `number` counts the adapters of a
    model, so that each is `rounded` by chances of its own."""
    key = jax.random.fold_in(jax.random.key(number), crc32(name.encode()))
    a, b, m = (adapters.get(f"{name.removesuffix('/kernel')}/{part}") for part in ("a", "b", "magnitude"))
    if name.endswith("/kernel") and a is not None:
        leaf = jax.jit(_with_product, donate_argnums=0, out_shardings=leaf.sharding)(leaf, a, b, m, scale, key)
    if name in adapters:
        leaf = jax.jit(_with_sum, donate_argnums=0, out_shardings=leaf.sharding)(leaf, adapters[name], scale, key)
    return leaf


def _with_product(
    kernel: jax.Array, a: jax.Array, b: jax.Array, magnitude: jax.Array | None, scale: float, key: jax.Array
) -> jax.Array:
    if kernel.ndim == 2:
        return _with_change(kernel, jnp.matmul(a, b, precision="highest"), magnitude, scale, key)

    def one(layer: jax.Array, kernel: jax.Array) -> jax.Array:
        change = jnp.matmul(a[layer], b[layer], precision="highest")
        own = None if magnitude is None else magnitude[layer]
        return kernel.at[layer].set(_with_change(kernel[layer], change, own, scale, jax.random.fold_in(key, layer)))

    return jax.lax.fori_loop(0, len(kernel), one, kernel)


def _with_change(
    kernel: jax.Array, change: jax.Array, magnitude: jax.Array | None, scale: float, key: jax.Array
) -> jax.Array:
    """The sum, or where there are magnitudes (DoRA, Liu et al. 2024, eq. 5) its columns with these as their norms. Of a
    stack, layers without DoRA have zeros in their place."""
    if magnitude is None:
        return _with_sum(kernel, change, scale, key)
    whole = kernel.astype(jnp.float32) + scale * change
    sized = whole * (magnitude / jnp.linalg.norm(whole, axis=0))
    return rounded(jnp.where(jnp.any(magnitude != 0), sized, whole), kernel.dtype, key)


def _with_sum(leaf: jax.Array, change: jax.Array, scale: float, key: jax.Array) -> jax.Array:
    return rounded(leaf.astype(jnp.float32) + scale * change, leaf.dtype, key)


def rounded(x: jax.Array, dtype: Any, key: jax.Array) -> jax.Array:
    """float32 in a smaller type; bfloat16 is rounded up or down by chance, the more often the nearer (stochastic
    rounding, Gupta et al. 2015, section 3.1). Of changes far below a weight's last bit, as an adapter's often are,
    nothing would be left else; so their sum over many weights is right."""
    if dtype != jnp.bfloat16:
        return x.astype(dtype)
    low = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + low
    return jax.lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)


def save_lora(
    path: Path, adapters: Any, config: DiTConfig, alpha: float, said: Mapping[str, Any] | None = None
) -> None:
    """Writes adapters with diffusers' names. alpha / rank is multiplied into B, so that every reader agrees on it.

    `said` goes into the file's metadata as JSON. Raises OSError.
    """
    tensors: dict[str, np.ndarray] = {}
    flat = {name: np.asarray(leaf, np.float32) for name, leaf in flatten_dict(adapters, sep="/").items()}
    rank = next(iter(flat.values())).shape[-1] if flat else 0
    for name, place in places(config).items():
        if not name.endswith(".weight") or f"{place.module}/a" not in flat:
            continue
        name, both = name.removesuffix(".weight"), (flat[f"{place.module}/{part}"] for part in "ab")
        a, b = both if place.layer is None else (part[place.layer] for part in both)
        rank = a.shape[-1]
        tensors[f"transformer.{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
        tensors[f"transformer.{name}.lora_B.weight"] = np.ascontiguousarray(b.T * np.float32(alpha / rank))
    metadata = {"format": "pt", "rank": str(rank), "alpha": str(rank), "sorajax": json.dumps(said or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_lora(
    path: str | Path, config: DiTConfig, second: bool = False, say: Callable[[str], None] = lambda note: None
) -> dict:
    """The adapters in a file, alpha / rank multiplied in: the rank may differ from layer to layer (where they are
    stacked, smaller ones are filled up with zeros).

    `second`: those of a second expert, where the file tells the experts apart; else all serve both. `say` is told what
    is left out. Raises FileNotFoundError, and ValueError for what fits no layer, or a layer of another shape, on one
    line.
    """
    path = adapter_weights(Path(path))
    tensors, known = PickledTensors(path) if path.suffix in PICKLES else Tensors(path), places(config)
    flattened = {(layer := name.rpartition(".")[0]).replace(".", "_"): layer for name in known}
    two = any(name.startswith(SECOND) for name in tensors)
    found: dict[str, dict[str, np.ndarray]] = {}
    modules: dict[str, str] = {}
    unknown, unused = [], 0
    own = [stored for stored in tensors if not two or stored.startswith(SECOND) == second]
    check_one(path, own)
    for stored in own:
        name, part, module = _parsed(stored.removeprefix(SECOND), flattened)
        if part is not None and f"{name}{CHANGED[part]}" in known:
            found.setdefault(name, {})[part] = np.asarray(tensors[stored], np.float32)
            modules[name] = module
        elif part is not None and PICTURES.search(name) and not config.image_width:
            unused += 1
        else:
            unknown.append(stored)
    if two and not own:  # all of it is for the other expert
        return {}
    if unknown or not found:
        shown = ", ".join(unknown[:5]) or "no adapter"
        raise ValueError(
            f"{path} holds {shown}, which fits no layer of this model: it is an adapter of another model, "
            "or of another kind"
        )
    if unused:
        say(f"{path}: {unused} tensors for layers that read a picture are left out, this model has none")
    said = settings(path, SECOND if two and second else "transformer.")
    _check_dora(said, found)
    changes = [
        change for name, parts in found.items() for change in _changes(path, name, parts, known, said, modules[name])
    ]
    shapes = flatten_dict(jax.eval_shape(lambda key: init_dit(config, key), jax.random.key(0)), sep="/")
    read = shapes[FIRST].shape[0]
    if made := next((c.size[0] for c in changes if c.parameter() == FIRST and c.size[0] != read), None):
        changes = [change for change in changes if not change.what.startswith("patch_in/")]
        say(
            f"{path}: what it changes in the first layer is left out, it reads {made} values of a patch, and this "
            f"model {read}"
        )
    for change in changes:
        change.check(path, shapes)
    whats = dict.fromkeys(change.what for change in changes)
    return unflatten_dict({what: _stacked(what, changes, shapes) for what in whats}, sep="/")


def _check_dora(said: Settings, found: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raises ValueError where an adapter is said to be a DoRA and has no magnitudes."""
    if said.said.get("use_dora") and not any("magnitude" in parts for parts in found.values()):
        raise ValueError(f"{said.source} says use_dora, and the weights have no lora_magnitude_vector: save them again")


def _parsed(name: str, flattened: Mapping[str, str]) -> tuple[str, str | None, str]:
    """A stored name as (open name of the layer, or of modulation; one of the values of ENDINGS, or None for anything
    else; name of the layer in the model that was trained)."""
    name, _ = unnamed(name)
    ending = next((ending for ending in ENDINGS if name.endswith(f".{ending}")), None)
    if ending is None:
        return name, None, name
    name = name.removesuffix(f".{ending}")
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    if ENDINGS[ending] == "modulation":
        return rename(f"{name}.modulation", DIT), "modulation", name
    underscored = rename(f"{name}.", UNDERSCORED)[:-1]
    return flattened.get(underscored) or rename(f"{name}.", DIT)[:-1], ENDINGS[ending], name


class Change(NamedTuple):
    """A part of the tree that adapters are, of one layer. `what` is its path in the tree, `source` its open name, and
    `size` that of the parameter for which it is made."""

    what: str
    layer: int | None
    value: np.ndarray
    source: str
    size: tuple[int, ...]

    def parameter(self) -> str:
        """The path of the parameter that it changes."""
        return re.sub(r"/(a|b|magnitude)$", "/kernel", self.what)

    def check(self, path: str | Path, shapes: Mapping[str, Any]) -> None:
        """Raises ValueError where the parameter of these shapes has another size."""
        wanted = shapes[self.parameter()].shape[0 if self.layer is None else 1 :]
        if self.size != wanted:
            made, here = (" x ".join(map(str, size)) for size in (self.size, wanted))
            raise ValueError(
                f"{path}: {self.source} is made for {made}, and this model has {here}: it is an adapter "
                "of another model"
            )


def _changes(
    path: Path, name: str, parts: Mapping[str, np.ndarray], known: Mapping[str, Place], said: Settings, module: str
) -> Iterator[Change]:
    """What a layer's tensors in a file say; `module` is its name there."""
    strength = 1.0
    if parts.keys() & {"a", "b", "b bias", "magnitude"}:
        if not {"a", "b"} <= parts.keys():
            raise ValueError(f"{path}: {name} has only one of its two matrices: get the file again")
        (row, layer), place = known[f"{name}.weight"], known[f"{name}.weight"].module
        if place == row.ours:
            raise ValueError(f"{path}: {name} is no matrix, and has a pair of them: it is an adapter of another model")
        rank = len(parts["a"])
        strength = parts["alpha"].item() / rank if "alpha" in parts else said.strength(module, rank)
        a = turned(row, row.layout, parts["a"]) if parts["a"].ndim == 5 else parts["a"].reshape(rank, -1).T
        b = parts["b"].reshape(len(parts["b"]), -1).T * np.float32(strength)
        yield Change(f"{place}/a", layer, a, name, (len(a), b.shape[1]))
        yield Change(f"{place}/b", layer, b, name, (len(a), b.shape[1]))
        if (magnitude := parts.get("magnitude")) is not None:
            if magnitude.ndim == 2 and len(magnitude) == 1 < magnitude.size:
                raise ValueError(
                    f"{path}: {name} has a magnitude for each input, and only those of outputs can be "
                    "added: train with wd_on_output"
                )
            yield Change(f"{place}/magnitude", layer, magnitude.reshape(-1), name, (len(a), magnitude.size))
    if parts.keys() & set(lokr.NAMES):
        row, layer = known[f"{name}.weight"]
        value = turned(row, row.layout, _kronecker(path, name, parts, said, module))
        yield Change(row.ours, layer, value, name, value.shape)
    for part in parts.keys() & {"weight", "modulation"}:
        row, layer = known[f"{name}{CHANGED[part]}"]
        value = turned(row, row.layout, parts[part])
        yield Change(row.ours, layer, value, name, value.shape)
    if parts.keys() & {"bias", "b bias"}:
        row, layer = known[f"{name}.bias"]
        bias = np.asarray(parts.get("bias", 0) + np.float32(strength) * parts.get("b bias", 0))
        yield Change(row.ours, layer, bias, name, bias.shape)


def _kronecker(path: Path, name: str, parts: Mapping[str, np.ndarray], said: Settings, module: str) -> np.ndarray:
    """The difference that a LoKr's factors make."""
    try:
        one, two, rank = lokr.factors(parts)
    except KeyError as error:
        raise ValueError(f"{path}: {name} has no {error.args[0]}: get the file again") from error
    if said.said.get("peft_type") == "LOKR":
        strength = said.strength(module, rank)
    else:
        strength = parts["alpha"].item() / rank if rank and "alpha" in parts else 1.0
    return lokr.product(one, two) * np.float32(strength)


def _stacked(what: str, changes: list[Change], shapes: Mapping[str, Any]) -> np.ndarray:
    """One part of the tree, of all layers."""
    own = [change for change in changes if change.what == what]
    if own[0].layer is None:
        return own[0].value
    sizes = np.max([change.value.shape for change in own], 0)  # ranks may differ
    whole = np.zeros((shapes[own[0].parameter()].shape[0], *sizes), np.float32)
    for change in own:
        whole[(change.layer, *map(slice, change.value.shape))] = change.value
    return whole


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
    return in_metadata(adapter_weights(path), "sorajax").get("expert")


def named_expert(path: Path, files: Collection[Path]) -> str | None:
    """The expert that a file of others is for by its name or its folder's, as in "style_high_noise.safetensors", or by
    being one of two among `files` that are named alike, as "style_HIGH.safetensors" and "style_LOW.safetensors" are."""
    name, *others = ("/".join(file.parts[-2:]).lower() for file in (path, *files))
    if named := [word for word in EXPERTS if re.search(rf"(?<![a-z]){word}[ _-]?noise", name)]:
        return named[0] if len(named) == 1 else None
    for word, other in ("high", "low"), ("low", "high"):
        places = re.finditer(rf"(?<![a-z]){word}(?![a-z])", name)
        if any(name[: place.start()] + other + name[place.end() :] in others for place in places):
            return word
    return None
