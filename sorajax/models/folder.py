"""A model on disk: a folder with `config.json`, `model.safetensors` and, where there is text, `tokenizer.json`.

The weights' keys are the "/"-joined paths of the parameters. Weights may be sharded, with the hub's index file.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import cattrs
import jax
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sorajax.devices.sharding import path_name
from sorajax.errors import one_line
from sorajax.files import write_atomically
from sorajax.models.conditioning import CONDITIONING, Conditioning
from sorajax.models.packed import pack, unpack

Config = TypeVar("Config")
Storage = Literal["float32", "bfloat16", "float16"]
SmallStorage = Literal["float32", "bfloat16", "float16", "int8"]
"""Storage type of small models that are read whole, see `models.packed`."""
STORAGE = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
INDEX = f"{WEIGHTS}.index.json"
HEADER = 2**16
"""Upper bound on the header of a safetensors file in bytes."""
WORLD = Path(__file__).parents[1] / "assets" / "world"
WORLD_FAST = WORLD.with_name("world_fast")
BUNDLED = {"world": WORLD, "world-fast": WORLD_FAST}
"""Folders of the models in the package that sample, by name."""
PLAY = WORLD.with_name("play")
"""The bundled interactive model."""

OLD_NAMES = {
    "guide_known": "drop_conditioning_in_cfg",
    "reach": "max_anchor_gap",
    "ahead": "redo_latents",
    "known": "conditioning",
}
"""Earlier names of `SoraConfig` fields, with which older config files are still read."""

converter = cattrs.Converter(forbid_extra_keys=True)
converter.register_structure_hook(Conditioning, lambda name, _: CONDITIONING[name])
converter.register_unstructure_hook(Conditioning, lambda conditioning: conditioning.name)


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values (tuples as lists), as they are read back from a file."""
    return json.loads(json.dumps(converter.unstructure(config)))


def from_json(values: dict[str, Any], kind: type[Config], source: str = "config") -> Config:
    """The dataclass `kind` from JSON values. Raises ValueError, on one line, naming the fields that do not fit."""
    if not isinstance(values, dict):
        raise ValueError(f"{source} holds {str(values)[:40]!r} in place of the fields of a {kind.__name__}")
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {OLD_NAMES[name] if OLD_NAMES.get(name) in fields else name: value for name, value in values.items()}
    try:
        return converter.structure(values, kind)
    except cattrs.BaseValidationError as error:
        reasons = "; ".join(cattrs.transform_error(error, path=kind.__name__))
        raise ValueError(f"{source} is no {kind.__name__} of this version of sorajax: {reasons}") from error


def export_model(
    directory: str | Path,
    params: Any,
    config: Any,
    tokenizer: str | None = None,
    storage: SmallStorage = "float32",
    shard_mib: float = 0.0,
) -> Path:
    """Writes params (a nested dict of float arrays), config (a dataclass) and tokenizer (JSON text) as a model folder.

    Each file is written atomically, the weights last. `storage` is the dtype of the weights on disk, `shard_mib` the
    size of the largest weights file in MiB; 0 writes a single file. Raises ValueError where one tensor is larger, and
    for several files of int8.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
    dtype = np.float32 if storage == "int8" else STORAGE[storage]
    flat = {path_name(path): np.ascontiguousarray(np.asarray(leaf).astype(dtype)) for path, leaf in leaves}
    if storage == "int8":
        if shard_mib:
            raise ValueError("int8 weights are one file: leave out --shard-mib, or use --storage bfloat16")
        flat = pack(flat)
    if tokenizer is not None:
        write_atomically(directory / TOKENIZER, lambda path: path.write_text(tokenizer, encoding="utf-8"))
    text = json.dumps({"kind": type(config).__name__, "config": to_json(config)}, indent=2)
    write_atomically(directory / CONFIG, lambda path: path.write_text(text))
    if shard_mib:
        check_shards(flat, shard_mib)
        write_shards(directory, WEIGHTS.removesuffix(".safetensors"), flat.items(), int(shard_mib * 2**20) - HEADER)
    else:
        write_atomically(directory / WEIGHTS, lambda path: save_file(flat, path))
        (directory / INDEX).unlink(missing_ok=True)
    for old in {*directory.glob("model-*-of-*.safetensors"), directory / WEIGHTS} - set(weight_files(directory)):
        old.unlink(missing_ok=True)  # shards of an earlier export
    return directory


def check_shards(tensors: Mapping[str, Any], shard_mib: float) -> None:
    """Raises ValueError where a tensor does not fit into a file of `shard_mib` MiB."""
    for name, tensor in tensors.items():
        mib = (tensor.size * tensor.dtype.itemsize + HEADER) / 2**20
        if mib > shard_mib:
            raise ValueError(
                f"shards of {shard_mib:g} MiB are too small for {name}, which takes {mib:.1f}: give a "
                "larger --shard-mib, or --storage bfloat16"
            )


def write_shards(folder: Path, stem: str, tensors: Iterable[tuple[str, np.ndarray]], max_bytes: int) -> None:
    """Writes one safetensors file, or several of at most `max_bytes` bytes of values with the hub's index file.

    Only the values of one file are in memory at a time.
    """
    shards: list[list[str]] = []
    pending: dict[str, np.ndarray] = {}

    def write() -> None:
        path = folder / f"{stem}.{len(shards):05d}.part"
        save_file(pending, path)
        path.chmod(0o644)
        shards.append(list(pending))
        pending.clear()

    total = 0
    for name, tensor in tensors:
        if pending and sum(t.nbytes for t in pending.values()) + tensor.nbytes > max_bytes:
            write()
        pending[name] = tensor
        total += tensor.nbytes
    write()
    count = len(shards)
    names = (
        [f"{stem}.safetensors"]
        if count == 1
        else [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    )
    for number, name in enumerate(names):
        (folder / f"{stem}.{number:05d}.part").rename(folder / name)
    index = folder / f"{stem}.safetensors.index.json"
    if count == 1:
        index.unlink(missing_ok=True)
        return
    weight_map = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors}
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(index, lambda path: path.write_text(text, encoding="utf-8"))


def weight_files(folder: Path) -> list[Path]:
    """The weight files of an exported model. Raises FileNotFoundError for a missing file, ValueError for a bad
    index."""
    index = folder / INDEX
    if not index.exists():
        if not (folder / WEIGHTS).exists():
            raise FileNotFoundError(f"{folder / WEIGHTS} is missing: export the model again")
        return [folder / WEIGHTS]
    try:
        names = sorted(set(_index(folder).values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is not an index of shards ({error}): export or download it again") from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        problem = f"{folder} lacks {', '.join(missing)}, which {index.name} names"
        raise FileNotFoundError(f"{problem}: export or download it again")
    return [folder / name for name in names]


def _index(folder: Path) -> dict[str, str]:
    """The file name of each tensor of an exported model; empty where there is a single file."""
    index = folder / INDEX
    return json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.exists() else {}


def by_name(model: str | Path) -> Path:
    """The folder of a bundled model, whose name is not also a path; another path as it is."""
    path = Path(model)
    return path if path.exists() else BUNDLED.get(str(model), path)


def model_folder(directory: str | Path) -> Path:
    """The folder with the exported model: `directory` itself, `model` in it where it is a training directory, or the
    folder of a bundled model where its name is given."""
    directory = by_name(directory)
    if not directory.exists():
        raise FileNotFoundError(f"{directory} does not exist: give an exported model or a training directory")
    for folder in (directory, directory / "model"):
        if (folder / CONFIG).exists():
            return folder
    raise FileNotFoundError(f"{directory} holds no model: neither {CONFIG} nor model/{CONFIG} is in it")


def load_model(directory: str | Path, kind: type[Config]) -> tuple[Config, dict[str, Any], str | None]:
    """The config (a `kind`), parameters (nested dict of float32 numpy arrays) and tokenizer JSON of a model folder.

    `directory` is an exported model or a training directory. Raises FileNotFoundError for a missing file and ValueError
    for a damaged one or one of another kind, each on one line.
    """
    folder = model_folder(directory)
    description = _read_description(folder)
    if description["kind"] != kind.__name__:
        raise ValueError(f"{folder} holds a {description['kind']}, and a {kind.__name__} is needed")
    config = from_json(description["config"], kind, str(folder / CONFIG))
    tokenizer = folder / TOKENIZER
    return config, load_weights(folder), tokenizer.read_text(encoding="utf-8") if tokenizer.exists() else None


def model_kind(directory: str | Path) -> str:
    """The name of the config class in a model folder. Raises as `load_model` does."""
    return _read_description(model_folder(directory))["kind"]


def _read_description(folder: Path) -> dict[str, Any]:
    """The content of a model folder's config file: {"kind", "config"}."""
    try:
        description = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG} is no JSON ({error}): export the model again") from error
    if not isinstance(description, dict) or not {"kind", "config"} <= description.keys():
        raise ValueError(f"{folder / CONFIG} describes no model: export the model again")
    return description


def load_weights(folder: Path) -> dict[str, Any]:
    """The weights of an exported model as a nested dict of float32 arrays. Raises ValueError for a damaged file."""
    nested: dict[str, Any] = {}
    for path in weight_files(folder):
        where = _index(folder)
        try:
            with safe_open(path, framework="np") as file:
                keys = [key for key in file.keys() if where.get(key, path.name) == path.name]  # noqa: SIM118
                flat = {key: file.get_tensor(key) for key in keys}
        except (SafetensorError, OSError) as error:
            message = f"{path} is damaged or cut short ({one_line(error)}): export or download it again"
            raise ValueError(message) from error
        for key, value in unpack(flat).items():
            *parents, leaf = key.split("/")
            node = nested
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value.astype(np.float32) if value.dtype != np.float32 else value
    return nested
