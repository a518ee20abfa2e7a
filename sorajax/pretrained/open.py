"""Opens every kind of model, from a folder or a name on the hub, as parts that are loaded on use."""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict

from sorajax.devices.placement import Placement, choose_placement
from sorajax.devices.residency import Parts, memory_of_devices
from sorajax.files import write_atomically
from sorajax.models.folder import by_name, load_model
from sorajax.models.quantized import Bits, quantized_leaf
from sorajax.models.sora import EXPERTS, SoraConfig
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.converted import CONVERTED, cast_parameters, open_converted, with_dtype
from sorajax.pretrained.hub import adapter_file, is_path, resolve_model
from sorajax.pretrained.lora import Adapter, add_adapter, load_lora, named_expert, parse_lora, trained_expert
from sorajax.pretrained.part import Part, map_parameters
from sorajax.pretrained.presets import with_preset
from sorajax.pretrained.table import Finish
from sorajax.pretrained.wan_folder import is_open_model, model_name, open_model

EXTERNAL_PARTS = "borrowed.json"
QUANTIZED = {"text", "dit", "dit_low"}
Lora = str | tuple[str | Path, float]
"""An adapter: "FILE", "FILE:SCALE" or (file, scale); for one of two experts also "high=FILE", "low=FILE:SCALE"."""


class PartSource(NamedTuple):
    """Loader of a part, which puts it on devices and applies a function to each parameter, and its size in bytes after
    loading."""

    load: Callable[[Placement, Finish], Any]
    bytes: Callable[[Bits | None], int]


def open_parts(
    model: str | Path,
    dtype: Dtype | None,
    loras: Sequence[Lora] = (),
    bits: Bits | None = None,
    limited: bool = True,
    mesh: str | None = None,
    folder: Path | None = None,
    preset: str | None = None,
) -> tuple[SoraConfig, Parts, str, str]:
    """A model's config, its parts, the JSON of its tokenizer, and its name.

    `model` is a folder (an exported model, a training directory, open weights in either layout, or converted ones) or
    the name of open weights on the Hugging Face hub. Adapters are merged, and with `bits` transformers and text encoder
    are quantized, parameter by parameter while they are loaded. `limited`: parts share the devices' memory, and a part
    that does not fit raises ValueError; otherwise memory is not limited. mesh: see `choose_placement`.
    folder: where the model is, if the caller knows. preset: see `with_preset`. Raises FileNotFoundError and ValueError,
    each on one line.
    """
    folder = folder or resolve_model(model)
    config, sources, tokenizer, name = _opened(folder, model_name(folder) if is_path(model) else str(model), dtype)
    adapters = adapters_of(config, loras)
    files = [(adapter_file(lora.path), lora.scale) for lora in map(parsed, loras)]
    config = with_preset(config, preset, files, name)
    quantization = {part: bits if part in QUANTIZED else None for part in sources}
    sizes = {part: source.bytes(quantization[part]) for part, source in sources.items()}
    memory = memory_of_devices()
    placement = choose_placement(
        mesh,
        config.guidance_scale != 1,
        window_tokens(config),
        config.dit.heads,
        sizes,
        memory // jax.local_device_count(),
    )
    loaders = {
        part: partial(source.load, placement, partial(finish_parameter, adapters.get(part, ()), quantization[part]))
        for part, source in sources.items()
    }
    sizes = {part: size * placement.copies for part, size in sizes.items()}
    if bits is not None:
        config = quantized(config, bits)
    memory *= jax.process_count() if placement.spans_hosts else 1
    return config, Parts(loaders, sizes, memory if limited else None, placement), tokenizer, name


def quantized(config: SoraConfig, bits: Bits) -> SoraConfig:
    """The config of a model that samples with 8-bit weights."""
    dit = replace(config.dit, quantized=True, int8_products=bits == "int8")
    return replace(config, text=replace(config.text, quantized=True), dit=dit)


def finish_parameter(
    adapters: Sequence[tuple[Mapping[str, Any], float]], bits: Bits | None, name: str, leaf: Any
) -> Any:
    """A parameter with all adapters merged, each times its scale, and quantized with `bits`."""
    for number, (adapter, scale) in enumerate(adapters):
        leaf = add_adapter(name, leaf, adapter, scale, number)
    return leaf if bits is None else quantized_leaf(name, leaf, bits)


def _opened(folder: Path, name: str, dtype: Dtype | None) -> tuple[SoraConfig, dict[str, PartSource], str, str]:
    """As `open_parts`, with a `PartSource` for each part; `name` is the name of open weights."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: give the folder of the model, and an adapter with --lora")
    weights_dtype: Dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    if (folder / CONVERTED).is_dir():
        opened, stored = open_converted(folder, dtype)
        sources = {part: streamed_source(source, dtype or stored) for part, source in opened.parts.items()}
        return opened.config, sources, opened.tokenizer, folder.name
    if is_open_model(folder):
        opened = open_model(folder, weights_dtype, name)
        sources = {part: streamed_source(source, weights_dtype) for part, source in opened.parts.items()}
        return opened.config, sources, opened.tokenizer, name
    config, params, tokenizer = load_model(folder, SoraConfig)
    if tokenizer is None:
        raise FileNotFoundError(f"{folder} has no tokenizer.json: export the model again, with its tokenizer")
    external_parts = read_external_parts(folder)
    weights_dtype = dtype or (
        "bfloat16" if config.dit.dtype == "bfloat16" else "float32"
    )  # the dtype that training used for them
    sources = {part: source_in_memory(cast_parameters(config, part, values, dtype)) for part, values in params.items()}
    for part, owner in external_parts.items():
        if is_open_model(owner):
            external = open_model(owner, weights_dtype).parts[part]
            sources[part] = streamed_source(external, weights_dtype)
            if part == "text":
                config = replace(config, text=external.config)
        else:
            sources[part] = source_in_memory(
                cast_parameters(config, part, load_model(owner, SoraConfig)[1][part], dtype)
            )
    return with_dtype(config, dtype), sources, tokenizer, folder.name


def window_tokens(config: SoraConfig) -> int:
    """Tokens of the clip that a model samples by default."""
    latent = config.vae.latent_shape(config.frames[0], *config.sizes[0])
    return math.prod(-(-size // patch) for size, patch in zip(latent[:3], config.dit.patch, strict=True))


def streamed_source(part: Part, dtype: Dtype) -> PartSource:
    """Streams a part of open weights to its devices. Raises ValueError where its tensors do not match its config."""
    part.check()
    return PartSource(
        lambda placement, finish: part.load(dtype, placement.shardings, finish), partial(part.bytes, dtype)
    )


def source_in_memory(params: Any) -> PartSource:
    """A part in host memory, which is put on its devices."""

    def load(placement: Placement, finish: Finish) -> Any:
        return map_parameters(placement.place(params), finish)

    return PartSource(load, lambda bits: sum(leaf.nbytes for leaf in jax.tree.leaves(params)))


def write_external_parts(folder: Path, external_parts: Mapping[str, Path]) -> None:
    """Records in a model folder that parts of the model are in other folders, which must not be moved."""
    text = json.dumps({part: str(owner.expanduser().absolute()) for part, owner in external_parts.items()}, indent=2)
    write_atomically(folder / EXTERNAL_PARTS, lambda path: path.write_text(text))


def read_external_parts(folder: Path) -> dict[str, Path]:
    """{part: folder} of the parts of a model folder or training directory that are in other models' folders. Relative
    paths are from the model folder.

    Raises FileNotFoundError where such a folder is missing.
    """
    folder = by_name(folder)
    file = next((path for home in (folder, folder / "model") if (path := home / EXTERNAL_PARTS).exists()), None)
    if file is None:
        return {}
    external_parts = {name: file.parent / owner for name, owner in json.loads(file.read_text()).items()}
    for name, owner in external_parts.items():
        if not owner.is_dir():
            raise FileNotFoundError(
                f"{file} says that {name} is in {owner}, which is missing: restore that folder, or "
                "write its new path into this file"
            )
    return external_parts


def parsed(lora: Lora) -> Adapter:
    """File, scale and expert of an adapter. Raises ValueError for a scale that is no number."""
    return parse_lora(lora) if isinstance(lora, str) else Adapter(Path(lora[0]), lora[1])


def adapters_of(config: SoraConfig, loras: Sequence[Lora]) -> dict[str, list[tuple[Mapping[str, Any], float]]]:
    """(flat tree, scale) of the adapters of each transformer: {"dit": ..., "dit_low": ...}. Notes say for which expert
    an adapter is used. Raises FileNotFoundError and ValueError."""
    files = [parsed(lora) for lora in loras]
    if named := [file for file in files if file.expert is not None and config.boundary is None]:
        raise ValueError(
            f"--lora {named[0].expert}={named[0].path}: the model has one transformer, leave out {named[0].expert}="
        )
    files = [file._replace(path=adapter_file(file.path)) for file in files]
    notes: list[str] = []
    for number, (path, _, expert) in enumerate(files):
        if config.boundary is None:
            if trained := trained_expert(path):
                notes.append(f"{path} was trained for one of two experts ({trained}), and this model has no two")
        elif not expert and not (expert := trained_expert(path)):
            expert = named_expert(path, [file.path for file in files])
            use = f"is used for the {expert} expert, by its name" if expert else "is used for both experts"
            notes.append(f"{path} {use}: write high=FILE or low=FILE to choose another")
        files[number] = files[number]._replace(expert=expert)
    by_part = {
        which: [
            (flatten_dict(load_lora(path, config.dit, which == "dit_low", notes.append), sep="/"), scale)
            for path, scale, file_expert in files
            if file_expert in (None, expert)
        ]
        for expert, which in EXPERTS.items()
        if expert == "high" or config.boundary is not None
    }
    for trees in by_part.values():
        check_dora([tree for tree, _ in trees if tree])
    for text in dict.fromkeys(notes):
        print(f"note: {text}", file=sys.stderr)
    return by_part


def check_dora(trees: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError where one of several adapters is a DoRA, whose update is not additive."""
    if len(trees) > 1 and any(name.endswith("/magnitude") for tree in trees for name in tree):
        raise ValueError(
            "one of the adapters is a DoRA, whose update depends on the weights that it is added to, and "
            "the others change them: use it by itself"
        )
