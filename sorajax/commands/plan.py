"""Fits before you rent: compiles training or sampling for machines that are not here, and says what it takes.

    python -m sorajax.plan configs/dit_xl.py --topology v5p:4x4x4 --mesh data=4,fsdp=16
    python -m sorajax.plan configs/world_large.py --topology v5e:2x4
    python -m sorajax.plan configs/dit_xl.py --topology h200:8 --mesh fsdp=8 --model.depth 40
    python -m sorajax.plan Wan2.1-T2V-1.3B --topology v5e:1x1 --size 832x480 --frames 81

Runs on any machine. TPU kinds (v4, v5e, v5p, v6e, tpu7x) need the extra `tpu`, which brings their compiler; h200 needs
`cuda`. Every field of an experiment is an option, as for `sorajax.train`. Of each bucket of clips it prints bytes a
device against its memory, FLOPs, collectives and the least time that a roofline allows, which is a bound and no
measurement. A step that does not fit is named with the compiler's own figure and the meshes that would.

Of a model (a folder of ours or of open weights, whose configs alone are read, or an open model's name) the stages of
sampling one guided clip are planned: what our own arithmetic says that each takes, and the compiler.

Exit codes: 0 everything fits, 1 something does not, 2 the request makes no sense.
"""

import dataclasses
import os
import sys
from typing import Any, Literal

import tyro

QUIET = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
}
"""What libtpu and CUDA want to be told on a machine without TPU or GPU, so that they neither ask nor complain."""
UNTUNED = "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"
"""For XLA, of GPUs that are not here: nothing can be tried out on them, so libraries multiply matrices."""
MOST_TRIED = 4
GIB = 2**30


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        topology = taken(arguments, "--topology")
        if topology is None:
            raise ValueError("no --topology: say what to plan for, e.g. --topology v5e:2x4")
        if topology.startswith("h200"):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {UNTUNED}"
        if not arguments[0].endswith(".py"):
            return plan_sampling(arguments, topology)
        from sorajax.commands.train import parse

        config = parse(arguments[0], arguments[1:])[0]
        return plan(config, topology)
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return int(exit.code or 0)
    except (ValueError, FileNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2


def taken(arguments: list[str], name: str) -> str | None:
    """Takes an option and its value out of the arguments."""
    if name not in arguments:
        return None
    place = arguments.index(name)
    if place + 1 == len(arguments):
        raise ValueError(f"{name} has no value, e.g. {name} v5e:2x4")
    value = arguments[place + 1]
    del arguments[place : place + 2]
    return value


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What is sampled."""

    model: tyro.conf.Positional[str]
    """A model's folder, or Wan2.1-T2V-1.3B, Wan2.1-T2V-14B, Wan2.1-I2V-14B, Wan2.2-TI2V-5B, Wan2.2-T2V-A14B or
    Wan2.2-I2V-A14B."""
    size: str = ""
    """WIDTHxHEIGHT in pixels; the model's own by default."""
    frames: int = 0
    """0: the model's own."""
    steps: int = 0
    """0: the model's own."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    quantize: Literal["int8", "fp8"] | None = None
    stages: tuple[Literal["text", "vision", "encoder", "transformer", "decoder"], ...] = (
        "text",
        "vision",
        "encoder",
        "transformer",
        "decoder",
    )
    """Which to compile, of those that the model has; the decoder takes longest, minutes."""


def plan_sampling(arguments: list[str], name: str) -> int:
    """Prints the plan of each stage of sampling. Raises ValueError and FileNotFoundError."""
    asked = tyro.cli(Sampling, args=arguments, prog="python -m sorajax.plan MODEL --topology KIND:SHAPE")
    from sorajax.errors import BadRequest
    from sorajax.sampling.memory import nbytes, sampling_programs
    from sorajax.sampling.request import Request, parse_size
    from sorajax.sampling.settings import settings_for
    from sorajax.training.ahead import TooLarge, Topology, compile_program, mesh_on, peak_of

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
    import jax

    from sorajax.models.folder import load_model
    from sorajax.models.quantized import quantize
    from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
    from sorajax.pretrained.conventions import known_config, known_name
    from sorajax.pretrained.hub import resolve_model
    from sorajax.pretrained.part import abstract_parameters
    from sorajax.pretrained.wan_folder import is_open_model, open_model

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


def plan(config: Any, name: str) -> int:
    """Prints the plan of every bucket. Raises ValueError."""
    from sorajax.devices.sharding import parse_axes
    from sorajax.training.ahead import Topology, alternatives, axes_text, mesh_on

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


def planned(config: Any, topology: Any, mesh: Any, quiet: bool = False) -> str:
    """Plans each bucket; what does not fit, as one line, or nothing."""
    from sorajax.training.ahead import TooLarge, plan_step

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


def report(step: Any, chip: Any, devices: int, what: str) -> None:
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
