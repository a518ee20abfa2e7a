"""One training step at full size: float32 parameters, bfloat16 products, AdamW, remat of whole blocks."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from sorajax.devices.sharding import make_mesh
from sorajax.evaluation.cases import transformer_case
from sorajax.evaluation.programs import ready_training
from sorajax.evaluation.proof.figures import Figure, Piece, Setting
from sorajax.evaluation.proof.timing import compile_figure, memory, profiled, rates
from sorajax.evaluation.speed import random_on_device

UTILISED, AIM = 0.4, "aim 60%"


def pieces(setting: Setting) -> dict[str, Piece]:
    return {"training step": partial(training, setting)}


def training(setting: Setting) -> Iterator[Figure]:
    """The step of one clip. Recomputation counts as time but not as FLOPs."""
    shape = setting.sizes.timed
    losses: list[Any] = []
    case = transformer_case(replace(shape, dit=replace(shape.dit, remat="full")), 1)
    program = ready_training(case, make_mesh("", jax.devices()[:1]), losses, random_on_device)
    yield compile_figure("training step", program.compile_seconds, program.cached)
    found = program.timed(setting.sizes.repeats)
    yield from rates("training step", found, program.flops, UTILISED, f"{AIM}; remat full, not counted")
    finite = float(np.isfinite([float(loss) for loss in losses]).all())
    yield Figure("training step: losses are finite", finite, "", 1.0, check=True, note=f"{len(losses)} steps")
    yield from memory("training step")
    yield from profiled(setting, "training step", program.call)
