"""LoRA and other adapters of the transformer: import and export of their files, and merging into the weights.

    W' = W + scale * (alpha / rank) * B A          (Hu et al. 2021, eq. 3; our kernels are W transposed)
    W' = W + scale * D                             for a full difference of a norm, a bias or the modulation, or for a
                                                   Kronecker product (LoKr, see `pretrained.lokr`)

PEFT's settings (rank and alpha of single layers, rsLoRA, DoRA) apply, see `pretrained.peft`.

Written names are those of diffusers and PEFT (`transformer.blocks.0.attn1.to_q.lora_A.weight`). Those of the original
release and of other trainers are read, too (`diffusion_model.blocks.0.self_attn.q.lora_down.weight`, with `.alpha`, and
`lora_unet_blocks_0_self_attn_q...`), with full differences (`.diff`, `.diff_b`, `.diff_m`). Reading is strict: a tensor
that matches no layer raises an error that names it. There are two exceptions, each with a note, because files are used
for text-to-video and image-to-video models alike: updates of image layers are dropped where the model has none, and
updates of the first layer where its number of channels differs.

In memory, adapters are a tree with {"a": [.. in rank], "b": [.. rank out]} for a kernel, and "magnitude" [.. out] for
DoRA; an additive update of any other parameter has the parameter's path.
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
from sorajax.pretrained.peft import (
    Settings,
    adapter_weights,
    check_one,
    json_metadata,
    read_settings,
    split_adapter_name,
)
from sorajax.pretrained.pickles import PICKLES, PickledTensors
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.table import Row, rearrange_tensor
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
"""Prefix of the tensors for the second expert."""
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
"""End of a tensor's name -> its role: the two matrices, the bias of the second, their alpha, DoRA's magnitudes, the
factors of a Kronecker product, or a difference of a layer's weight, bias or modulation."""
CHANGED = dict.fromkeys(ENDINGS.values(), ".weight") | {"b bias": ".bias", "bias": ".bias", "modulation": ""}
"""Role -> end of the diffusers name of the tensor that it updates."""
PICTURES = re.compile(r"add_[kv]_proj|norm_added_k|image_embedder|[kv]_img|img_emb")
"""Names of layers that attend to image tokens, in all layouts."""

FIRST = "patch_in/kernel"
"""The parameter whose size differs between text-to-video and image-to-video models."""

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
"""Names of the original release in which some trainers replace dots by underscores."""


class Adapter(NamedTuple):
    """The file of an adapter, its scale, and the expert that it is for; None: both."""

    path: Path
    scale: float = 1.0
    expert: str | None = None


class Place(NamedTuple):
    """The destination of a tensor: the row of the table, and the index in the stack of layers (None: no stack)."""

    row: Row
    layer: int | None

    @property
    def module(self) -> str:
        """The path of the layer that the kernel belongs to."""
        return self.row.ours.removesuffix("/kernel")


def adapter_places(config: DiTConfig) -> dict[str, Place]:
    """Diffusers name of every tensor, e.g. `blocks.0.attn1.to_q.weight`, -> its destination."""
    return {
        row.theirs if layer is None else row.theirs.format(layer=layer): Place(row, layer)
        for row in dit_table(replace(config, pooled_text=False))
        for layer in (range(row.layers) if row.layers else (None,))
    }


def init_adapters(shapes: Any, rank: int, targets: str, key: jax.Array) -> dict:
    """New adapters {path: {"a": [.. in rank], "b": [.. rank out]}}, nested; b is zero: the model does not change.

    shapes: the tree of the transformer's parameters. targets: a regular expression for the full path of a layer within
    its block, or from the top for other layers. Raises ValueError where no layer matches, and for ranks below 1.
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


def add_adapter(name: str, leaf: jax.Array, adapters: Mapping[str, Any], scale: float, number: int = 0) -> jax.Array:
    """The parameter `name` plus `scale` times its update in `adapters`, a flat tree; sharding and dtype do not change.

    The leaf is donated, so the caller must not use it again; for a stack, only one layer's update is in memory at a
    time. `number` is the adapter's index in the model, so that the random rounding of several adapters is independent.
    """
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
    """The sum; with magnitudes (DoRA, Liu et al. 2024, eq. 5), its columns normalised to them. In a stack, magnitudes
    of zero mark layers without DoRA."""
    if magnitude is None:
        return _with_sum(kernel, change, scale, key)
    updated = kernel.astype(jnp.float32) + scale * change
    normalised = updated * (magnitude / jnp.linalg.norm(updated, axis=0))
    return round_stochastically(jnp.where(jnp.any(magnitude != 0), normalised, updated), kernel.dtype, key)


def _with_sum(leaf: jax.Array, change: jax.Array, scale: float, key: jax.Array) -> jax.Array:
    return round_stochastically(leaf.astype(jnp.float32) + scale * change, leaf.dtype, key)


def round_stochastically(x: jax.Array, dtype: Any, key: jax.Array) -> jax.Array:
    """float32 in another dtype, with stochastic rounding (Gupta et al. 2015, section 3.1) for bfloat16: up or down at
    random, with the exact value as expectation. Deterministic rounding would lose updates far below a weight's last
    bit, as an adapter's often are; with stochastic rounding their sum over many weights is right."""
    if dtype != jnp.bfloat16:
        return x.astype(dtype)
    low = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + low
    return jax.lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)


def save_lora(
    path: Path, adapters: Any, config: DiTConfig, alpha: float, description: Mapping[str, Any] | None = None
) -> None:
    """Writes adapters with diffusers' names. alpha / rank is multiplied into B, so that all readers apply it.

    `description` is stored in the file's metadata as JSON. Raises OSError where the file cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    flat = {name: np.asarray(leaf, np.float32) for name, leaf in flatten_dict(adapters, sep="/").items()}
    rank = next(iter(flat.values())).shape[-1] if flat else 0
    for name, place in adapter_places(config).items():
        if not name.endswith(".weight") or f"{place.module}/a" not in flat:
            continue
        name, both = name.removesuffix(".weight"), (flat[f"{place.module}/{part}"] for part in "ab")
        a, b = both if place.layer is None else (part[place.layer] for part in both)
        rank = a.shape[-1]
        tensors[f"transformer.{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
        tensors[f"transformer.{name}.lora_B.weight"] = np.ascontiguousarray(b.T * np.float32(alpha / rank))
    metadata = {"format": "pt", "rank": str(rank), "alpha": str(rank), "sorajax": json.dumps(description or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_lora(
    path: str | Path, config: DiTConfig, second: bool = False, say: Callable[[str], None] = lambda note: None
) -> dict:
    """The adapters in a file, with alpha / rank multiplied into them. Ranks may differ between layers; in a stack,
    smaller ones are padded with zeros.

    `second`: those of the second expert, where the file distinguishes experts; otherwise both experts have the same.
    `say` prints what is dropped. Raises FileNotFoundError, and ValueError for tensors that match no layer or shape.
    """
    path = adapter_weights(Path(path))
    tensors, known = PickledTensors(path) if path.suffix in PICKLES else Tensors(path), adapter_places(config)
    flattened = {(layer := name.rpartition(".")[0]).replace(".", "_"): layer for name in known}
    has_experts = any(name.startswith(SECOND) for name in tensors)
    layers: dict[str, dict[str, np.ndarray]] = {}
    modules: dict[str, str] = {}
    unknown, unused = [], 0
    own = [stored for stored in tensors if not has_experts or stored.startswith(SECOND) == second]
    check_one(path, own)
    for stored in own:
        name, part, module = _parsed(stored.removeprefix(SECOND), flattened)
        if part is not None and f"{name}{CHANGED[part]}" in known:
            layers.setdefault(name, {})[part] = np.asarray(tensors[stored], np.float32)
            modules[name] = module
        elif part is not None and PICTURES.search(name) and not config.image_width:
            unused += 1
        else:
            unknown.append(stored)
    if has_experts and not own:  # all tensors are for the other expert
        return {}
    if unknown or not layers:
        examples = ", ".join(unknown[:5]) or "no adapter"
        raise ValueError(
            f"{path} holds {examples}, which fits no layer of this model: it is an adapter of another model, "
            "or of another kind"
        )
    if unused:
        say(f"{path}: {unused} tensors for layers that read a picture are left out, this model has none")
    settings = read_settings(path, SECOND if has_experts and second else "transformer.")
    _check_dora(settings, layers)
    changes = [
        change for name, own in layers.items() for change in _changes(path, name, own, known, settings, modules[name])
    ]
    shapes = flatten_dict(jax.eval_shape(lambda key: init_dit(config, key), jax.random.key(0)), sep="/")
    read = shapes[FIRST].shape[0]
    if made_for := next((c.size[0] for c in changes if c.parameter() == FIRST and c.size[0] != read), None):
        changes = [change for change in changes if not change.what.startswith("patch_in/")]
        say(
            f"{path}: what it changes in the first layer is left out, it reads {made_for} values of a patch, and this "
            f"model {read}"
        )
    for change in changes:
        change.check(path, shapes)
    targets = dict.fromkeys(change.what for change in changes)
    return unflatten_dict({what: _stacked(what, changes, shapes) for what in targets}, sep="/")


def _check_dora(settings: Settings, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raises ValueError where the settings say DoRA and there are no magnitudes."""
    if settings.values.get("use_dora") and not any("magnitude" in parts for parts in layers.values()):
        raise ValueError(f"{settings.source} says use_dora, and no tensor is a lora_magnitude_vector: save it again")


def _parsed(name: str, flattened: Mapping[str, str]) -> tuple[str, str | None, str]:
    """(diffusers name of the layer, or of the modulation; role, one of the values of ENDINGS, or None; name of the
    layer in the model that was trained) of a stored name."""
    name, _ = split_adapter_name(name)
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
    """A leaf of the adapters' tree, for one layer: `what` is its path in the tree, `source` the layer's diffusers name,
    and `size` the shape of the parameter that it is made for."""

    what: str
    layer: int | None
    value: np.ndarray
    source: str
    size: tuple[int, ...]

    def parameter(self) -> str:
        """The path of the parameter that it updates."""
        return re.sub(r"/(a|b|magnitude)$", "/kernel", self.what)

    def check(self, path: str | Path, shapes: Mapping[str, Any]) -> None:
        """Raises ValueError where the parameter in `shapes` has another shape."""
        expected = shapes[self.parameter()].shape[0 if self.layer is None else 1 :]
        if self.size != expected:
            made_for, here = (" x ".join(map(str, size)) for size in (self.size, expected))
            raise ValueError(
                f"{path}: {self.source} is made for {made_for}, and this model has {here}: it is an adapter "
                "of another model"
            )


def _changes(
    path: Path,
    name: str,
    parts: Mapping[str, np.ndarray],
    known: Mapping[str, Place],
    settings: Settings,
    module: str,
) -> Iterator[Change]:
    """The updates in a layer's tensors; `module` is the layer's name in the file."""
    strength = 1.0
    if parts.keys() & {"a", "b", "b bias", "magnitude"}:
        if not {"a", "b"} <= parts.keys():
            raise ValueError(f"{path}: {name} has only one of its two matrices: get the file again")
        (row, layer), place = known[f"{name}.weight"], known[f"{name}.weight"].module
        if place == row.ours:
            raise ValueError(f"{path}: {name} is no matrix, and has a low-rank pair: it is an adapter of another model")
        rank = len(parts["a"])
        strength = parts["alpha"].item() / rank if "alpha" in parts else settings.strength(module, rank)
        a = rearrange_tensor(row, row.layout, parts["a"]) if parts["a"].ndim == 5 else parts["a"].reshape(rank, -1).T
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
        value = rearrange_tensor(row, row.layout, _kronecker(path, name, parts, settings, module))
        yield Change(row.ours, layer, value, name, value.shape)
    for part in parts.keys() & {"weight", "modulation"}:
        row, layer = known[f"{name}{CHANGED[part]}"]
        value = rearrange_tensor(row, row.layout, parts[part])
        yield Change(row.ours, layer, value, name, value.shape)
    if parts.keys() & {"bias", "b bias"}:
        row, layer = known[f"{name}.bias"]
        bias = np.asarray(parts.get("bias", 0) + np.float32(strength) * parts.get("b bias", 0))
        yield Change(row.ours, layer, bias, name, bias.shape)


def _kronecker(path: Path, name: str, parts: Mapping[str, np.ndarray], settings: Settings, module: str) -> np.ndarray:
    """The difference of the weights from the factors of a LoKr."""
    try:
        first, second, rank = lokr.factors(parts)
    except KeyError as error:
        raise ValueError(f"{path}: {name} has no {error.args[0]}: get the file again") from error
    if settings.values.get("peft_type") == "LOKR":
        strength = settings.strength(module, rank)
    else:
        strength = parts["alpha"].item() / rank if rank and "alpha" in parts else 1.0
    return lokr.product(first, second) * np.float32(strength)


def _stacked(what: str, changes: list[Change], shapes: Mapping[str, Any]) -> np.ndarray:
    """A leaf of the adapters' tree, stacked over all layers."""
    layers = [change for change in changes if change.what == what]
    if layers[0].layer is None:
        return layers[0].value
    sizes = np.max([change.value.shape for change in layers], 0)  # ranks may differ
    stack = np.zeros((shapes[layers[0].parameter()].shape[0], *sizes), np.float32)
    for change in layers:
        stack[(change.layer, *map(slice, change.value.shape))] = change.value
    return stack


def parse_lora(text: str) -> Adapter:
    """An adapter from "FILE" or "FILE:SCALE", optionally with the prefix "high=" or "low=".

    Raises ValueError for a scale that is not a number.
    """
    before, _, rest = text.partition("=")
    expert, text = (before, rest) if before in EXPERTS and not Path(text).exists() else (None, text)
    name, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists() or scale.startswith("//"):
        return Adapter(Path(text).expanduser(), 1.0, expert)
    try:
        return Adapter(Path(name).expanduser(), float(scale), expert)
    except ValueError:
        raise ValueError(f"{text}: {scale!r} is no scale: write FILE or FILE:SCALE, e.g. a.safetensors:0.8") from None


def trained_expert(path: Path) -> str | None:
    """The expert that an adapter of sorajax was trained for; None for other files."""
    return json_metadata(adapter_weights(path), "sorajax").get("expert")


def named_expert(path: Path, files: Collection[Path]) -> str | None:
    """The expert that an adapter is for by the name of file or folder ("style_high_noise.safetensors"), or as one of a
    pair among `files` ("style_HIGH.safetensors", "style_LOW.safetensors"); None where names do not say."""
    name, *others = ("/".join(file.parts[-2:]).lower() for file in (path, *files))
    if named := [word for word in EXPERTS if re.search(rf"(?<![a-z]){word}[ _-]?noise", name)]:
        return named[0] if len(named) == 1 else None
    for word, other in ("high", "low"), ("low", "high"):
        matches = re.finditer(rf"(?<![a-z]){word}(?![a-z])", name)
        if any(name[: match.start()] + other + name[match.end() :] in others for match in matches):
            return word
    return None
