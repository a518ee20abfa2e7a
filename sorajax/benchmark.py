"""Measures speed and memory: the command line.

    python -m sorajax.benchmark dit-12x384 --reference
    python -m sorajax.benchmark configs/world_dit.py --batch 8 --json speed.json

Measured are the training step of an experiment's first bucket (random weights and latents: nothing has to be trained or
rendered before), a denoising step with guidance as the pipeline samples one clip, and the autoencoder on one clip.
FLOPs are the model's, counted from the traced architecture; utilisation is their share of the device's peak, where that
is known. Seconds are medians over --repeats calls, compile times those without the cache on disk. Other programs that
run at the same time falsify all of them, comparisons too: the load is said.

--reference (needs the extra `parity`) times diffusers' WanTransformer3DModel, eager, with the same weights beside ours,
call by call in turns on the CPU, and compares what both compute.

Exit codes: 0 done, 1 it failed on the way, 2 the request makes no sense, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float

from sorajax import __version__
from sorajax.checkpoint import load_model
from sorajax.data.batches import WorldBatch, WorldData, scene_maker
from sorajax.diffusion.flow import interpolate, logit_normal, velocity_target
from sorajax.diffusion.guidance import guided_pair
from sorajax.diffusion.samplers import euler
from sorajax.evaluation.reference import compare
from sorajax.evaluation.speed import (
    Figures,
    compiling_anew,
    normal,
    peak_memory,
    random_parameters,
    resident,
    summary,
    timed,
    timed_compile,
)
from sorajax.models.dit import DiT, DiTConfig
from sorajax.models.sora import SoraConfig, init_dit, init_vae
from sorajax.models.vae import VAE, VAEConfig, decode_chunks
from sorajax.pipeline import compiled, decode_whole
from sorajax.request import BadRequest
from sorajax.sharding import make_mesh, place_batch, shardings
from sorajax.train import load_experiment
from sorajax.training.flops import forward_flops, training_flops
from sorajax.training.flow import FlowStage, FlowTraining
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import Stage, make_begin, make_update
from sorajax.training.vae import VAEStage, VAETraining
from sorajax.video import whole_file


@dataclass(frozen=True)
class Shape:
    """A transformer alone, at one size of latents and text; the text arrives embedded."""

    dit: DiTConfig
    latent: tuple[int, int, int]
    """Latent frames, rows and columns."""
    tokens: int
    """Of text."""


STREAMED = (33, 481)
"""Frames of the clips whose decoding's memory is compared."""

NAMED = {
    "dit-12x384": Shape(
        DiTConfig(width=384, hidden=1536, depth=12, heads=6, stacked=False, remat="none"), latent=(7, 16, 16), tokens=64
    ),
    # 81 frames of 832x480; training takes an accelerator of 80 GB.
    "wan2.1-1.3b": Shape(DiTConfig(dtype="bfloat16"), latent=(21, 60, 104), tokens=512),
}


@dataclass(frozen=True)
class Benchmark:
    """What to measure, and how often."""

    config: tyro.conf.Positional[str]
    """`dit-12x384`, `wan2.1-1.3b`, or an experiment file, e.g. configs/world_dit.py."""
    batch: int | None = None
    """Clips of a training step, and of the comparison; the experiment's own by default, 1 for a named shape."""
    repeats: int = 10
    """Calls that are timed, after one that is not."""
    reference: bool = False
    """Also time the reference transformer beside ours."""
    mesh: str = ""
    """Mesh axes of the training step, e.g. data=2,fsdp=4; one device by default."""
    json: Path | None = None
    """Also write the figures to this file; an existing one is replaced."""


@dataclass(frozen=True)
class Case:
    """What there is to measure. A batch is one of the stage; `dit` or `vae` is None where the config has none."""

    stage: Stage
    batch: Any
    clips: int
    optimizer: OptimizerConfig
    latent: tuple[int, ...]
    """t, h, w and c of one clip."""
    dit: DiTConfig | None = None
    tokens: int = 0
    """Of text."""
    vae: VAEConfig | None = None
    size: tuple[int, int, int] = (0, 0, 0)
    """Frames, rows and columns of a clip in pixels."""

    @property
    def dtype(self) -> str:
        return (self.dit or self.vae).dtype  # type: ignore[union-attr]


@flax.struct.dataclass
class TransformerStage:
    """Flow matching of a transformer alone, on batches of latents and embedded text."""

    config: DiTConfig = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array) -> Any:
        return init_dit(self.config, key)

    def loss(self, params: Any, batch: dict[str, Array], key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        data, (time_key, noise_key) = batch["latent"], jax.random.split(key)
        clock = jnp.broadcast_to(logit_normal(time_key, (len(data), 1)), data.shape[:2])
        noise = jax.random.normal(noise_key, data.shape)
        x = interpolate(data, noise, clock)
        velocity: Any = DiT(self.config).apply({"params": params}, x, clock, batch["context"])
        return jnp.mean(jnp.square(velocity - velocity_target(data, noise))), {}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        command = tyro.cli(
            Benchmark,
            prog="python -m sorajax.benchmark",
            description=__doc__,
            args=argv,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        check(command)
        case = make_case(command.config, command.batch)
        mesh = training_mesh(command, case)
        check_reference(command, case)
        with compiling_anew():
            figures = measure(command, case, mesh)
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
    if command.config not in NAMED and not Path(command.config).is_file():
        near = ", ".join([*NAMED, *map(str, sorted(Path("configs").glob("*.py")))])
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


def check_reference(command: Benchmark, case: Case) -> None:
    """Raises BadRequest where --reference is asked for and nothing could be compared."""
    if not command.reference:
        return
    if missing := [name for name in ("torch", "diffusers") if find_spec(name) is None]:
        raise BadRequest(f'--reference needs {" and ".join(missing)}: pip install "sorajax[parity]"')
    if case.dit is None:
        raise BadRequest(f"--reference compares transformers, and {command.config} has none: use e.g. dit-12x384")
    if case.dit.pooled_text:
        raise BadRequest("--reference: pooled_text=True has no counterpart in the reference; use e.g. dit-12x384")
    if case.dit.dtype != "float32":
        raise BadRequest(f"--reference compares in float32, and {command.config} runs in {case.dit.dtype}")
    if jax.default_backend() != "cpu":
        raise BadRequest("--reference compares on the CPU only: set JAX_PLATFORMS=cpu")


def make_case(name: str, clips: int | None) -> Case:
    """The named shape, or the experiment in a file. Raises BadRequest for a file that holds no experiment."""
    if name in NAMED:
        return transformer_case(NAMED[name], clips or 1)
    try:
        experiment = load_experiment(name)
    except (SyntaxError, ValueError) as error:
        raise BadRequest(f"{name} is no experiment file: {error}") from error
    if isinstance(experiment, FlowTraining):
        return flow_case(experiment, autoencoder(experiment.vae, Path(name)), clips)
    if isinstance(experiment, VAETraining):
        return vae_case(experiment, clips)
    raise BadRequest(f"{name} defines a {type(experiment).__name__}: FlowTraining and VAETraining can be measured")


def transformer_case(shape: Shape, clips: int) -> Case:
    latent = (*shape.latent, shape.dit.in_channels)
    batch = {"latent": normal(clips, *latent), "context": normal(clips, shape.tokens, shape.dit.text_width)}
    return Case(TransformerStage(shape.dit), batch, clips, OptimizerConfig(), latent, shape.dit, shape.tokens)


def flow_case(experiment: FlowTraining, vae: VAEConfig, clips: int | None) -> Case:
    bucket = experiment.data.buckets[0]
    bucket = replace(bucket, batch_size=clips or bucket.batch_size)
    latent, text = vae.latent_shape(*bucket.size), experiment.text
    config = SoraConfig(text, experiment.model, vae)
    stage = FlowStage(None, None, config, experiment.objective, experiment.data, tokenizer="")
    ids = np.random.default_rng(0).integers(0, text.vocabulary, (bucket.batch_size, text.tokens), np.int32)
    batch = WorldBatch(None, normal(bucket.batch_size, *latent), ids, np.ones_like(ids, bool), bucket)
    return Case(
        stage, batch, bucket.batch_size, experiment.loop.optimizer, latent, config.dit, text.tokens, vae, bucket.size
    )


def vae_case(experiment: VAETraining, clips: int | None) -> Case:
    bucket = experiment.data.buckets[0]
    bucket = replace(bucket, batch_size=clips or bucket.batch_size)
    stage = VAEStage(experiment.model, experiment.objective, experiment.data).at(experiment.loop.steps)
    if isinstance(experiment.data, WorldData):
        batch = scene_maker(experiment.data)(bucket, np.random.default_rng(0))
    else:
        batch = WorldBatch(pixels=np.zeros((bucket.batch_size, *bucket.size, 3), np.uint8), bucket=bucket)
    latent = experiment.model.latent_shape(*bucket.size)
    return Case(
        stage, batch, bucket.batch_size, experiment.loop.optimizer, latent, vae=experiment.model, size=bucket.size
    )


def autoencoder(folder: Path, experiment: Path) -> VAEConfig:
    """The autoencoder that an experiment names by its folder: the config of the experiment of that name beside it, so
    that none has to be trained, or else of the trained one. Raises BadRequest where there is neither."""
    beside = experiment.with_name(f"{folder.name}.py")
    if beside.is_file():
        return load_experiment(beside).model
    if folder.is_dir():
        return load_model(folder, VAEConfig)[0]
    raise BadRequest(f"{experiment} has its autoencoder in {folder}, and neither that nor {beside} exists: train it")


def measure(command: Benchmark, case: Case, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Measures and prints, line by line; returns the figures as JSON values."""
    count = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(case.stage.init, jax.random.key(0))))
    figures: dict[str, Any] = {
        "config": command.config,
        "batch": case.clips,
        "latent": list(case.latent),
        "text_tokens": case.tokens,
        "parameters": count,
        "dtype": case.dtype,
        "device": jax.devices()[0].device_kind,
        "devices": mesh.size,
        "repeats": command.repeats,
        "load": busy(),
        "versions": {"sorajax": __version__, "jax": jax.__version__},
    }
    if figures["load"] and figures["load"] > 0.5:
        print(f"note: other programs keep {figures['load']:.1f} processors busy; the times are not this machine's best")
    print(
        f"{command.config}: {count / 1e6:.2f} M parameters, latents {'x'.join(map(str, case.latent))}, {case.dtype}, "
        f"batch {case.clips} in training, {mesh.size} {figures['device']} device(s)\n{HEADER}",
        flush=True,
    )
    if case.vae is not None:
        figures["streamed_decoding"] = streamed_decoding(case.vae)  # first: the system remembers the peak of all
    parts: dict[str, Callable[[], Figures]] = {}
    if case.dit is not None:
        parts["denoising_step"] = partial(denoising_step, case.dit, case, command.repeats)
    if case.vae is not None:
        parts["decode"] = partial(decoding, case.vae, case, command.repeats)
        parts["encode"] = partial(encoding, case.vae, case, command.repeats)
    parts["training_step"] = partial(training_step, case, mesh, command.repeats)
    for name, part in parts.items():
        found = part()
        figures[name] = asdict(found)
        print(row(name, found), flush=True)
    if case.vae is not None:
        print(streamed_line(figures["streamed_decoding"]), flush=True)
    memory = figures["peak_memory"] = peak_memory([figures[name]["bytes"] for name in parts])
    print(f"peak memory {memory['bytes'] / 1e6:,.1f} MB, {memory['source']}", flush=True)
    if command.reference and case.dit is not None:
        figures["reference"] = compare(case.dit, case.clips, case.latent[:3], case.tokens, command.repeats)
        print(comparison(figures["reference"], command.repeats), flush=True)
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


def training_step(case: Case, mesh: jax.sharding.Mesh, repeats: int) -> Figures:
    """Loss, gradient, update and average, as the training loop runs them."""
    optimizer, key = make_optimizer(case.optimizer, 1000), jax.random.key(0)
    with jax.set_mesh(mesh):
        params = random_parameters(case.stage.init)
        flops = training_flops(case.stage.loss, params, case.batch, key)
        where = shardings(jax.eval_shape(make_begin(optimizer), params), mesh)
        state = jax.jit(make_begin(optimizer), out_shardings=where)(params)
        batch = place_batch(case.batch, mesh)
        update = jax.jit(make_update(optimizer, case.optimizer), donate_argnums=0, out_shardings=(where, None))
        program, seconds = timed_compile(lambda: update.lower(state, case.stage, batch, key).compile())

        def step() -> Any:
            nonlocal state
            state, metrics = program(state, case.stage, batch, key)
            return metrics

        return summary(program, seconds, timed(step, repeats), flops, mesh.size)


def denoising_step(config: DiTConfig, case: Case, repeats: int) -> Figures:
    """One step of one clip, its velocities with and without the prompt from one batch of two, as in the pipeline."""
    config = replace(config, unroll=1)  # the pipeline's choice: it compiles sooner

    def step(params: Any, x: Float[Array, "b t h w c"], context: Float[Array, "2b m e"], times: Float[Array, "2"]):
        def pair(x: Array, clock: Array) -> tuple[Array, Array]:
            twice, clocks = jnp.concatenate([x, x]), jnp.concatenate([clock, clock])
            both: Any = DiT(config).apply({"params": params}, twice, clocks, context)
            velocity, velocity_null = jnp.split(both, 2)
            return velocity, velocity_null

        return euler(guided_pair(pair, 4.0), x, times)

    params = jax.device_put(random_parameters(partial(init_dit, config)))
    times = np.array([0.9, 0.8], np.float32)
    return called(step, repeats, params, normal(1, *case.latent), normal(2, case.tokens, config.text_width), times)


def decoding(config: VAEConfig, case: Case, repeats: int) -> Figures:
    """Latents of one clip to frames, as in the pipeline."""
    params = jax.device_put(random_parameters(partial(init_vae, config)))
    found = called(partial(decode_whole, config), repeats, params, normal(1, *case.latent))
    return replace(found, frames_per_second=case.size[0] / found.seconds)


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


def encoding(config: VAEConfig, case: Case, repeats: int) -> Figures:
    """Frames of one clip to latents."""

    def encode(params: Any, video: Float[Array, "b t y x 3"]) -> Any:
        return VAE(config).apply({"params": params}, video, method="encode")

    params = jax.device_put(random_parameters(partial(init_vae, config)))
    found = called(encode, repeats, params, np.tanh(normal(1, *case.size, 3)))
    return replace(found, frames_per_second=case.size[0] / found.seconds)


def called(function: Callable[..., Any], repeats: int, *arguments: Any) -> Figures:
    """A function compiled as the pipeline compiles, on one device."""
    arguments = jax.device_put(arguments)
    flops = forward_flops(function, *arguments)
    program, seconds = timed_compile(lambda: compiled(function, *arguments))
    return summary(program, seconds, timed(lambda: program(*arguments), repeats), flops)


def comparison(found: dict[str, Any], repeats: int) -> str:
    """Two lines and a title."""
    libraries = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    lines = [f"reference: {libraries}, {found['threads']} thread(s), eager; medians of {repeats} calls each, in turns"]
    for name in ("forward", "forward_backward"):
        one = found[name]
        lines.append(
            f"{name.replace('_', ' + '):20} ours {one['seconds']:.4f} s, reference {one['reference_seconds']:.4f} s: "
            f"{one['ratio']:.2f}x as fast, largest relative difference {one['difference']:.1e}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
