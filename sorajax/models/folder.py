"""A model on disk: a folder of `config.json`, `model.safetensors` and, where there is text, `tokenizer.json`.

The weights' keys are the "/"-joined paths of the parameters. They may be cut into shards with the hub's index.
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

Config = TypeVar("Config")
Storage = Literal["float32", "bfloat16", "float16"]
STORAGE = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
INDEX = f"{WEIGHTS}.index.json"
HEADER = 2**16
"""Bytes at most that a safetensors file has beside its values."""
WORLD = Path(__file__).parents[1] / "assets" / "world"
"""The model that comes with sorajax."""

FORMER = {
    "guide_known": "drop_conditioning_in_cfg",
    "reach": "max_anchor_gap",
    "ahead": "redo_latents",
    "known": "conditioning",
}
"""Names that fields of a `SoraConfig` had in earlier config files, which are still read."""

converter = cattrs.Converter(forbid_extra_keys=True)
converter.register_structure_hook(Conditioning, lambda name, _: CONDITIONING[name])
converter.register_unstructure_hook(Conditioning, lambda conditioning: conditioning.name)


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values: what reading it back from a file gives."""
    return json.loads(json.dumps(converter.unstructure(config)))


def from_json(values: dict[str, Any], kind: type[Config], source: str = "config") -> Config:
    """The dataclass `kind` from JSON values. Raises ValueError, on one line, naming what does not fit."""
    if not isinstance(values, dict):
        raise ValueError(f"{source} holds {str(values)[:40]!r} in place of the fields of a {kind.__name__}")
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {FORMER[name] if FORMER.get(name) in fields else name: value for name, value in values.items()}
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
    storage: Storage = "float32",
    shard_mib: float = 0.0,
) -> Path:
    """Writes params (a nested dict of floats), config (a dataclass) and tokenizer (JSON text) as a model folder.

    Each file appears whole or not at all, the weights last. `storage` is the type that floats have on disk, `shard_mib`
    the largest file of weights in MiB; 0 writes one. Raises ValueError where one tensor is larger.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
    flat = {path_name(path): np.ascontiguousarray(np.asarray(leaf).astype(STORAGE[storage])) for path, leaf in leaves}
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
        old.unlink(missing_ok=True)  # of an export in another number of files
    return directory


def check_shards(tensors: Mapping[str, Any], shard_mib: float) -> None:
    """Raises ValueError where a tensor (of a shape and a type) fits no file of so many MiB."""
    for name, tensor in tensors.items():
        mib = (tensor.size * tensor.dtype.itemsize + HEADER) / 2**20
        if mib > shard_mib:
            raise ValueError(
                f"shards of {shard_mib:g} MiB are too small for {name}, which takes {mib:.1f}: give a "
                "larger --shard-mib, or --storage bfloat16"
            )


def write_shards(folder: Path, stem: str, tensors: Iterable[tuple[str, np.ndarray]], most: int) -> None:
    """One safetensors file, or several of at most `most` bytes of values with the hub's index; the values of one are in
    memory at a time."""
    shards: list[list[str]] = []
    waiting: dict[str, np.ndarray] = {}

    def write() -> None:
        path = folder / f"{stem}.{len(shards):05d}.part"
        save_file(waiting, path)
        path.chmod(0o644)
        shards.append(list(waiting))
        waiting.clear()

    total = 0
    for name, tensor in tensors:
        if waiting and sum(t.nbytes for t in waiting.values()) + tensor.nbytes > most:
            write()
        waiting[name] = tensor
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
    places = {tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors}
    said = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    text = json.dumps(said, indent=2, ensure_ascii=False)
    write_atomically(index, lambda path: path.write_text(text, encoding="utf-8"))


def weight_files(folder: Path) -> list[Path]:
    """The files of an exported model's weights. Raises FileNotFoundError and ValueError where they are not whole."""
    index = folder / INDEX
    if not index.exists():
        if not (folder / WEIGHTS).exists():
            raise FileNotFoundError(f"{folder / WEIGHTS} is missing: export the model again")
        return [folder / WEIGHTS]
    try:
        names = sorted(set(_index(folder).values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({error}): export or download it again") from error
    if missing := [name for name in names if not (folder / name).is_file()]:
        lost = f"{folder} lacks {', '.join(missing)}, which {index.name} names"
        raise FileNotFoundError(f"{lost}: export or download it again")
    return [folder / name for name in names]


def _index(folder: Path) -> dict[str, str]:
    """Which file of an exported model holds each of its tensors; nothing where there is one file."""
    index = folder / INDEX
    return json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.exists() else {}


def model_folder(directory: str | Path) -> Path:
    """The folder with the exported model: `directory` itself, or `model` in it where it is a training directory."""
    directory = Path(directory)
    if not directory.exists():
        raise FileNotFoundError(f"{directory} does not exist: give an exported model or a training directory")
    for folder in (directory, directory / "model"):
        if (folder / CONFIG).exists():
            return folder
    raise FileNotFoundError(f"{directory} holds no model: neither {CONFIG} nor model/{CONFIG} is in it")


def load_model(directory: str | Path, kind: type[Config]) -> tuple[Config, dict[str, Any], str | None]:
    """The config (a `kind`), the parameters (nested dict, float32 numpy) and the tokenizer JSON of a model folder.

    `directory` is an exported model or a training directory. Raises FileNotFoundError for a missing file and ValueError
    for a damaged one or one of another kind, each on one line.
    """
    folder = model_folder(directory)
    said = _described(folder)
    if said["kind"] != kind.__name__:
        raise ValueError(f"{folder} holds a {said['kind']}, and a {kind.__name__} is needed")
    config = from_json(said["config"], kind, str(folder / CONFIG))
    tokenizer = folder / TOKENIZER
    return config, load_weights(folder), tokenizer.read_text(encoding="utf-8") if tokenizer.exists() else None


def model_kind(directory: str | Path) -> str:
    """The name of the config class in a model folder. Raises as `load_model` does."""
    return _described(model_folder(directory))["kind"]


def _described(folder: Path) -> dict[str, Any]:
    """What a model folder's config file says: {"kind", "config"}."""
    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG} is no JSON ({error}): export the model again") from error
    if not isinstance(said, dict) or not {"kind", "config"} <= said.keys():
        raise ValueError(f"{folder / CONFIG} describes no model: export the model again")
    return said


def load_weights(folder: Path) -> dict[str, Any]:
    """The weights of an exported model, whose keys are "/"-joined, as a nested dict of float32 arrays."""
    nested: dict[str, Any] = {}
    for path in weight_files(folder):
        where = _index(folder)
        try:
            with safe_open(path, framework="np") as file:
                keys = [key for key in file.keys() if where.get(key, path.name) == path.name]  # noqa: SIM118
                flat = {key: file.get_tensor(key) for key in keys}
        except (SafetensorError, OSError) as error:
            said = f"{path} is damaged or cut short ({one_line(error)}): export or download it again"
            raise ValueError(said) from error
        for key, value in flat.items():
            *parents, leaf = key.split("/")
            node = nested
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value.astype(np.float32) if value.dtype != np.float32 else value
    return nested
