"""What training and sampling take on machines that are not here, printed: each bucket of an experiment, each stage of
sampling a model. The compiler's own figures come from `training.ahead`, our arithmetic from `sampling.memory`."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh

from sorajax.devices.sharding import parse_axes
from sorajax.errors import BadRequest
from sorajax.evaluation.options import Sampling
from sorajax.models.folder import load_model
from sorajax.models.quantized import quantize
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.pretrained.conventions import known_config, known_name
from sorajax.pretrained.hub import resolve_model
from sorajax.pretrained.part import abstract_parameters
from sorajax.pretrained.wan_folder import is_open_model, open_model
from sorajax.sampling.memory import nbytes, sampling_programs
from sorajax.sampling.request import Request, parse_size
from sorajax.sampling.settings import settings_for
from sorajax.training.ahead import (
    GIB,
    Chip,
    StepPlan,
    TooLarge,
    Topology,
    alternatives,
    axes_text,
    compile_program,
    mesh_on,
    peak_of,
    plan_step,
)

MOST_TRIED = 4
"""Meshes that are tried where a step does not fit."""


def plan_sampling(asked: Sampling, name: str) -> int:
    """Prints the plan of each stage of sampling. Raises ValueError and FileNotFoundError."""
    config, weights = described(asked)
    width, height = parse_size(asked.size) if asked.size else config.sizes[0][::-1]
    request = Request(("a",), width=width, height=height, frames=asked.frames or None, steps=asked.steps or None)
    try:
        settings = settings_for(request, config)
    except BadRequest as error:
        raise ValueError(str(error)) from error
    topology = Topology(name)
    mesh = mesh_on(topology, {"fsdp": -1})
    memory, fits = topology.chip.memory, True
    print(
        f"{config.name}, {width}x{height}, {settings.frames} frames, {settings.steps} steps, on {mesh.size} x "
        f"{topology.kind} of {memory / GIB:.0f} GiB; GiB a device:"
    )
    for stage in sampling_programs(config, weights, settings.latent, settings.steps, memory):
        if stage.name.partition(",")[0] not in asked.stages:
            continue
        weighs = nbytes(stage.arguments[0])
        held = weighs / mesh.size  # devices share the weights; of one clip each has all values
        planned = held + stage.planned - weighs
        line = f"  {stage.name:<16} weights {held / GIB:6.2f}   planned {planned / GIB:6.2f}"
        try:
            peak = peak_of(compile_program(stage, mesh).memory_analysis())
        except TooLarge as error:
            print(f"{line}   does not fit: {error} of {memory / GIB:.0f} GiB")
            fits = False
            continue
        fits = fits and peak <= memory
        least = stage.calls * stage.flops / mesh.size / topology.chip.flops
        print(f"{line}   compiled {peak / GIB:6.2f}" + (f"   at least {least:.1f} s" if least else ""))
    if not fits:
        print("does not fit: take more devices, --quantize int8, fewer --frames or a smaller --size")
    return 0 if fits else 1


def described(asked: Sampling) -> tuple[Any, dict[str, Any]]:
    """A model's config, and its weights' shapes by part. Raises ValueError and FileNotFoundError."""
    if known_name(asked.model):
        config = known_config(asked.model, asked.dtype)
    elif is_open_model(folder := resolve_model(asked.model)):
        config = open_model(folder, asked.dtype).config
    else:
        config = load_model(folder, SoraConfig)[0]
    weights = {
        "text": abstract_parameters(init_text, config.text, asked.dtype),
        "dit": abstract_parameters(init_dit, config.dit, asked.dtype),
        "vae": abstract_parameters(init_vae, config.vae, "float32"),
    }
    if config.vision is not None:
        weights["vision"] = abstract_parameters(init_vision, config.vision, asked.dtype)
    if bits := asked.quantize:
        small = [name for name in weights if name not in ("vae", "vision")]
        weights |= {name: jax.eval_shape(lambda x: quantize(x, bits), weights[name]) for name in small}
        config = dataclasses.replace(
            config,
            text=dataclasses.replace(config.text, quantized=True),
            dit=dataclasses.replace(config.dit, quantized=True),
        )
    return config, weights


def plan_training(config: Any, name: str) -> int:
    """Prints the plan of every bucket. Raises ValueError."""
    if not hasattr(config, "planned"):
        raise ValueError(f"{type(config).__name__} cannot be planned: give a training of a transformer")
    topology = Topology(name)
    mesh = mesh_on(topology, parse_axes(config.loop.mesh))
    sizes = {axis: size for axis, size in mesh.shape.items() if size > 1}
    print(
        f"{mesh.size} x {topology.kind} as {axes_text(sizes)}: {topology.chip.memory / GIB:.0f} GiB and "
        f"{topology.chip.flops / 1e12:.0f} TFLOP/s each"
    )
    if not (too_large := planned(config, topology, mesh)):
        return 0
    print(f"does not fit: {too_large}")
    heads = config.planned(mesh)[0].config.dit.heads
    tried = [other for other in alternatives(mesh.size, heads) if other != dict(mesh.shape)]
    fitting = []
    for other in tried[:MOST_TRIED]:
        changed = dataclasses.replace(config, loop=dataclasses.replace(config.loop, mesh=axes_text(other)))
        try:
            if not planned(changed, topology, mesh_on(topology, other), quiet=True):
                fitting.append(axes_text(other))
        except ValueError:  # this model does not divide over this mesh
            continue
    remedy = "--quantize int8" if hasattr(config, "quantize") else "--model.remat full, of open weights --remat full"
    nothing = f"no mesh that was tried: take more devices, fewer --data.tokens, or {remedy}"
    print(f"would fit: {', '.join(f'--mesh {text}' for text in fitting) or nothing}")
    return 1


def planned(config: Any, topology: Topology, mesh: Mesh, quiet: bool = False) -> str:
    """Plans each bucket; what does not fit, as one line, or nothing."""
    stage, batches = config.planned(mesh)
    stage.check(mesh)
    for batch in batches:
        shape = "x".join(map(str, batch.bucket.size))
        try:
            step = plan_step(stage, batch, config.loop, mesh)
        except TooLarge as error:
            return f"{batch.size} clips of {shape} take {error} of {topology.chip.memory / GIB:.0f} GiB a device"
        if step.peak > topology.chip.memory:
            return (
                f"{batch.size} clips of {shape} take {step.peak / GIB:.1f} of {topology.chip.memory / GIB:.0f} GiB "
                "a device"
            )
        if not quiet:
            report(step, topology.chip, mesh.size, f"{batch.size} clips of {shape}")
    return ""


def report(step: StepPlan, chip: Chip, devices: int, what: str) -> None:
    """Prints one step's plan."""
    sides = step.seconds(chip, devices)
    slowest = max(sides, key=lambda name: sides[name])
    print(f"{what}, {step.parameters / 1e6:.0f} M parameters")
    print(
        f"  a device holds   {step.peak / GIB:.2f} GiB at most ({100 * step.peak / chip.memory:.0f}%): "
        f"{step.arguments / GIB:.2f} of state and batch, {step.temporary / GIB:.2f} temporary"
    )
    print(f"  a step computes  {step.flops / 1e12:.1f} TFLOP")
    sent = ", ".join(f"{times} {kind} {size / GIB:.2f} GiB" for kind, (times, size) in step.collectives.items())
    print(f"  and sends        {sent or 'nothing'}")
    print(
        f"  at least         {1000 * sides[slowest]:.0f} ms a step, by {slowest}: "
        + ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in sides.items())
        + f"; utilisation at most {sides['computing'] / sides[slowest]:.0%}"
    )
