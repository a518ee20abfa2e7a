"""Measures speed and memory of an experiment or a named transformer, and prints each figure.

The measurements are the training step of the first bucket, a denoising step with guidance as the pipeline samples one
clip, the autoencoder on one clip, and the loader alone. `evaluation.programs` has the programs, `evaluation.speed` the
timing.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.devices.placement import ONE_DEVICE, Placement
from sorajax.devices.sharding import batch_ways, make_mesh
from sorajax.errors import BadRequest
from sorajax.evaluation import markdown
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.cases import Case, experiment_in, make_case, with_remat
from sorajax.evaluation.markdown import RANDOM_WEIGHTS, Measured
from sorajax.evaluation.programs import decoding, denoising_step, encoding, training_step
from sorajax.evaluation.speed import Figures, normal, peak_memory, random_parameters, resident
from sorajax.models.dit import DiTConfig
from sorajax.models.sora import init_vae
from sorajax.models.stream import decode_chunks
from sorajax.models.vae import VAEConfig

STREAMED = (33, 481)
"""Frames of the short and the long clip whose memory in decoding is compared."""
MEMORY_BAR = 1.5
"""Largest allowed ratio of the long clip's memory to the short one's."""


def measure(options: Benchmark) -> Measured:
    """Measures the case of the options and prints its figures."""
    settings = f"medians of {options.repeats} calls"
    if options.loader:
        return Measured(loading(options), {}, settings, RANDOM_WEIGHTS)
    case = make_case(options.config, options.batch)
    mesh = training_mesh(options, case)
    figures = print_case(options.config, case, mesh)
    figures |= (policies if options.remat else speeds)(case, mesh, options.repeats)
    tables = {"remat": remat_table(figures["remat"])} if options.remat else {}
    if "streamed_decoding" in figures:
        tables["streamed"] = streamed_table(figures["streamed_decoding"])
    return Measured(figures, tables, f"batch {case.clips}, {settings}", RANDOM_WEIGHTS)


def training_mesh(options: Benchmark, case: Case) -> jax.sharding.Mesh:
    """The mesh of the training step. Raises BadRequest for a mesh that does not exist here, or over which the batch
    does not divide."""
    try:
        mesh = make_mesh(options.mesh) if options.mesh else make_mesh("", jax.devices()[:1])
    except ValueError as error:
        raise BadRequest(f"--mesh {options.mesh}: {error}") from error
    ways = batch_ways(mesh)
    if case.clips % ways:
        raise BadRequest(f"--batch {case.clips} does not divide over the {ways} devices of --mesh {options.mesh}")
    return mesh


def print_case(name: str, case: Case, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Prints the case's shape and returns it as JSON values."""
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
    """Seconds, FLOPs and memory of each program of the case."""
    print(HEADER, flush=True)
    figures: dict[str, Any] = {}
    if case.vae is not None:
        figures["streamed_decoding"] = streamed_decoding(
            case.vae
        )  # first: the system reports the peak of the whole process
    parts: dict[str, Callable[[], Figures]] = {}
    placement = Placement(mesh) if mesh.size > 1 else ONE_DEVICE
    if case.dit is not None:
        parts["denoising_step"] = partial(denoising_step, case.dit, case, repeats, placement)
    if case.vae is not None:
        parts["decode"] = partial(decoding, case.vae, case, repeats, placement)
        parts["encode"] = partial(encoding, case.vae, case, repeats, placement)
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
    """The training step with each remat policy: seconds, memory, and the largest relative difference of its losses from
    the first policy's."""
    if case.dit is None:
        raise BadRequest("--remat is for transformers, and this experiment trains none: leave it out")
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


def loading(options: Benchmark) -> dict[str, Any]:
    """Speed of an experiment's data loader alone; the first batches, which were prefetched, are not counted."""
    experiment = experiment_in(options.config)
    with tempfile.TemporaryDirectory() as directory:
        _, batches = experiment.build(Path(directory))
        data, clips = iter(batches), 0
        for _ in range(experiment.data.prefetch + 1):  # prefetched before the clock starts
            next(data)
        start = time.perf_counter()
        for _ in range(options.repeats):
            clips += next(data).size
        seconds = time.perf_counter() - start
    found = {"batches": options.repeats, "samples": clips, "seconds": seconds, "samples_per_second": clips / seconds}
    print(
        f"{clips} clips in {options.repeats} batches, {experiment.data.threads} thread(s): "
        f"{clips / seconds:,.1f} samples/s, {seconds / options.repeats * 1e3:,.1f} ms a batch"
    )
    return {"loader": found}


def streamed_decoding(config: VAEConfig) -> dict[str, Any]:
    """Peak memory of the process in bytes after decoding a short and then a long clip of 96x64 as streams."""
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
        return "streamed decoding: this system does not report the peak memory of a process"
    sizes = f"{long / 1e6:,.0f} MB after {STREAMED[1]} frames of 96x64, {short / 1e6:,.0f} MB after {STREAMED[0]}"
    return f"streamed decoding: peak memory {sizes}, {long / short:.2f}x"


def streamed_table(found: dict[str, Any]) -> str:
    """A table for a page."""
    short, long = (found[str(frames)] for frames in STREAMED)
    what = f"memory in use after decoding {STREAMED[1]} / {STREAMED[0]} frames of 96x64 as a stream"
    value = "-" if short is None else f"{long / 1e6:,.0f} / {short / 1e6:,.0f} MB, {long / short:.2f}x"
    return markdown.table(["decoding", "measured", "bar"], [[what, value, f"at most {MEMORY_BAR}x"]])


def remat_table(found: dict[str, Any]) -> str:
    """A table for a page."""
    rows = [
        [f"`{policy}`", f"{one['seconds']:.2f} s", f"{(one['bytes'] or 0) / 1e6:,.0f} MB", f"{one['difference']:.0e}"]
        for policy, one in found.items()
    ]
    return markdown.table(["remat", "training step", "planned memory", "largest relative difference of losses"], rows)
