"""A safetensors file, or a folder of shards, as a lazy mapping from names to numpy arrays; other names for such."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

ENDING, INDEX = ".safetensors", ".safetensors.index.json"
CANONICAL = ("diffusion_pytorch_model", "model", "pytorch_lora_weights", "adapter_model")
"""What diffusers, transformers and PEFT call the weights of a folder. Variants beside them (`model.fp16.safetensors`)
hold the same tensors and are not read."""
TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""Of headers; tensors of any other are no weights either, and pass for uint8."""


class Tensors(Mapping[str, np.ndarray]):
    """Tensors of `path`, each read from disk when it is asked for (bfloat16 arrives as ml_dtypes' bfloat16).

    `path` is one file, or a folder with `*.safetensors` and, where they are shards, their `*.safetensors.index.json`;
    of a folder only files whose names begin with `stem`. The index says which file a tensor is read from; without one
    it is the file with a canonical name, where there is one, else all of them.
    Raises FileNotFoundError where there are none or a shard is missing, ValueError where one is not a whole file or two
    hold the same tensor.
    """

    def __init__(self, path: str | Path, stem: str = ""):
        files, index = _files(Path(path), stem)
        self._open = {file: _opened(file) for file in files}
        self._where: dict[str, Path] = {}
        for file, tensors in self._open.items():
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                if index.get(name, file.name) != file.name:
                    continue
                if (other := self._where.setdefault(name, file)) != file:
                    raise ValueError(
                        f"{path}: {other.name} and {file.name} both hold {name}, and no index says which "
                        "to read: keep one of them, or give the file itself"
                    )
        if lost := next((name for name in index if name not in self._where), None):
            raise ValueError(f"{Path(path) / index[lost]} has no {lost}, which the index says it has: download again")

    def __getitem__(self, name: str) -> np.ndarray:
        return self._open[self._where[name]].get_tensor(name)

    def hollow(self, name: str) -> np.ndarray:
        """An array of the tensor's shape and type, of which nothing is read."""
        header = self._open[self._where[name]].get_slice(name)
        return np.broadcast_to(np.zeros((), TYPES.get(header.get_dtype(), np.uint8)), header.get_shape())

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


class Renamed(Mapping[str, np.ndarray]):
    """Tensors under other names, each read, and changed, when it is asked for."""

    def __init__(self, tensors: Mapping[str, np.ndarray], places: Mapping[str, tuple[str, Callable | None]]):
        self._tensors, self._places = tensors, places

    def __getitem__(self, name: str) -> np.ndarray:
        stored, change = self._places[name]
        tensor = self._tensors[stored]
        return tensor if change is None else change(tensor)

    def hollow(self, name: str) -> np.ndarray:
        """As of `Tensors`."""
        stored, change = self._places[name]
        tensor = getattr(self._tensors, "hollow", self._tensors.__getitem__)(stored)
        return tensor if change is None else change(tensor)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _files(path: Path, stem: str) -> tuple[list[Path], dict[str, str]]:
    """The files to read, and by the index, where there is one, the name of each tensor's file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a .safetensors file or a folder of them")
    if path.is_file():
        return [path], {}
    if index := _chosen(path, stem, INDEX):
        if len(index) > 1:
            raise ValueError(f"{path} holds {len(index)} indices ({', '.join(i.name for i in index)}): give one model")
        places = shards(index[0])
        return [path / name for name in sorted(set(places.values()))], places
    if not (files := _chosen(path, stem, ENDING)):
        what = f"{stem}.safetensors" if stem else ".safetensors file"
        raise FileNotFoundError(f"{path} holds no {what}: give the folder that does")
    return files, {}


def _chosen(folder: Path, stem: str, ending: str) -> list[Path]:
    """The file of a canonical name, or else all that end so; hidden ones (`._model.safetensors`) do not count."""
    found = [path for path in sorted(folder.glob(f"{stem}*{ending}")) if not path.name.startswith(".")]
    return [path for path in found if path.name.removesuffix(ending) in (stem, *CANONICAL)] or found


def shards(index: Path) -> dict[str, str]:
    """Which file beside an index holds each tensor. Raises ValueError and FileNotFoundError where it is damaged or a
    file is missing."""
    try:
        places = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({error}): download it again") from error
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise FileNotFoundError(f"{index.parent} lacks {', '.join(missing)}, which {index.name} names: download again")
    return places


def _opened(file: Path):
    try:
        tensors = safe_open(file, framework="np")
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file ({error}): download it again") from error
    kinds = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    if small := next((name for name, kind in kinds.items() if kind.startswith("F8")), None):
        raise ValueError(
            f"{file}: {small} is {kinds[small]}, which numpy does not read: get these weights in float32, "
            "bfloat16 or float16; --quantize fp8 makes them as small"
        )
    return tensors
