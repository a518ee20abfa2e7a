"""Experiments: data, objective, optimizer and export, put together; and how the file of one is read."""

import dataclasses
import runpy
import traceback
from pathlib import Path
from typing import Any


def load_experiment(path: str | Path) -> Any:
    """The `config` that an experiment file defines. Raises FileNotFoundError, and ValueError where it holds none."""
    path = Path(path)
    if not path.is_file():
        near = sorted(Path("configs").glob("*.py"))
        known = f": there are {', '.join(map(str, near))}" if near else ""
        raise FileNotFoundError(f"{path} is no experiment file{known}")
    try:
        found = runpy.run_path(str(path))
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


def _line_of(error: Exception, path: Path) -> str:
    """Where in a file an error arose, as a clause; empty where it did not arise there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f", line {line}" if line else ""
