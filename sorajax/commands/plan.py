"""Plans memory and time: compiles training or sampling for machines that you do not have, and prints what they need.

    python -m sorajax.plan configs/dit_xl.py --topology v5p:4x4x4 --mesh data=4,fsdp=16
    python -m sorajax.plan configs/world_large.py --topology v5e:2x4
    python -m sorajax.plan configs/dit_xl.py --topology h200:8 --mesh fsdp=8 --model.depth 40
    python -m sorajax.plan Wan2.1-T2V-1.3B --topology v5e:1x1 --size 832x480 --frames 81

Runs on any machine. TPU kinds (v4, v5e, v5p, v6e, tpu7x) need the extra `tpu`, which contains their compiler; h200
needs `cuda`. Every field of an experiment is an option, as for `sorajax.train`. For each bucket of clips the command
prints bytes per device against its memory, FLOPs, collectives, and the least time by the roofline model: a bound, not a
measurement. For a step that does not fit it prints the compiler's figure and meshes that would fit.

For a model (a folder of ours or of open weights, of which only configs are read, or the name of an open model) it plans
the stages of sampling one clip with guidance: our own estimate for each, and the compiler's figure.

--markdown PAGE writes what is printed into a page, between the marks of this plan (the error names them where the page
has none), with the command, commit and version of jax below it.

Exit codes: 0 everything fits, 1 something does not, 2 the request is invalid.
"""

import io
import os
import re
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TextIO

from sorajax.commands.failures import complain
from sorajax.commands.parsing import parse_options
from sorajax.evaluation.plan_options import Sampling

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
"""Environment of libtpu and CUDA on a machine without TPU or GPU; without it they query services or print errors."""
UNTUNED = "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"
"""Flags of XLA for GPUs that are not here: autotuning needs the device, so libraries multiply matrices."""


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
        topology = pop_option(arguments, "--topology")
        if topology is None:
            raise ValueError("--topology is missing: give the machine to plan for, e.g. --topology v5e:2x4")
        if topology.startswith("h200"):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {UNTUNED}"
        page = pop_option(arguments, "--markdown", "docs/scaling.md")
        return plan(arguments, topology) if page is None else write_plan(arguments, topology, Path(page))
    except SystemExit as exit:  # tyro has shown the help
        return int(exit.code or 0)
    except (ValueError, FileNotFoundError) as error:
        return complain(error, 2)


def plan(arguments: list[str], topology: str) -> int:
    """Prints the plan of a model or an experiment, the first of the arguments. Returns the exit code."""
    if not arguments[0].endswith(".py"):
        options = parse_options(Sampling, "python -m sorajax.plan MODEL --topology KIND:SHAPE", arguments)
        from sorajax.evaluation.plans import plan_sampling

        return plan_sampling(options, topology)
    from sorajax.commands.train import parse
    from sorajax.evaluation.plans import plan_training

    return plan_training(parse(arguments[0], arguments[1:])[0], topology)


def write_plan(arguments: list[str], topology: str, page: Path) -> int:
    """Prints the plan, and writes what is printed between the marks of this plan in a page. Returns the exit code."""
    import jax

    from sorajax.evaluation.markdown import Measured, check_pages, commit, small_line, write_pages

    name = re.sub(r"\W+", "-", " ".join(["plan", *arguments, topology]))
    check_pages([page], [name])
    command = shlex.join(["python", "-m", "sorajax.plan", *arguments, "--topology", topology])
    source, printed = commit(), Copied(sys.stdout)  # the code may change while this runs
    with redirect_stdout(printed):
        code = plan(arguments, topology)
    text = f"```text\n{printed.getvalue()}```\n"
    line = small_line(command, Measured({}, {}, f"jax {jax.__version__}"), source)
    write_pages([page], {name: text}, line)
    print(page)
    return code


class Copied(io.StringIO):
    """Keeps what is written, and writes it to another stream at once."""

    def __init__(self, other: TextIO):
        super().__init__()
        self.other = other

    def write(self, text: str) -> int:
        self.other.write(text)
        self.other.flush()
        return super().write(text)


def pop_option(arguments: list[str], name: str, example: str = "v5e:2x4") -> str | None:
    """Removes an option and its value from the arguments, and returns the value; None if it is not there."""
    if name not in arguments:
        return None
    place = arguments.index(name)
    if place + 1 == len(arguments):
        raise ValueError(f"{name} has no value, e.g. {name} {example}")
    value = arguments[place + 1]
    del arguments[place : place + 2]
    return value
