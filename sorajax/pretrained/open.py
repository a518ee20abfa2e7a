"""One door to every model: a folder or a name on the hub, as parts that are read when they are used."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict

from sorajax.devices.residency import Parts, memory_of_devices
from sorajax.devices.sharding import mesh_of_all_devices, shardings
from sorajax.files import write_atomically
from sorajax.models.folder import load_model
from sorajax.models.quantized import Bits, quantized_leaf
from sorajax.models.sora import EXPERTS, SoraConfig
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.converted import CONVERTED, open_converted, stored_in, typed
from sorajax.pretrained.hub import adapter_file, found, is_path
from sorajax.pretrained.lora import Adapter, added, load_lora, named_expert, parse_lora, trained_expert
from sorajax.pretrained.part import Part, each_finished
from sorajax.pretrained.table import Finish
from sorajax.pretrained.wan_folder import is_open_model, model_name, open_model

BORROWED = "borrowed.json"
QUANTIZED = {"text", "dit", "dit_low"}
Lora = str | tuple[str | Path, float]
"""An adapter: "FILE", "FILE:SCALE" or (file, scale); of one of two experts also "high=FILE", "low=FILE:SCALE"."""


class PartSource(NamedTuple):
    """Where a part comes from: what reads it, each parameter through a function, and how many bytes it takes then."""

    load: Callable[[Finish], Any]
    bytes: Callable[[Bits | None], int]


def open_parts(
    model: str | Path,
    dtype: Dtype | None,
    loras: Sequence[Lora] = (),
    bits: Bits | None = None,
    limited: bool = True,
) -> tuple[SoraConfig, Parts, str, str]:
    """A model's config, parts, the text of its tokenizer, and its name.

    `model` is a folder: an exported model, a training directory, open weights in either layout, or converted ones; or
    the name of open weights on the Hugging Face hub. Adapters are merged, and with `bits` the weights of transformers
    and text encoder become small, parameter by parameter as they are read. `limited`: parts share the memory of the
    devices, and one that does not fit is refused; else each is read alone.
    Raises FileNotFoundError and ValueError, each on one line.
    """
    folder = found(model)
    config, sources, tokenizer, name = _opened(folder, model_name(folder) if is_path(model) else str(model), dtype)
    adapters = adapters_of(config, loras)
    small = {part: bits if part in QUANTIZED else None for part in sources}
    loaders = {
        part: partial(source.load, partial(finished, adapters.get(part, ()), small[part]))
        for part, source in sources.items()
    }
    sizes = {part: source.bytes(small[part]) for part, source in sources.items()}
    if bits is not None:
        config = replace(config, text=replace(config.text, quantized=True), dit=replace(config.dit, quantized=True))
    return config, Parts(loaders, sizes, memory_of_devices() if limited else None), tokenizer, name


def finished(adapters: Sequence[tuple[Mapping[str, Any], float]], bits: Bits | None, name: str, leaf: Any) -> Any:
    """A parameter as it is used: with every adapter in it, each times its scale, and in 8 bits where it shall be."""
    for number, (adapter, scale) in enumerate(adapters):
        leaf = added(name, leaf, adapter, scale, number)
    return leaf if bits is None else quantized_leaf(name, leaf, bits)


def _opened(folder: Path, name: str, dtype: Dtype | None) -> tuple[SoraConfig, dict[str, PartSource], str, str]:
    """As `open_parts`, with where parts come from in their place; `name` is what open weights are called."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: give the folder of the whole model, and an adapter with --lora")
    wanted: Dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    if (folder / CONVERTED).is_dir():
        opened, stored = open_converted(folder, dtype)
        sources = {part: streamed(source, dtype or stored) for part, source in opened.parts.items()}
        return opened.config, sources, opened.tokenizer, folder.name
    if is_open_model(folder):
        opened = open_model(folder, wanted, name)
        sources = {part: streamed(source, wanted) for part, source in opened.parts.items()}
        return opened.config, sources, opened.tokenizer, name
    config, params, tokenizer = load_model(folder, SoraConfig)
    if tokenizer is None:
        raise FileNotFoundError(f"{folder} has no tokenizer.json: export the model again, with its tokenizer")
    external_parts = borrowed(folder)
    wanted = dtype or ("bfloat16" if config.dit.dtype == "bfloat16" else "float32")  # as what was trained beside them
    mesh = mesh_of_all_devices() if external_parts else None  # all parts of a model are on the same devices
    sources = {part: there(stored_in(config, part, values, dtype), mesh) for part, values in params.items()}
    for part, lender in external_parts.items():
        if is_open_model(lender):
            external = open_model(lender, wanted).parts[part]
            sources[part] = streamed(external, wanted)
            if part == "text":
                config = replace(config, text=external.config)
        else:
            sources[part] = there(stored_in(config, part, load_model(lender, SoraConfig)[1][part], dtype), mesh)
    return typed(config, dtype), sources, tokenizer, folder.name


def streamed(part: Part, dtype: Dtype) -> PartSource:
    """A part of open weights, onto all devices. Raises ValueError where its tensors are not those of its config."""
    part.check()
    return PartSource(lambda finish: part.load(dtype, mesh_of_all_devices(), finish), partial(part.bytes, dtype))


def there(params: Any, mesh: jax.sharding.Mesh | None = None) -> PartSource:
    """A part that is in the host's memory, onto the devices of `mesh`, or the first one."""

    def load(finish: Finish) -> Any:
        return each_finished(jax.device_put(params, None if mesh is None else shardings(params, mesh)), finish)

    return PartSource(load, lambda bits: sum(leaf.nbytes for leaf in jax.tree.leaves(params)))


def borrow(folder: Path, external_parts: Mapping[str, Path]) -> None:
    """Says in a model folder that parts are those of other folders, which must stay where they are."""
    said = json.dumps({part: str(lender.expanduser().absolute()) for part, lender in external_parts.items()}, indent=2)
    write_atomically(folder / BORROWED, lambda path: path.write_text(said))


def borrowed(folder: Path) -> dict[str, Path]:
    """Parts that a model folder or training directory has from another model.

    Raises FileNotFoundError where that is gone.
    """
    file = next((path for home in (folder, folder / "model") if (path := home / BORROWED).exists()), None)
    if file is None:
        return {}
    external_parts = {name: Path(lender) for name, lender in json.loads(file.read_text()).items()}
    for name, lender in external_parts.items():
        if not lender.is_dir():
            raise FileNotFoundError(
                f"{file} says that {name} is in {lender}, which is gone: put that folder back, or "
                "write where it is now into this file"
            )
    return external_parts


def adapters_of(config: SoraConfig, loras: Sequence[Lora]) -> dict[str, list[tuple[Mapping[str, Any], float]]]:
    """Adapters, flat trees and their scales, by the transformer or expert that they are for. Raises FileNotFoundError
    and ValueError."""
    files = [parse_lora(lora) if isinstance(lora, str) else Adapter(Path(lora[0]), lora[1]) for lora in loras]
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
            taken = f"is taken for the {expert} expert, as its name says" if expert else "serves both experts"
            notes.append(f"{path} {taken}: else write high=FILE or low=FILE")
        files[number] = files[number]._replace(expert=expert)
    by_part = {
        which: [
            (flatten_dict(load_lora(path, config.dit, which == "dit_low", notes.append), sep="/"), scale)
            for path, scale, meant in files
            if meant in (None, expert)
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
    """Raises ValueError where one of several adapters is a DoRA: it is not a sum."""
    if len(trees) > 1 and any(name.endswith("/magnitude") for tree in trees for name in tree):
        raise ValueError(
            "one of the adapters is a DoRA, whose change depends on the weights that it is added to, and "
            "the others change them: use it by itself"
        )
