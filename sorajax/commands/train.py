"""Trains a model from an experiment file.

    python -m sorajax.train configs/world_vae.py
    python -m sorajax.train configs/world_dit.py --model.depth 24 --directory runs/deep
    python -m sorajax.train configs/world_dit.py --resume
    python -m sorajax.train configs/world_dit.py --directory gs://bucket/run
    python -m sorajax.train configs/world_dit.py --mesh data=2,fsdp=2,seq=2      eight devices on three mesh axes
    python -m sorajax.train configs/world_dit.py --coordinator 10.0.0.2:8476 --processes 2 --process 0    one of two
    python -m sorajax.train configs/world_dit.py --help      every setting of that experiment

The file defines `config`, a frozen dataclass; every field of it is an option. Checkpoints, TensorBoard events, sample
grids and the exported model are written to --directory (default: runs/NAME), which `sorajax.sample --model` opens.
SIGTERM and Ctrl-C save a checkpoint and stop; --resume continues to the same bits as an uninterrupted run.

Exit codes: 0 done, or stopped and saved; 1 failed, with one line on stderr; 2 the command line is wrong.
"""

import dataclasses
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from sorajax.commands.failures import complain
from sorajax.devices.distributed import DistributedConfig, exit_if_one_of_several, join, print_any_name
from sorajax.devices.profiling import TRACED, check_profile
from sorajax.files import Address, as_path, remove_folder

PROFILE = f"Folder for a trace of {TRACED} steps, for XProf, TensorBoard or Perfetto."
MESH = "Axes of the device mesh, e.g. data=2,fsdp=4,seq=2: data splits batches, fsdp batches and weights, seq the \
tokens of a clip, tensor heads and hidden units; one axis may be -1, which is all remaining devices."


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    print_any_name()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        name, (config, directory, resume, profile, together) = arguments[0], parse(arguments[0], arguments[1:])
        check_profile(profile)
    except (ValueError, FileNotFoundError) as error:
        return complain(error, 2)
    try:
        if join(together).count > 1:
            check_hosts(Path(name), config, resume)
        train(config, as_path(directory or Path("runs") / Path(name).stem), resume, profile)
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("SORAJAX_TRACEBACK"):
            raise
        exit_if_one_of_several(error)
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted: continue from the last checkpoint with --resume", 130)
    return 0


def parse(path: str, arguments: list[str]) -> tuple[Any, Path | None, bool, Path | None, DistributedConfig]:
    """Returns (config with overrides, directory, resume, folder of a trace, how processes find each other). Raises
    ValueError, with a suggestion for an unknown option; SystemExit after the help was shown."""
    import tyro

    from sorajax.commands.parsing import parse_options
    from sorajax.training.experiments import load_experiment
    from sorajax.training.former import present_arguments

    config = load_experiment(path)
    options = dataclasses.make_dataclass(
        "Options",
        [
            ("config", Annotated[type(config), tyro.conf.arg(name="")]),
            ("directory", Annotated[Path | None, tyro.conf.arg(help="Folder of the run; runs/NAME by default.")]),
            ("resume", Annotated[bool, tyro.conf.arg(help="Continue from the newest complete checkpoint.")]),
            ("mesh", Annotated[str | None, tyro.conf.arg(metavar="AXES", help=MESH)]),
            ("profile", Annotated[Path | None, tyro.conf.arg(help=PROFILE)]),
            ("together", Annotated[DistributedConfig, tyro.conf.arg(name="")]),
        ],
        frozen=True,
    )
    chosen = parse_options(
        options,
        f"python -m sorajax.train {path}",
        present_arguments(arguments),
        f"Settings of {path} and their values there.",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands),
        default=options(config, None, False, None, None, DistributedConfig()),
    )
    config = chosen.config
    if chosen.mesh is not None:
        config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, mesh=chosen.mesh))
    return config, chosen.directory, chosen.resume, chosen.profile, chosen.together


def check_hosts(path: Path, config: Any, resume: bool) -> None:
    """Raises ValueError, before anything is computed, if processes have other code, weights or options. path: the file
    of the experiment. Weights are the files and folders that it names, without those of data."""
    from sorajax.devices import fingerprint
    from sorajax.devices.exchange import check_same
    from sorajax.models.folder import to_json
    from sorajax.training.experiments import with_local_inputs

    here = with_local_inputs(config)
    named = {**vars(here), "start": here.loop.start, "latents": None}
    paths = {name: value.expanduser() for name, value in named.items() if isinstance(value, Path)}
    weights = [f"{name} {fingerprint.files(folder)}" for name, folder in paths.items() if folder.exists()]
    code = f"{fingerprint.code()}\n{fingerprint.files(path)}"
    options = json.dumps([to_json(config), resume], sort_keys=True)
    check_same({"code": code, "weights": "\n".join(weights), "options": options})


def train(config: Any, directory: Path, resume: bool = False, profile: Path | None = None) -> Any:
    """Builds the experiment's stage and data, and trains. Returns the last training state."""
    from sorajax.devices.compilation import enable_compilation_cache
    from sorajax.models.folder import to_json
    from sorajax.training.checkpoint import check_directory
    from sorajax.training.experiments import Experiment, check_mesh, publish_latents, with_local_inputs
    from sorajax.training.loop import fit
    from sorajax.training.step import method

    enable_compilation_cache()
    check_directory(directory)
    here = with_local_inputs(config)
    check_mesh(here)
    there = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        try:
            stage, batches = here.build(directory)
        finally:
            publish_latents(config)
        held_out = method(here, Experiment.held_out)(stage, directory) if config.loop.validate_every else ()
        return fit(stage, batches, here.loop, directory, resume, None, to_json(config), held_out, profile)
    except BaseException as error:
        if not there:
            leave_nothing(directory, error)
        raise


def leave_nothing(directory: Path, error: BaseException) -> None:
    """Removes a new directory if the run was refused or the directory is empty. A directory with checkpoints, or with
    the list of broken files that the error refers to, stays."""
    from sorajax.data.videos.clips import BROKEN

    steps = directory / "checkpoints"
    needed = (steps.is_dir() and (isinstance(steps, Address) or any(steps.iterdir()))) or (directory / BROKEN).exists()
    if isinstance(error, ValueError | OSError) and not needed:
        remove_folder(directory)
    with suppress(OSError):
        directory.rmdir()
