"""One part of the proof, in its own process: `python -m sorajax.evaluation.proof numerics --lines FILE`."""

import faulthandler
import importlib
import json
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tyro

from sorajax.devices.compilation import claim_memory, enable_compilation_cache
from sorajax.evaluation.proof.parts import SECTIONS

NVIDIA = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cuda-runtime")
PACKAGES = ("jax", "jaxlib", "flax", *NVIDIA, "torch", "diffusers")
ALONE = 10.0
"""Seconds after its limit at which a part ends itself, in case its parent process is gone and cannot end it."""
NO_GPU = "no GPU was found: use --rehearse, which runs all parts at toy sizes on any device"


@dataclass(frozen=True)
class Task:
    """Options of a part's process, which the parent process sets."""

    part: tyro.conf.Positional[str]
    lines: Path
    """The file that lines of JSON are appended to."""
    seconds: float
    """The part's time limit."""
    rehearse: bool = False
    profile: Path | None = None


def main() -> int:
    task = tyro.cli(Task)
    faulthandler.enable()
    faulthandler.dump_traceback_later(task.seconds + ALONE, exit=True)
    part = SECTIONS[task.part]
    if "XLA_PYTHON_CLIENT_PREALLOCATE" not in part.environment:
        claim_memory()
    enable_compilation_cache()

    import jax

    if jax.default_backend() != "gpu" and not task.rehearse:
        return append(task.lines, {"refused": NO_GPU})
    append(task.lines, {"conditions": conditions(jax.devices()[0])})
    from sorajax.evaluation.proof.figures import Setting, run_pieces
    from sorajax.evaluation.proof.sizes import TOY, TRUE

    pieces = importlib.import_module(f"sorajax.evaluation.proof.{part.module}").pieces
    run_pieces(pieces(Setting(TOY if task.rehearse else TRUE, task.seconds, task.profile)), task.lines)
    return 0


def append(lines: Path, values: dict[str, Any]) -> int:
    """Appends JSON values to a file of lines; returns 0, the exit code."""
    with lines.open("a") as file:
        file.write(json.dumps(values) + "\n")
    return 0


def conditions(device: Any) -> dict[str, Any]:
    """The device, and the versions on which its figures depend."""
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    memory = (device.memory_stats() or {}).get("bytes_limit")
    platform = getattr(device.client, "platform_version", "").strip().replace("\n", ", ")
    return {"device": device.device_kind, "memory": memory, "platform": platform, "versions": versions}


if __name__ == "__main__":
    sys.exit(main())
