"""Canonical text of the static inputs of a compiled program: equal inputs give equal texts in every process, and other
inputs give other texts. A value that has no such text raises `Unknown`."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from inspect import unwrap
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

PACKAGES = {"einops", "flax", "jax", "jaxlib", "jaxtyping", "ml_dtypes", "numpy", "qwix", "safetensors", "sorajax"}
"""Packages whose source or version is part of the fingerprint, so that a name in them says what it is; and those that
no computation depends on."""
TRACED = ("sorajax.devices.sharding", "sorajax.diffusion.", "sorajax.models.", "sorajax.sampling.program")
"""Modules whose constants and functions a program is traced from."""


class Unknown(TypeError):
    """A value without a canonical text."""


def canonical(value: Any, outer: tuple[int, ...] = ()) -> str:
    """The text of a static value. outer: functions that this value is part of. Raises Unknown."""
    text = partial(canonical, outer=outer)
    if isinstance(value, Enum):
        return f"{name_of(type(value))}.{value.name}"
    if value is None or value is ... or isinstance(value, bool | int | float | complex | str | bytes):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, np.dtype):
        return f"dtype {value.name}"
    if isinstance(value, type):
        return name_of(value)
    if is_dataclass(value):
        parts = [f"{field.name}={text(getattr(value, field.name))}" for field in fields(value)]
        return f"{name_of(type(value))}({', '.join(parts)})"
    if isinstance(value, jax.Device):
        return f"{value.platform} {value.device_kind} {value.id} of process {value.process_index}"
    if isinstance(value, Mesh):
        devices = [text(device) for device in value.devices.flat]
        return f"mesh {dict(value.shape)} {value.axis_types} {devices}"
    if isinstance(value, PartitionSpec):
        return repr(value)
    if isinstance(value, NamedSharding):
        return f"{text(value.mesh)} {value.spec} {value.memory_kind}"
    if isinstance(value, SingleDeviceSharding):
        return f"{[text(device) for device in value.device_set]} {value.memory_kind}"
    if isinstance(value, tuple | list):
        return f"{name_of(type(value))}[{', '.join(map(text, value))}]"
    if isinstance(value, set | frozenset):
        return f"set[{', '.join(sorted(map(text, value)))}]"
    if isinstance(value, Mapping):
        return (
            f"{name_of(type(value))}[{', '.join(sorted(f'{text(key)}: {text(each)}' for key, each in value.items()))}]"
        )
    if isinstance(value, partial):
        return f"partial({text(value.func)}, {text(value.args)}, {text(value.keywords)})"
    if isinstance(value, MethodType):
        return f"{text(value.__self__)}.{text(value.__func__)}"
    if isinstance(value, FunctionType):
        return function_text(value, outer)
    if isinstance(value, BuiltinFunctionType | np.ufunc):
        return f"{getattr(value, '__module__', None) or 'builtins'}.{value.__name__}"
    if callable(value) and isinstance(getattr(value, "__wrapped__", None), FunctionType):  # jitted or cached
        return f"{name_of(type(value))}({text(value.__wrapped__)})"
    if type(value).__module__.startswith("sorajax."):
        return f"{name_of(type(value))}({text(vars(value))})"
    raise Unknown(f"{type(value).__module__}.{type(value).__qualname__} has no canonical text")


def name_of(kind: Any) -> str:
    """The full name of a class or function. Raises Unknown where its package is not one of `PACKAGES`."""
    module = kind.__module__ or "builtins"
    package = module.partition(".")[0]
    if package not in PACKAGES and package not in sys.stdlib_module_names and not package.startswith("namedtuple_"):
        raise Unknown(f"{module}.{kind.__qualname__} is defined outside sorajax and its libraries")
    return f"{module}.{kind.__qualname__}"


def function_text(function: FunctionType, outer: tuple[int, ...] = ()) -> str:
    """Name and bytecode of a function, its defaults, and the values that it closes over."""
    if id(function) in outer:
        return "itself"
    text = partial(canonical, outer=(*outer, id(function)))
    name = name_of(function)
    if not name.startswith("sorajax."):  # the library's version says what it is
        return name
    if isinstance(wrapped := getattr(function, "__wrapped__", None), FunctionType):
        return f"{name} of {text(wrapped)}"
    cells = [text(cell.cell_contents) for cell in function.__closure__ or ()]
    defaults = [text(function.__defaults__), text(function.__kwdefaults__)]
    return f"{name} {code_digest(function.__code__)} {defaults} {cells}"


def is_written(function: FunctionType) -> bool:
    """Whether a function is in a source file; methods of dataclasses and named tuples are generated."""
    return not unwrap(function).__code__.co_filename.startswith("<")


@cache
def code_digest(code: CodeType) -> str:
    """A hash of bytecode, names and constants, without line numbers."""
    constants = [code_digest(one) if isinstance(one, CodeType) else canonical(one) for one in code.co_consts]
    parts = (code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants, code.co_flags)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def traced_code() -> str:
    """A hash of the functions, classes and constants of `TRACED`, as they are in this process: a source file may have
    changed since it was imported, and a caller may have replaced a function or a constant. Raises Unknown for a
    function that was replaced by one from elsewhere."""
    digest = hashlib.sha256()
    for name in sorted(sys.modules):
        if name.startswith(TRACED):
            digest.update(f"{name}: {members(sys.modules[name], name)}\n".encode())
    return digest.hexdigest()


def members(owner: ModuleType | type, module: str) -> str:
    """The functions, classes and constants that a module or a class of the module defines."""
    found = []
    for name, value in sorted(vars(owner).items()):
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        value = value.fget if isinstance(value, property) else value
        if name.startswith("__") and not (isinstance(value, FunctionType) and is_written(value)):
            continue
        if isinstance(value, type):
            found.append(f"{name} {value.__module__}.{value.__qualname__}")
            if value.__module__ == module and isinstance(owner, ModuleType):
                found.append(members(value, module))
        elif isinstance(value, FunctionType) or hasattr(value, "__wrapped__"):
            found.append(f"{name} {canonical(value)}")
        elif not isinstance(value, ModuleType):
            try:
                found.append(f"{name} {canonical(value)}")
            except Unknown:  # a type variable or a logger, which no program depends on
                found.append(f"{name} {type(value).__qualname__}")
    return ", ".join(found)
