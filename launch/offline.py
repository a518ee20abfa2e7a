"""Collects the wheels that a training needs on a machine without a network: what launch/offline.sh runs.

What a training imports is measured: it is run here for one step of one clip, with the options given after --for. pip
says which distributions sorajax requires, at versions that agree with those on the machine (--have). A wheel is
collected where its distribution is required, was imported, and is not on the machine; what --with names is collected
with everything that it requires.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TRAINING = ("configs/world_large.py",)
MIB = 2**20


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    asked = parse(arguments)
    try:
        have = installed(asked.have.read_text()) if asked.have else {}
        if asked.out.exists() and any(asked.out.iterdir()):
            raise ValueError(f"{asked.out} is not empty: name another folder with --out, or remove it")
        modules = imported(asked.training)
        target = pip_target(asked.python, asked.machine)
        wheels = missing(modules, have, wanted(asked.more, asked.cuda, have), target)
        size = collect(wheels, asked.out, asked.limit_mib, target)
    except (ValueError, OSError) as error:
        print(f"offline: {error}", file=sys.stderr)
        return 1
    print(f"{len(wheels)} wheels, {size / MIB:.1f} MiB: {asked.out}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="launch/offline.sh", description="Wheels for a machine without a network.")
    add = parser.add_argument
    add("--python", required=True, metavar="X.Y", help="the machine's Python, e.g. 3.12")
    add("--machine", default="x86_64", choices=("x86_64", "aarch64"), help="its processor (default: x86_64)")
    add("--cuda", type=int, metavar="N", help="collect jax[cudaN] where the machine has no jax for it (default: CPU)")
    add("--have", type=Path, metavar="FILE", help="`pip freeze` of the machine (default: it has nothing)")
    add("--out", type=Path, default=Path("wheels"), help="the folder to fill (default: wheels)")
    add("--limit-mib", type=float, default=48.0, metavar="MIB", help="size of all wheels at most (default: 48)")
    add("--with", dest="more", action="append", default=[], metavar="NAME", help="a package to add; may be repeated")
    add(
        "--for",
        dest="training",
        nargs=argparse.REMAINDER,
        default=TRAINING,
        metavar="CONFIG [OPTION ...]",
        help=f"what `python -m sorajax.train` is run with; comes last (default: {' '.join(TRAINING)})",
    )
    asked = parser.parse_args(arguments)
    if not re.fullmatch(r"3\.\d+", asked.python):
        parser.error(f"--python {asked.python}: say the version as 3.12")
    if not asked.training:
        parser.error("--for names no experiment file")
    return asked


def imported(training: Sequence[str]) -> set[str]:
    """Distributions of which one step of a training imports something. Raises ValueError where it does not run."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "modules.json"
        code = "import sys; from launch.offline import one_step; one_step(sys.argv[1], sys.argv[2:])"
        one_cpu = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, found, *training],
            cwd=ROOT,
            env={**os.environ, **one_cpu},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if run.returncode:
            raise ValueError(f"the training does not run here: {run.stderr.strip()}")
        return owners(json.loads(found.read_text()))


def one_step(found: str, training: Sequence[str]) -> None:
    """Trains for one step, with a preview, a checkpoint and an export; writes the files of all imported modules."""
    from sorajax.commands.train import parse, train

    try:
        config, *_ = parse(training[0], list(training[1:]))
        with tempfile.TemporaryDirectory() as directory:
            train(smallest(config), Path(directory))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{error}")
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    Path(found).write_text(json.dumps([file for file in files if file]))


def smallest(config: Any) -> Any:
    """An experiment cut down to one step of one clip of its smallest bucket, and to one layer."""
    previews = min(1, config.loop.preview_every)
    loop = replace(config.loop, steps=1, minutes=0.0, start=None, mesh="", preview_every=previews)
    changed: dict[str, Any] = {"loop": loop}
    if data := getattr(config, "data", None):
        bucket = min(data.buckets, key=lambda bucket: bucket.frames * bucket.height * bucket.width)
        budget = {"tokens": 0} if hasattr(data, "tokens") else {}
        changed["data"] = replace(data, buckets=(replace(bucket, batch_size=1),), phases=(), **budget)
    if hasattr(model := getattr(config, "model", None), "depth"):
        changed["model"] = replace(model, depth=1)
    if hasattr(objective := getattr(config, "objective", None), "sample_steps"):
        changed["objective"] = replace(objective, sample_steps=1)
    return replace(config, **changed)


def owners(files: Iterable[str]) -> set[str]:
    """Distributions that installed these files."""
    files = set(files)
    return {
        canonical(found.metadata["Name"])
        for found in distributions()
        if any(str(found.locate_file(file)) in files for file in found.files or ())
    }


def canonical(name: str) -> str:
    """A distribution's name as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The name in a requirement, e.g. jax in `jax[cuda13]>=0.10`."""
    return canonical(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0])


def installed(freeze: str) -> dict[str, str | None]:
    """Distributions in the output of `pip freeze` with their versions.

    None where the version is not on an index: an install from a folder, or a development version. What follows a `+`
    says how a version was built, and is left out. Raises ValueError for a line that names no distribution.
    """
    found: dict[str, str | None] = {}
    for line in map(str.strip, freeze.splitlines()):
        if not line or line.startswith(("#", "-")):
            continue
        if not (match := re.fullmatch(r"([\w.-]+)(?:==([^+\s;]+)\S*| @ .*)", line)):
            raise ValueError(f"'{line}' is no line of `pip freeze`: they read NAME==VERSION")
        name, version = match.groups()
        released = version and re.fullmatch(r"[\d.]+(\.post\d+)?", version)
        found[canonical(name)] = version if released else None
    return found


def required() -> dict[str, str]:
    """What sorajax requires, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {name_of(line): line for line in project["dependencies"]}


def wanted(more: Sequence[str], cuda: int | None, have: Collection[str]) -> list[str]:
    """Requirements to collect whether a training imports them or not."""
    found = [required().get(name_of(name), name) for name in more]
    if cuda and f"jax-cuda{cuda}-plugin" not in have:
        found.append(f"jax[cuda{cuda}]")
    return found


def pip_target(python: str, machine: str) -> list[str]:
    """pip's options for wheels of another machine. pip does not add older platforms, so all are named."""
    named_by_glibc = [f"manylinux_2_{minor}" for minor in range(28, 4, -1)]
    platforms = [*named_by_glibc, "manylinux2014", "manylinux2010", "manylinux1"]
    named = [option for platform in platforms for option in ("--platform", f"{platform}_{machine}")]
    return ["--python-version", python, "--implementation", "cp", "--only-binary=:all:", *named]


def missing(
    modules: Collection[str], have: Mapping[str, str | None], more: Sequence[str], target: Sequence[str]
) -> list[str]:
    """Wheels to collect, as NAME==VERSION: what was imported of what sorajax requires, and `more` with all that it
    requires, less what the machine has."""
    needed = [line for name, line in required().items() if name in modules]
    pins = {name: version for name, version in have.items() if version}
    versions = resolve([*needed, *more], pins, target)
    whole = set(resolve(more, versions, target)) if more else set()
    chosen = [name for name in versions if (name in modules or name in whole) and name not in have]
    return [f"{name}=={versions[name]}" for name in sorted(chosen, key=lambda name: (name in whole, name))]


def resolve(requirements: Sequence[str], pins: Mapping[str, str], target: Sequence[str]) -> dict[str, str]:
    """Versions of all that pip would install on the target. Raises ValueError where there are none that agree."""
    with tempfile.TemporaryDirectory() as folder:
        report, constraints = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        pip(
            "install",
            "--dry-run",
            "--ignore-installed",
            "--target",
            f"{folder}/none",
            "--report",
            str(report),
            "--constraint",
            str(constraints),
            *target,
            *requirements,
        )
        found = json.loads(report.read_text())["install"]
    return {canonical(each["metadata"]["name"]): each["metadata"]["version"] for each in found}


def collect(wheels: Sequence[str], out: Path, limit_mib: float, target: Sequence[str]) -> int:
    """Downloads the wheels into `out`; returns their bytes. Raises ValueError at the first one beyond the limit, and
    leaves nothing in `out` then."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary) / "wheels"
        folder.mkdir()
        for number, wheel in enumerate(wheels, 1):
            pip("download", "--no-deps", "--dest", str(folder), *target, wheel)
            size = check_size(folder, limit_mib, f"{number} of {len(wheels)} wheels")
        for file in sorted(folder.iterdir()):
            print(f"{file.stat().st_size / MIB:6.2f} MiB  {file.name}")
        folder.rename(out)
    return size


def check_size(folder: Path, limit_mib: float, what: str) -> int:
    """Bytes of a folder's files. Raises ValueError where they are more than the limit."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > limit_mib * MIB:
        raise ValueError(
            f"{what} take {size / MIB:.1f} MiB and the limit is {limit_mib:g}: "
            "name what the machine has with --have, or raise --limit-mib"
        )
    return size


def pip(*arguments: str) -> None:
    """Runs pip. Raises ValueError with its errors in one line."""
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        said = [line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if not line.startswith("WARNING")]
        raise ValueError(f"pip {arguments[0]}: {' '.join(' '.join(said).split())}")


if __name__ == "__main__":
    sys.exit(main())
