"""Experiments: data, objective, optimizer and export, put together; and how the file of one is read."""

import runpy
from pathlib import Path
from typing import Any


def load_experiment(path: str | Path) -> Any:
    """The `config` that an experiment file defines."""
    path = Path(path)
    if not path.is_file():
        near = sorted(Path("configs").glob("*.py"))
        known = f": there are {', '.join(map(str, near))}" if near else ""
        raise FileNotFoundError(f"{path} is no experiment file{known}")
    found = runpy.run_path(str(path))
    if "config" not in found:
        raise ValueError(f"{path} defines no `config`")
    return found["config"]
