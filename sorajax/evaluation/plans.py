"""Prints the memory and time of training and sampling on machines that are not here: for each bucket of an experiment,
and for each stage of sampling a model. The compiler's figures come from `training.ahead`, our own estimates from
`sampling.memory`."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from sorajax.devices.partitioned import read
from sorajax.devices.placement import Placement, choose_placement
from sorajax.devices.sharding import axes_text, make_mesh, parse_axes
from sorajax.errors import BadRequest
from sorajax.evaluation.plan_options import Sampling
from sorajax.models.folder import load_model
from sorajax.models.quantized import quantize
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.pretrained.conventions import known_config, known_name
from sorajax.pretrained.hub import resolve_model
from sorajax.pretrained.open import quantized
from sorajax.pretrained.part import abstract_parameters
from sorajax.pretrained.wan_folder import is_open_model, open_model
from sorajax.sampling.memory import PlannedProgram, nbytes, sampling_programs, tokens_of
from sorajax.sampling.request import Request, parse_size
from sorajax.sampling.settings import Settings, settings_for
from sorajax.training.ahead import (
    GIB,
    Chip,
    StepPlan,
    TooLarge,
    Topology,
    alternatives,
    compile_program,
    mesh_on,
    peak_of,
    plan_step,
)
from sorajax.training.experiments import Experiment
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.step import method

MAX_ALTERNATIVES = 4
"""Meshes that are tried if a step does not fit."""


def plan_sampling(options: Sampling, name: str) -> int:
    """Prints the plan of each stage of sampling on the topology `name`, e.g. "v5e:2x4". Returns the exit code: 0 if all
    fits, else 1. Raises ValueError and FileNotFoundError."""
    config, weights = config_and_weights(options)
    width, height = parse_size(options.size) if options.size else config.sizes[0][::-1]
    request = Request(("a",), width=width, height=height, frames=options.frames or None, steps=options.steps or None)
    try:
        settings = settings_for(request, config)
    except BadRequest as error:
        raise ValueError(str(error)) from error
    settings = settings.of_window() if settings.in_windows else settings
    topology = Topology(name)
    memory, fits = topology.chip.memory, True
    placement = planned_placement(options, topology, config, weights, settings)
    assert placement.mesh is not None
    devices, copied = placement.mesh.size, "split over all devices" if placement.split_weights else "on every device"
    print(
        f"{config.name}, {width}x{height}, {settings.frames} frames, {settings.steps} steps, on {devices} x "
        f"{topology.device} of {memory / GIB:.0f} GiB as {axes_text(placement.mesh.shape)}, weights {copied}; GiB a "
        "device; times are lower bounds, not measurements:"
    )
    found = sampling_programs(
        config, weights, settings.latent, settings.steps, memory, devices, settings.guided, settings.times()
    )
    for stage in found:
        if stage.name.partition(",")[0] not in options.stages:
            continue
        share = nbytes(stage.arguments[0]) * placement.copies / devices
        planned = share + (stage.planned - nbytes(stage.arguments[0])) / devices
        line = f"  {stage.name:<22} weights {share / GIB:6.2f}   planned {planned / GIB:6.2f}"
        try:
            compiled = compile_program(stage, placement)
        except TooLarge as error:
            print(f"{line}   does not fit: {error} of {memory / GIB:.0f} GiB", flush=True)
            fits = False
            continue
        peak = peak_of(compiled.memory_analysis())
        fits = fits and peak <= memory
        print(f"{line}   compiled {peak / GIB:6.2f}   {bounds(stage, compiled, topology.chip, devices)}", flush=True)
    if not fits:
        print("does not fit: use more devices, --quantize int8, fewer --frames or a smaller --size")
    return 0 if fits else 1


def planned_placement(
    options: Sampling, topology: Topology, config: Any, weights: dict[str, Any], settings: Settings
) -> Placement:
    """The placement that sampling would have on a topology. Raises ValueError."""
    sizes = {name: nbytes(part) for name, part in weights.items()}
    if config.boundary is not None:
        sizes["dit_low"] = sizes["dit"]
    tokens = tokens_of(
        config, settings.latent if options.mesh else config.vae.latent_shape(config.frames[0], *config.sizes[0])
    )
    guided, memory, described = config.guidance_scale != 1, int(topology.chip.memory), topology.devices()
    placement = choose_placement(options.mesh, guided, tokens, config.dit.heads, sizes, memory, described)
    placement.check(tokens, config.dit.heads)
    return placement if placement.mesh is not None else Placement(mesh_on(topology, {"data": 1}))


def bounds(stage: PlannedProgram, compiled: Any, chip: Chip, devices: int) -> str:
    """The least time of all calls of a stage, by computing and by what its collectives send, and the collectives."""
    work = read(compiled.as_text())
    flops = max(stage.flops / devices, 0.0 if math.isnan(work.flops) else work.flops)
    sent = sum(size for _, size in work.collectives.values())
    seconds = (flops - work.int8) / chip.flops + work.int8 / chip.int8
    computing, communication = stage.calls * seconds, stage.calls * sent / chip.links
    if not computing:
        return ""
    text = f"at least {max(computing, communication):.1f} s"
    if devices == 1:
        return text
    kinds = ", ".join(
        f"{stage.calls * times} {kind} {stage.calls * size / GIB:.2f} GiB"
        for kind, (times, size) in work.collectives.items()
    )
    return f"{text}: computing {computing:.1f} s, communication {communication:.1f} s ({kinds or 'nothing is sent'})"


def config_and_weights(options: Sampling) -> tuple[Any, dict[str, Any]]:
    """A model's config, and the shapes of its weights by part. Raises ValueError and FileNotFoundError."""
    if known_name(options.model):
        config = known_config(options.model, options.dtype)
    elif is_open_model(folder := resolve_model(options.model)):
        config = open_model(folder, options.dtype).config
    else:
        config = load_model(folder, SoraConfig)[0]
    weights = {
        "text": abstract_parameters(init_text, config.text, options.dtype),
        "dit": abstract_parameters(init_dit, config.dit, options.dtype),
        "vae": abstract_parameters(init_vae, config.vae, "float32"),
    }
    if config.vision is not None:
        weights["vision"] = abstract_parameters(init_vision, config.vision, options.dtype)
    if bits := options.quantize:
        small = [name for name in weights if name not in ("vae", "vision")]
        weights |= {name: jax.eval_shape(lambda x: quantize(x, bits), weights[name]) for name in small}
        config = quantized(config, bits)
    return config, weights


def plan_training(config: Any, name: str) -> int:
    """Prints the plan of each bucket of an experiment on the topology `name`. Returns the exit code: 0 if all fit, else
    1. Raises ValueError."""
    planned(config, make_mesh("", jax.devices()[:1]))  # says so before a compiler is looked for
    topology = Topology(name)
    mesh = mesh_on(topology, parse_axes(config.loop.mesh))
    sizes = {axis: size for axis, size in mesh.shape.items() if size > 1}
    print(
        f"{mesh.size} x {topology.device} as {axes_text(sizes)}: {topology.chip.memory / GIB:.0f} GiB and "
        f"{topology.chip.flops / 1e12:.0f} TFLOP/s each"
    )
    if not (too_large := plan_buckets(config, topology, mesh)):
        return 0
    print(f"does not fit: {too_large}")
    heads = planned(config, mesh)[0].config.dit.heads
    others = [other for other in alternatives(mesh.size, heads) if other != dict(mesh.shape)]
    fitting = []
    for other in others[:MAX_ALTERNATIVES]:
        changed = dataclasses.replace(config, loop=dataclasses.replace(config.loop, mesh=axes_text(other)))
        try:
            if not plan_buckets(changed, topology, mesh_on(topology, other), quiet=True):
                fitting.append(axes_text(other))
        except ValueError:  # this model does not divide over this mesh
            continue
    frozen = isinstance(config, LoRATraining)
    remedy = "--quantize int8" if frozen else "--model.remat full, of open weights --remat full"
    nothing = f"no mesh that was tried: use more devices, fewer --data.tokens, or {remedy}"
    print(f"would fit: {', '.join(f'--mesh {text}' for text in fitting) or nothing}")
    return 1


def planned(config: Experiment, mesh: Mesh) -> tuple[Any, Sequence[Any]]:
    """The experiment's stage and batches as shapes. Raises ValueError where it has none."""
    if (shapes := method(config, Experiment.planned)(mesh)) is None:
        raise ValueError(f"{type(config).__name__} cannot be planned: give an experiment that trains a transformer")
    return shapes


def plan_buckets(config: Experiment, topology: Topology, mesh: Mesh, quiet: bool = False) -> str:
    """Plans each bucket and prints it unless `quiet`. Returns a line on the first one that does not fit, else ""."""
    stage, batches = planned(config, mesh)
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
    """Prints the plan of one training step."""
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
