"""A model's parts in memory: text encoder, transformer, autoencoder, each there while it is used.

A small model stays whole. Of a large one each part is read when it is asked for, and the one used longest ago leaves
when the device would be too full: the text encoder first, then the transformer, then the decoder; but one of two
experts leaves for the other.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict

from sorajax.checkpoint import load_model, write_atomically
from sorajax.models.quantized import Bits, quantized_leaf
from sorajax.models.sora import EXPERTS, SoraConfig
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.converted import CONVERTED, open_converted, stored_in, typed
from sorajax.pretrained.hub import adapter_file, found, is_path
from sorajax.pretrained.lora import Adapter, added, load_lora, named_expert, parse_lora, trained_expert
from sorajax.pretrained.opened import is_open_model, model_name, open_model
from sorajax.pretrained.part import Part, each_finished
from sorajax.pretrained.table import Finish
from sorajax.sharding import shardings, whole_machine

CONTAINER = Path("/sys/fs/cgroup")
FULLEST = 0.6  # of the memory that parts may take together; the rest is for what is computed
BORROWED = "borrowed.json"
QUANTIZED = {"text", "dit", "dit_low"}
Lora = str | tuple[str | Path, float]
"""An adapter: "FILE", "FILE:SCALE" or (file, scale); of one of two experts also "high=FILE", "low=FILE:SCALE"."""


class Parts(Mapping[str, Any]):
    """Parameters by part.

    A part whose place another one needs leaves the devices. It waits in the host's memory, where that is another one
    and has room, and comes back from there sooner than from its files.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Any]], sizes: Mapping[str, int], memory: int | None = None):
        """`sizes` in bytes; `memory` of the devices together, None: all parts stay.

        Raises ValueError where one of them does not fit.
        """
        self._loaders, self._sizes, self._memory = dict(loaders), dict(sizes), memory
        self._there: dict[str, Any] = {}
        self._waiting: dict[str, Any] = {}
        for name, needed in sizes.items():
            if memory is not None and needed > memory:
                raise ValueError(
                    f"{name} takes {needed / 1e9:.1f} GB of {memory / 1e9:.1f} GB: use more devices, half the bytes "
                    "with --dtype bfloat16, or a quarter with --quantize int8"
                )

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Parts":
        """Parts that are in memory already."""
        parts = cls({name: partial(params.__getitem__, name) for name in params}, {})
        parts._there = dict(params)
        return parts

    def read(self, name: str) -> Any:
        """The named part, which does not stay in memory."""
        return self._loaders[name]()

    def check(self, name: str, values: int, what: str) -> None:
        """Raises ValueError where a part and so many bytes of values that it makes, of `what`, do not fit."""
        needed = self._sizes.get(name, 0) + values
        if self._memory is not None and needed > self._memory:
            raise ValueError(
                f"{what} takes {needed / 1e9:.1f} GB, {values / 1e9:.1f} of them beside the weights, and there are "
                f"{self._memory / 1e9:.1f} GB: ask for fewer frames or a smaller size, use more devices, or say "
                "--quantize int8"
            )

    def most(self, clips: int, name: str, values: int) -> int:
        """How many clips, halved until they fit, a part can make at once that makes so many bytes of each."""
        if self._memory is None:
            return clips
        free = min(self._memory - self._sizes.get(name, 0), (1 - FULLEST) * self._memory)
        while clips > 1 and clips * values > free:
            clips //= 2
        return clips

    def __getitem__(self, name: str) -> Any:
        """The named part, in memory; the others leave where it needs their place."""
        missing = 0 if name in self._there else self._sizes.get(name, 0)
        experts = set(EXPERTS.values())
        others = [other for other in self._there if other != name]  # the one used longest ago first
        for other in sorted(others, key=lambda other: not {name, other} <= experts):
            filled = missing + sum(self._sizes.get(there, 0) for there in self._there)
            if self._memory is None or filled <= FULLEST * self._memory:
                break
            self._leave(other)
        self._there[name] = self._there.pop(name) if name in self._there else self._arrive(name)
        return self._there[name]

    def _leave(self, name: str) -> None:
        """Takes a part from the devices."""
        part = self._there.pop(name)
        if host_has_room(self._sizes.get(name, 0)):
            self._waiting[name] = jax.device_get(part), jax.tree.map(lambda leaf: leaf.sharding, part)

    def _arrive(self, name: str) -> Any:
        """Brings a part to the devices."""
        if name not in self._waiting:
            return self._loaders[name]()
        part, where = self._waiting.pop(name)
        return jax.device_put(part, where)

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)


def host_has_room(size: int) -> bool:
    """Whether the host has memory of its own, and of that, and of what its container may take, twice so many bytes."""
    import psutil

    if jax.default_backend() == "cpu" or jax.process_count() > 1:
        return False
    free = psutil.virtual_memory().available
    try:
        most, taken = (int((CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no container, or one without a limit
        return 2 * size < free
    return 2 * size < min(free, most - taken)


def memory_of_devices() -> int:
    """Bytes that all local devices have; on CPU those of the machine."""
    import psutil

    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    if all(limits):
        return sum(limits)
    return psutil.virtual_memory().total


class Source(NamedTuple):
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


def _opened(folder: Path, name: str, dtype: Dtype | None) -> tuple[SoraConfig, dict[str, Source], str, str]:
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
    lenders = borrowed(folder)
    wanted = dtype or ("bfloat16" if config.dit.dtype == "bfloat16" else "float32")  # as what was trained beside them
    mesh = whole_machine() if lenders else None  # all parts of a model are on the same devices
    sources = {part: there(stored_in(config, part, values, dtype), mesh) for part, values in params.items()}
    for part, lender in lenders.items():
        if is_open_model(lender):
            lent = open_model(lender, wanted).parts[part]
            sources[part] = streamed(lent, wanted)
            if part == "text":
                config = replace(config, text=lent.config)
        else:
            sources[part] = there(stored_in(config, part, load_model(lender, SoraConfig)[1][part], dtype), mesh)
    return typed(config, dtype), sources, tokenizer, folder.name


def streamed(part: Part, dtype: Dtype) -> Source:
    """A part of open weights, onto all devices. Raises ValueError where its tensors are not those of its config."""
    part.check()
    return Source(lambda finish: part.load(dtype, whole_machine(), finish), partial(part.bytes, dtype))


def there(params: Any, mesh: jax.sharding.Mesh | None = None) -> Source:
    """A part that is in the host's memory, onto the devices of `mesh`, or the first one."""

    def load(finish: Finish) -> Any:
        return each_finished(jax.device_put(params, None if mesh is None else shardings(params, mesh)), finish)

    return Source(load, lambda bits: sum(leaf.nbytes for leaf in jax.tree.leaves(params)))


def borrow(folder: Path, lenders: Mapping[str, Path]) -> None:
    """Says in a model folder that parts are those of other folders, which must stay where they are."""
    said = json.dumps({part: str(lender.expanduser().absolute()) for part, lender in lenders.items()}, indent=2)
    write_atomically(folder / BORROWED, lambda path: path.write_text(said))


def borrowed(folder: Path) -> dict[str, Path]:
    """Parts that a model folder or training directory has from another model.

    Raises FileNotFoundError where that is gone.
    """
    file = next((path for home in (folder, folder / "model") if (path := home / BORROWED).exists()), None)
    if file is None:
        return {}
    lenders = {name: Path(lender) for name, lender in json.loads(file.read_text()).items()}
    for name, lender in lenders.items():
        if not lender.is_dir():
            raise FileNotFoundError(f"{file} says that {name} is in {lender}, which is gone: put that folder back, or "
                                    "write where it is now into this file")  # fmt: skip
    return lenders


def adapters_of(config: SoraConfig, loras: Sequence[Lora]) -> dict[str, list[tuple[Mapping[str, Any], float]]]:
    """Adapters, flat trees and their scales, by the transformer or expert that they are for. Raises FileNotFoundError
    and ValueError."""
    files = [parse_lora(lora) if isinstance(lora, str) else Adapter(Path(lora[0]), lora[1]) for lora in loras]
    if named := [file for file in files if file.expert is not None and config.boundary is None]:
        raise ValueError(f"--lora {named[0].expert}={named[0].path}: the model has one transformer, leave out "
                         f"{named[0].expert}=")  # fmt: skip
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
        raise ValueError("one of the adapters is a DoRA, whose change depends on the weights that it is added to, and "
                         "the others change them: use it by itself")
