"""Measures speed and memory: the command line.

    python -m sorajax.benchmark dit-12x384
    python -m sorajax.benchmark configs/world_dit.py --batch 8 --json speed.json
    python -m sorajax.benchmark configs/world_dit.py --remat     the training step, by what its backward pass repeats
    python -m sorajax.benchmark configs/videos_dit.py --loader   the experiment's data alone
    python -m sorajax.benchmark reference --part dit vae         beside diffusers and transformers
    python -m sorajax.benchmark gpu --minutes 4 --json gpu.json  the proof on one GPU: `gpu --help`, docs/gpu.md

Measured are the training step of an experiment's first bucket (random weights and latents: nothing has to be trained or
rendered before), a denoising step with guidance as the pipeline samples one clip, and the autoencoder on one clip.
FLOPs are the model's, counted from the traced architecture; utilisation is their share of the device's peak, where that
is known. Seconds are medians over --repeats calls, compile times those without the cache on disk. Other programs that
run at the same time falsify all of them, comparisons too: the load is said.

`reference` (needs the extra `parity`) times the reference implementations of the open models' parts, eager and by
torch.compile, with the same weights beside ours, call by call in turns on the CPU, once both compute the same; and with
`--part opening`, how long files take to open, theirs, ours and converted ones.

Exit codes: 0 done, 1 it failed on the way, 2 the request makes no sense, 130 interrupted.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from sorajax import __version__
from sorajax.devices.sharding import make_mesh
from sorajax.errors import BadRequest
from sorajax.evaluation import opening, reference
from sorajax.evaluation.cases import NAMED, Case, experiment_in, make_case, with_remat
from sorajax.evaluation.programs import decoding, denoising_step, encoding, training_step
from sorajax.evaluation.proof.command import prove
from sorajax.evaluation.speed import Figures, compiling_anew, normal, peak_memory, random_parameters, resident
from sorajax.files import whole_file
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import init_vae
from sorajax.models.vae import VAEConfig, decode_chunks

REFERENCE, OPENING, GPU = "reference", "opening", "gpu"
STREAMED = (33, 481)
"""Frames of the clips whose decoding's memory is compared."""


@dataclass(frozen=True)
class Benchmark:
    """What to measure, and how often."""

    config: tyro.conf.Positional[str]
    """`reference`, `gpu`, `dit-12x384`, `wan2.1-1.3b`, or an experiment file, e.g. configs/world_dit.py."""
    batch: int | None = None
    """Clips of a training step; the experiment's own by default, 1 for a named shape."""
    repeats: int = 10
    """Calls that are timed, after one that is not."""
    part: tuple[Literal["dit", "dit12", "vae", "vae22", "text", "opening"], ...] = ("dit", "vae", "vae22", "text")
    """Of `reference`, what to compare: Wan's transformer of 4 or 12 blocks, its autoencoders (2.1 and 2.2), UMT5; or
    how long a transformer of 8 whole blocks takes to open (3 GB of temporary files)."""
    eager: bool = False
    """Of `reference`, only eager mode: torch.compile takes minutes."""
    remat: bool = False
    """Only the training step, with each remat policy of the transformer, whose blocks are scanned for that."""
    loader: bool = False
    """Only the experiment's batches as training reads them; what they are made of must be there."""
    mesh: str = ""
    """Mesh axes of the training step, e.g. data=2,fsdp=4; one device by default."""
    json: Path | None = None
    """Also write the figures to this file; an existing one is replaced."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if arguments[:1] == [GPU]:
            return prove(arguments[1:])
        command = tyro.cli(
            Benchmark,
            prog="python -m sorajax.benchmark",
            description=__doc__,
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        check(command)
        with compiling_anew():
            figures = measure(command)
        if command.json:
            with whole_file(command.json.expanduser()) as temporary:
                temporary.write_text(json.dumps(figures, indent=2) + "\n")
            print(command.json)
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    except (OSError, ValueError, RuntimeError) as error:  # XLA's errors are RuntimeErrors
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    return 0


def complain(error: Exception | str, code: int) -> int:
    print(f"sorajax: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def check(command: Benchmark) -> None:
    """Raises BadRequest for what can be known to be wrong before anything is built."""
    for name in ("batch", "repeats"):
        value = getattr(command, name)
        if value is not None and value < 1:
            raise BadRequest(f"--{name} {value} is not allowed: use at least 1")
    if command.json and not command.json.expanduser().parent.is_dir():
        raise BadRequest(f"--json {command.json}: the folder does not exist; create it first")
    if command.json and command.json.expanduser().is_dir():
        raise BadRequest(f"--json {command.json} is a folder: name a file in it")
    if command.config == REFERENCE:
        check_reference(command)
    elif command.config not in NAMED and not Path(command.config).is_file():
        near = ", ".join([REFERENCE, GPU, *NAMED, *map(str, sorted(Path("configs").glob("*.py")))])
        raise BadRequest(f"{command.config} is neither a named config nor an experiment file: there are {near}")


def training_mesh(command: Benchmark, case: Case) -> jax.sharding.Mesh:
    """The mesh of the training step. Raises BadRequest where none is such, or the batch does not divide over it."""
    try:
        mesh = make_mesh(command.mesh) if command.mesh else make_mesh("", jax.devices()[:1])
    except ValueError as error:
        raise BadRequest(f"--mesh {command.mesh}: {error}") from error
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if case.clips % ways:
        raise BadRequest(f"--batch {case.clips} does not divide over the {ways} devices of --mesh {command.mesh}")
    return mesh


def check_reference(command: Benchmark) -> None:
    """Raises BadRequest where the reference cannot be run, or something is asked that it has not."""
    if missing := [name for name in reference.LIBRARIES if find_spec(name) is None]:
        raise BadRequest(f'{REFERENCE} needs {" and ".join(missing)}: pip install "sorajax[parity]"')
    if jax.default_backend() != "cpu":
        raise BadRequest(f"{REFERENCE} compares on the CPU only: set JAX_PLATFORMS=cpu")
    if command.remat or command.loader:
        raise BadRequest(f"{REFERENCE} has no training: name an experiment with --remat and --loader")


def measure(command: Benchmark) -> dict[str, Any]:
    """Measures and prints, line by line; returns the figures as JSON values."""
    figures: dict[str, Any] = {
        "config": command.config,
        "device": jax.devices()[0].device_kind,
        "repeats": command.repeats,
        "load": busy(),
        "versions": {"sorajax": __version__, "jax": jax.__version__},
    }
    if figures["load"] and figures["load"] > 0.5:
        print(f"note: other programs keep {figures['load']:.1f} processors busy; the times are not this machine's best")
    if command.config == REFERENCE:
        return figures | comparison(command.part, command.repeats, command.eager)
    if command.loader:
        return figures | loading(command)
    case = make_case(command.config, command.batch)
    mesh = training_mesh(command, case)
    figures |= described(command.config, case, mesh)
    return figures | (policies if command.remat else speeds)(case, mesh, command.repeats)


def described(name: str, case: Case, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Says what is measured."""
    count = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(case.stage.init, jax.random.key(0))))
    print(
        f"{name}: {count / 1e6:.2f} M parameters, latents {'x'.join(map(str, case.latent))}, {case.dtype}, "
        f"batch {case.clips} in training, {mesh.size} {jax.devices()[0].device_kind} device(s)",
        flush=True,
    )
    return {
        "batch": case.clips,
        "latent": list(case.latent),
        "text_tokens": case.tokens,
        "parameters": count,
        "dtype": case.dtype,
        "devices": mesh.size,
    }


def speeds(case: Case, mesh: jax.sharding.Mesh, repeats: int) -> dict[str, Any]:
    """Seconds, FLOPs and memory of each thing that the case can do."""
    print(HEADER, flush=True)
    figures: dict[str, Any] = {}
    if case.vae is not None:
        figures["streamed_decoding"] = streamed_decoding(case.vae)  # first: the system remembers the peak of all
    parts: dict[str, Callable[[], Figures]] = {}
    if case.dit is not None:
        parts["denoising_step"] = partial(denoising_step, case.dit, case, repeats)
    if case.vae is not None:
        parts["decode"] = partial(decoding, case.vae, case, repeats)
        parts["encode"] = partial(encoding, case.vae, case, repeats)
    parts["training_step"] = lambda: training_step(case, mesh, repeats)[0]
    for name, part in parts.items():
        found = part()
        figures[name] = asdict(found)
        print(row(name, found), flush=True)
    if case.vae is not None:
        print(streamed_line(figures["streamed_decoding"]), flush=True)
    memory = figures["peak_memory"] = peak_memory([figures[name]["bytes"] for name in parts])
    print(f"peak memory {memory['bytes'] / 1e6:,.1f} MB, {memory['source']}", flush=True)
    return figures


def busy() -> float | None:
    """Processors busy over the last minute, before anything was measured; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


HEADER = f"{'':16}{'compile s':>10}{'seconds':>10}{'GFLOP':>12}{'GFLOP/s':>11}{'utilised':>10}{'MB':>9}{'frames/s':>10}"


def row(name: str, found: Figures) -> str:
    """One line of the table."""
    utilised = "-" if found.utilisation is None else f"{found.utilisation:.1%}"
    memory = "-" if found.bytes is None else f"{found.bytes / 1e6:,.1f}"
    frames = "-" if found.frames_per_second is None else f"{found.frames_per_second:,.1f}"
    return (
        f"{name.replace('_', ' '):16}{found.compile_seconds:10.2f}{found.seconds:10.4f}{found.flops / 1e9:12,.2f}"
        f"{found.flops_per_second / 1e9:11,.1f}{utilised:>10}{memory:>9}{frames:>10}"
    )


def policies(case: Case, mesh: jax.sharding.Mesh, repeats: int) -> dict[str, Any]:
    """The training step with each remat policy: seconds, memory, and how far its losses are from the first one's."""
    if case.dit is None:
        raise BadRequest("--remat is about transformers, and this experiment trains none")
    print(f"{'remat':16}{'compile s':>10}{'seconds':>10}{'MB':>9}{'losses differ by':>18}", flush=True)
    rows, first = {}, None
    for policy in get_args(get_type_hints(DiTConfig)["remat"]):
        found, losses = training_step(with_remat(case, policy), mesh, repeats)
        first = losses if first is None else first
        apart = float(np.max(np.abs(np.subtract(losses, first)) / np.abs(first)))
        rows[policy] = asdict(found) | {"losses": losses, "difference": apart}
        size = (found.bytes or 0) / 1e6
        print(f"{policy:16}{found.compile_seconds:10.2f}{found.seconds:10.4f}{size:9,.1f}{apart:18.1e}", flush=True)
    return {"remat": rows}


def loading(command: Benchmark) -> dict[str, Any]:
    """Batches of an experiment as its training reads them, without the training; the first ones are not counted."""
    experiment = experiment_in(command.config)
    with tempfile.TemporaryDirectory() as directory:
        _, batches = experiment.build(Path(directory))
        data, clips = iter(batches), 0
        for _ in range(experiment.data.prefetch + 1):  # made before anybody asked
            next(data)
        start = time.perf_counter()
        for _ in range(command.repeats):
            clips += next(data).size
        seconds = time.perf_counter() - start
    found = {"batches": command.repeats, "samples": clips, "seconds": seconds, "samples_per_second": clips / seconds}
    print(
        f"{clips} clips in {command.repeats} batches, {experiment.data.threads} thread(s): "
        f"{clips / seconds:,.1f} samples/s, {seconds / command.repeats * 1e3:,.1f} ms a batch"
    )
    return {"loader": found}


def comparison(parts: Sequence[str], repeats: int, eager: bool) -> dict[str, Any]:
    """Ours and the reference's, part by part."""
    found = reference.conditions()
    libraries = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    print(f"{libraries}, {found['threads']} thread(s); medians of {repeats} calls each, in turns, milliseconds")
    print(f"{'':24}{'ours':>9}{'eager':>9}{'compiled':>9}{'ratio':>8}{'difference':>12}", flush=True)
    for part in dict.fromkeys(parts):
        if part == OPENING:
            found[part] = openings(repeats)
            continue
        shape, calls = reference.PARTS[part]()
        print(f"{part}: {shape}", flush=True)
        found[part] = {"shape": shape}
        for name, call in calls.items():
            one = found[part][name] = reference.compare(f"{part} {name}", call, repeats, eager)
            times = "".join(f"{one[way] * 1e3:9.1f}" if one[way] else f"{'-':>9}" for way in reference.WAYS)
            label = f"  {name.replace('_', ' + ')}"
            print(f"{label:24}{times}{one['ratio']:7.2f}x{one['difference']:12.1e}  {one['failure'] or ''}", flush=True)
    return {"reference": found}


def openings(repeats: int) -> dict[str, Any]:
    """How long it takes to open a transformer of real width."""
    found = opening.opening(repeats, depth=8)
    print(
        f"{OPENING}: {opening.MODEL}, 8 of 30 blocks, {found['bytes'] / 1e9:.2f} GB in {opening.DTYPE}, "
        "from float32 shards"
    )
    times = ", ".join(f"{way} {found[way] * 1e3:,.0f}" for way in opening.WAYS)
    print(f"  {times}: converted {found['ours'] / found['converted']:.2f}x as fast as the shards", flush=True)
    return found


def streamed_decoding(config: VAEConfig) -> dict[str, Any]:
    """Peaks of the process's memory after decoding a short and then a long clip of 96x64 as streams."""
    params, found = jax.device_put(random_parameters(partial(init_vae, config))), {}
    for frames in STREAMED:
        latent = jnp.asarray(normal(1, *config.latent_shape(frames, 64, 96)))
        for _ in decode_chunks(params, config, latent):
            pass
        found[str(frames)] = resident()
    return found


def streamed_line(found: dict[str, Any]) -> str:
    short, long = found.values()
    if short is None:
        return "streamed decoding: this system does not say how much memory a process has held"
    sizes = f"{long / 1e6:,.0f} MB after {STREAMED[1]} frames of 96x64, {short / 1e6:,.0f} MB after {STREAMED[0]}"
    return f"streamed decoding: the process has held {sizes}, {long / short:.2f}x"
