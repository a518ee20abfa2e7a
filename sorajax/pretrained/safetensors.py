"""Lazy mappings from names to numpy arrays: of a safetensors file or a folder of shards, also under other names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

ENDING, INDEX = ".safetensors", ".safetensors.index.json"
CANONICAL = ("diffusion_pytorch_model", "model", "pytorch_lora_weights", "adapter_model")
"""Stems of weight files in diffusers, transformers and PEFT. Variants beside them (`model.fp16.safetensors`) contain
the same tensors and are not read."""
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
"""dtypes in headers; tensors of other dtypes are no weights, and are treated as uint8."""


class Tensors(Mapping[str, np.ndarray]):
    """Tensors of `path`, each read from disk on access (bfloat16 as ml_dtypes' bfloat16).

    `path` is a file, or a folder with `*.safetensors` and, for shards, their `*.safetensors.index.json`; only files
    whose names begin with `stem`. With an index, it determines the file of each tensor; without one, the file with a
    canonical name is read, or all files where there is none.
    Raises FileNotFoundError where there are no files or a shard is missing, and ValueError for a damaged file and for a
    tensor in two files.
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
        if missing := next((name for name in index if name not in self._where), None):
            raise ValueError(f"{Path(path) / index[missing]} lacks {missing}, which the index lists: download again")

    def __getitem__(self, name: str) -> np.ndarray:
        return self._open[self._where[name]].get_tensor(name)

    def placeholder(self, name: str) -> np.ndarray:
        """Zeros of the tensor's shape and dtype; reads and allocates nothing."""
        header = self._open[self._where[name]].get_slice(name)
        return np.broadcast_to(np.zeros((), TYPES.get(header.get_dtype(), np.uint8)), header.get_shape())

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


class Renamed(Mapping[str, np.ndarray]):
    """Tensors under other names, each read and converted on access; `places`: name -> (stored name, conversion)."""

    def __init__(self, tensors: Mapping[str, np.ndarray], places: Mapping[str, tuple[str, Callable | None]]):
        self._tensors, self._places = tensors, places

    def __getitem__(self, name: str) -> np.ndarray:
        stored, change = self._places[name]
        tensor = self._tensors[stored]
        return tensor if change is None else change(tensor)

    def placeholder(self, name: str) -> np.ndarray:
        """See `Tensors.placeholder`."""
        stored, change = self._places[name]
        tensor = getattr(self._tensors, "placeholder", self._tensors.__getitem__)(stored)
        return tensor if change is None else change(tensor)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _files(path: Path, stem: str) -> tuple[list[Path], dict[str, str]]:
    """The files to read, and the index {tensor: file name}, empty where there is none."""
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
    """The file with a canonical name, else all files with this ending, without hidden ones (`._model.safetensors`)."""
    files = [path for path in sorted(folder.glob(f"{stem}*{ending}")) if not path.name.startswith(".")]
    return [path for path in files if path.name.removesuffix(ending) in (stem, *CANONICAL)] or files


def shards(index: Path) -> dict[str, str]:
    """The name of the file of each tensor, from an index file. Raises ValueError for a damaged index and
    FileNotFoundError for a missing file."""
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
            "bfloat16 or float16; --quantize fp8 gives them the same size in memory"
        )
    return tensors
