"""Experiments: data, objective, optimizer and export, put together; and how the file of one is read."""

import dataclasses
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


def load_experiment(path: str | Path) -> Any:
    """The `config` that an experiment file defines. Raises FileNotFoundError, and ValueError where it holds none."""
    path = Path(path)
    if not path.is_file():
        near = sorted(Path("configs").glob("*.py"))
        known = f": there are {', '.join(map(str, near))}" if near else ""
        raise FileNotFoundError(f"{path} is no experiment file{known}")
    try:
        found = vars(executed(path))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"{path}{_line_of(error, path)}: {reason}") from error
    if "config" not in found:
        raise ValueError(f"{path} defines no `config`, which an experiment file does, e.g. config = FlowTraining(...)")
    config = found["config"]
    if not dataclasses.is_dataclass(config) or not all(hasattr(config, name) for name in ("build", "loop")):
        kind = type(config).__name__
        raise ValueError(f"{path}: its `config` is of type {kind} and no experiment, e.g. FlowTraining(...)")
    return config


def executed(path: Path) -> ModuleType:
    """A Python file as a module, under the name of its path, so that classes it defines have their source."""
    module = sys.modules[str(path)] = ModuleType(str(path))
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def _line_of(error: Exception, path: Path) -> str:
    """Where in a file an error arose, as a clause; empty where it did not arise there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f", line {line}" if line else ""
