"""A torch checkpoint (`.pth`, `.pt`, `.bin`) as a lazy mapping of numpy arrays, without torch and without running code.

Such a file is a pickle, and unpickling can call any function. Only the few names that describe tensors are allowed
here; any other raises an error that names it, before anything is called. Both formats are read: the zip archive (torch
1.6 and newer) and the older stream of pickles. Arrays are memory-mapped views of the file.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

TYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "Float8_e4m3fnStorage": ml_dtypes.float8_e4m3fn,
    "Float8_e5m2Storage": ml_dtypes.float8_e5m2,
}
PICKLES = (".pth", ".pt", ".bin")
MAGIC = 0x1950A86A20F9469CFC6C
HEADERS = 3  # pickles before the object in the older format: magic number, protocol, system information


@dataclass(frozen=True)
class Storage:
    """A flat array in the file."""

    key: str
    dtype: np.dtype


@dataclass(frozen=True)
class Tensor:
    """A tensor as a view of its storage; offset and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _same(value: Any, *_: Any) -> Any:
    return value


KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    **{("torch", name): np.dtype(kind) for name, kind in TYPES.items()},
}


class _Reader(pickle.Unpickler):
    """An unpickler that allows tensors only."""

    def __init__(self, file: Any, path: Path):
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise ValueError(
                f"{self.path} would run {module}.{name} when opened, which weights never need: do not trust this file; "
                "get the .safetensors form of the weights"
            )
        return KNOWN[module, name]

    def persistent_load(self, identifier: Any) -> Storage:
        kind, dtype, key, *_ = identifier
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError(f"{self.path} holds a {kind!r} where a storage is expected: download it again")
        return Storage(str(key), dtype)


class PickledTensors(Mapping[str, np.ndarray]):
    """Tensors of a torch checkpoint by name, nested dicts flattened with dots.

    Raises FileNotFoundError for a missing file, and ValueError, on one line, for a file that is cut short, is no torch
    checkpoint, or would run code.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path} does not exist: give a .pth file")
        try:
            content, self._places = self._zipped() if zipfile.is_zipfile(self.path) else self._streamed()
            self._tensors = dict(_flat(content))
        except (
            pickle.UnpicklingError,
            EOFError,
            KeyError,
            struct.error,
            zipfile.BadZipFile,
            UnicodeDecodeError,
            TypeError,
            AttributeError,
            IndexError,
        ) as error:
            raise ValueError(
                f"{self.path} is no whole torch checkpoint ({error or type(error).__name__}): download it again"
            ) from error
        size = self.path.stat().st_size
        for name, tensor in self._tensors.items():
            reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)) + 1
            end = self._places.get(tensor.storage.key, size)
            if end + (tensor.offset + reach) * tensor.storage.dtype.itemsize > size:
                raise ValueError(f"{self.path} ends before {name}: it is cut short, download it again")

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        storage, item = tensor.storage, tensor.storage.dtype.itemsize
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, storage.dtype)
        reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True)) + 1
        start = self._places[storage.key] + tensor.offset * item
        raw = np.memmap(self.path, np.uint8, "r", start, (reach * item,)).view(storage.dtype)
        return np.lib.stride_tricks.as_strided(raw, tensor.shape, [stride * item for stride in tensor.strides])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _zipped(self) -> tuple[Any, dict[str, int]]:
        """The unpickled object, and the offset in bytes of each storage in the file."""
        with zipfile.ZipFile(self.path) as archive, self.path.open("rb") as file:
            inner = next(info.filename for info in archive.infolist() if info.filename.endswith("data.pkl"))
            with archive.open(inner) as member:
                content = _Reader(member, self.path).load()
            prefix = inner.removesuffix("data.pkl") + "data/"
            stored = [info for info in archive.infolist() if info.filename.startswith(prefix)]
            return content, {info.filename.removeprefix(prefix): _begin(info, file) for info in stored}

    def _streamed(self) -> tuple[Any, dict[str, int]]:
        with self.path.open("rb") as file:
            headers = [_Reader(file, self.path).load() for _ in range(HEADERS)]
            if headers[0] != MAGIC:
                raise ValueError(f"{self.path} is no torch checkpoint: download it again")
            content = _Reader(file, self.path).load()
            keys = _Reader(file, self.path).load()
            kinds = {tensor.storage.key: tensor.storage.dtype for _, tensor in _flat(content)}
            places = {}
            for key in keys:
                (count,) = struct.unpack("<q", file.read(8))
                places[str(key)] = file.tell()
                file.seek(count * kinds[str(key)].itemsize, 1)
            return content, places


def _begin(info: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Offset of a member's bytes: after its local header, whose name and extra field have their own lengths."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{info.filename} is compressed")
    file.seek(info.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + name + extra


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of nested dicts, without values that are no tensors (a step, a version)."""
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
