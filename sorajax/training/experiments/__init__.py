"""An experiment composes model, data, objective, loop and export. This file defines its protocol, reads experiment
files, and checks meshes."""

import dataclasses
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from sorajax.copies import WorkingCopy, fetched
from sorajax.data.buckets import stem
from sorajax.data.videos.clips import VideoData
from sorajax.devices.sharding import batch_ways, make_mesh
from sorajax.files import Address, as_path
from sorajax.pretrained.hub import resolve_model
from sorajax.training.loop import Batches, LoopConfig
from sorajax.training.step import Stage, method


class Experiment(Protocol):
    """A frozen dataclass whose every field is a command-line option of `sorajax.train`.

    It needs `loop` and `build`. For a method that it lacks, the default here is used (`method(experiment,
    Experiment.planned)(mesh)`), whether its class derives from this one or not.
    """

    @property
    def loop(self) -> LoopConfig:
        """Length, optimizer, mesh and checkpoints of the run."""
        ...

    def build(self, directory: Path) -> tuple[Stage, Batches]:
        """The objective and its endless training batches. Files that a resumed run needs are kept in `directory`."""
        ...

    def held_out(self, stage: Stage, directory: Path) -> Sequence[Any]:
        """Batches for validation, which training never sees. Default: none, nothing is validated."""
        return ()

    def planned(self, mesh: Mesh) -> tuple[Stage, Sequence[Any]] | None:
        """The objective and one batch of each shape, as shapes without arrays, for a mesh whose devices need not be
        here. Default: None, the experiment cannot be planned."""
        return None


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


def with_local_inputs(experiment: Any) -> Any:
    """The experiment with copies of the models and videos that it names at addresses, in this machine's cache folder.
    Raises FileNotFoundError for one that is not there, ValueError for an address that must be a local folder."""

    def local(name: str, path: Path, data: bool = False) -> Path:
        if not isinstance(as_path(path), Address):
            return path
        if name == "latents" and (count := jax.process_count()) > 1:
            raise ValueError(f"--latents {as_path(path)}: {count} processes need a folder that all hosts see")
        if name == "latents":
            copy = WorkingCopy(as_path(path))
            copy.update()
            return copy.folder
        return fetched(as_path(path)) if data else resolve_model(path)

    named = {name: as_path(str(one)) for name, one in vars(experiment).items() if isinstance(one, Path | Address)}
    changed: dict[str, Any] = {name: local(name, path) for name, path in named.items()}
    if experiment.loop.start is not None:
        start = local("start", experiment.loop.start)
        changed["loop"] = dataclasses.replace(experiment.loop, start=start)
    videos = getattr(experiment, "data", None)
    if isinstance(videos, VideoData):
        folder, *more = (dataclasses.replace(one, folder=local("data", one.folder, True)) for one in videos.sources)
        changed["data"] = dataclasses.replace(videos, folder=folder.folder, more=tuple(more))
    return dataclasses.replace(experiment, **changed)


def publish_latents(experiment: Any) -> None:
    """Copies latents to the address that the experiment names for them, if any."""
    latents = getattr(experiment, "latents", None)
    if latents is not None:
        WorkingCopy(as_path(latents)).publish()


def check_mesh(experiment: Experiment) -> None:
    """Raises ValueError where the mesh does not fit the devices, or a batch or the model does not divide over it. It is
    called before any data are prepared."""
    mesh = make_mesh(experiment.loop.mesh)
    ways, data = batch_ways(mesh), getattr(experiment, "data", None)
    for bucket in () if getattr(data, "tokens", 0) else getattr(data, "buckets", ()):  # a budget of tokens divides
        if bucket.batch_size % ways:
            fit = -(-bucket.batch_size // ways) * ways
            raise ValueError(
                f"a batch of {bucket.batch_size} clips of {stem(bucket)} does not divide over {ways} "
                f"devices: choose a multiple of {ways}, e.g. {fit}"
            )
    if planned := method(experiment, Experiment.planned)(mesh):
        method(planned[0], Stage.check)(mesh)


def executed(path: Path) -> ModuleType:
    """A Python file as a module, under the name of its path, so that classes it defines have their source."""
    module = sys.modules[str(path)] = ModuleType(str(path))
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def _line_of(error: Exception, path: Path) -> str:
    """The line of a file in which an error arose, as a clause; empty where it arose elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    return f", line {line}" if line else ""
