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

import os
import sys

import tyro

from sorajax.evaluation.options import Sampling

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
            asked = tyro.cli(Sampling, args=arguments, prog="python -m sorajax.plan MODEL --topology KIND:SHAPE")
            from sorajax.evaluation.plans import plan_sampling

            return plan_sampling(asked, topology)
        from sorajax.commands.train import parse
        from sorajax.evaluation.plans import plan_training

        return plan_training(parse(arguments[0], arguments[1:])[0], topology)
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
