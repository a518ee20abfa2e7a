"""The guided denoising step in PyTorch: diffusers' WanTransformer3DModel of the same shape, alternating with ours.

First a check at toy size with the same weights: both results agree. At the timed size PyTorch's weights are random ones
of the same shapes, because values do not change the time. Needs torch and diffusers, which are imported where they are
used; without them nothing is compared, which is not a failure.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from sorajax.evaluation.programs import GUIDANCE, TIMES, Ready, guided_step, ready
from sorajax.evaluation.proof.figures import Figure, Piece, Setting, one_line, tolerance
from sorajax.evaluation.proof.numerics import error
from sorajax.evaluation.proof.sampling import step_inputs, step_of
from sorajax.evaluation.proof.sizes import TOY
from sorajax.evaluation.reference import AGREEMENT, channels_first, empty_transformer, reference_transformer
from sorajax.evaluation.speed import alternating, random_parameters
from sorajax.models.dit import TIME_UNITS
from sorajax.models.sora import init_dit

LIBRARIES = ("torch", "diffusers")
FASTER = 1.3
"""The bar: their seconds over ours, theirs compiled by torch.compile."""


def pieces(setting: Setting) -> dict[str, Piece]:
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        return {"beside PyTorch": partial(nothing, f"{' and '.join(missing)} not installed: nothing to compare with")}
    import torch

    if jax.default_backend() == "gpu" and not torch.cuda.is_available():
        return {"beside PyTorch": partial(nothing, "this torch has no CUDA: nothing to compare with")}
    side_by_side = SideBySide(
        setting, "cuda" if jax.default_backend() == "gpu" else "cpu", time.monotonic() + setting.seconds
    )
    return {"agreement": side_by_side.agreement, "eager": side_by_side.eager, "torch.compile": side_by_side.compiled}


def nothing(why: str) -> Iterator[Figure]:
    yield Figure("beside PyTorch", None, note=why)


@dataclass
class SideBySide:
    """Ours and theirs, which stay in memory from piece to piece."""

    setting: Setting
    device: str
    end: float
    """When the part's time is over."""
    model: Any = None
    """Theirs, at the size that is timed."""

    def agreement(self) -> Iterator[Figure]:
        """Difference of both steps with the same weights in float32, at toy size."""
        shape = replace(TOY.timed, dit=replace(TOY.timed.dit, dtype="float32"))
        params = random_parameters(partial(init_dit, shape.dit))
        inputs = step_inputs(shape)
        with jax.default_matmul_precision("highest"):
            ours = ready(guided_step(shape.dit), params, *inputs).call()
        model = reference_transformer(shape.dit, params).to(self.device)
        theirs = their_step(model, inputs, self.device)().float().cpu().numpy()
        yield tolerance("agreement, float32", error(np.moveaxis(np.asarray(ours), -1, 1), theirs), AGREEMENT)

    @cached_property
    def ours(self) -> Ready:
        return step_of(self.setting.sizes)[0]

    def begin(self) -> Any:
        """PyTorch's model in bfloat16, with weights drawn on the device."""
        import torch

        self.model = None  # frees the memory of the model before
        with torch.device(self.device):
            self.model = empty_transformer(self.setting.sizes.timed.dit).to(torch.bfloat16).eval()
        return self.model

    def step(self) -> Callable[[], Any]:
        return their_step(self.model, step_inputs(self.setting.sizes.timed), self.device)

    def eager(self) -> Iterator[Figure]:
        """PyTorch's step in eager mode."""
        self.begin()
        yield from self.ratio("eager", None)

    def compiled(self) -> Iterator[Figure]:
        """PyTorch's step with torch.compile per block; then of the whole model, if the remaining time is enough for
        `depth` times the compilation of one block."""
        start = time.monotonic()
        try:
            self.begin().compile_repeated_blocks()
            self.step()()
        except Exception as failure:  # it needs a compiler, and raises what it likes
            yield Figure("torch.compile", None, note=f"failed: {one_line(failure)}")
            return
        seconds = time.monotonic() - start
        yield Figure("torch.compile, by block: compile", seconds, "s", detail=True)
        yield from self.ratio("torch.compile, by block", FASTER)
        yield from self.whole(seconds * self.setting.sizes.timed.dit.depth)

    def whole(self, needed: float) -> Iterator[Figure]:
        """PyTorch's step with the whole model compiled, unless compilation may exceed the remaining time."""
        import torch

        left = self.end - time.monotonic()
        if needed > left:
            yield Figure("torch.compile, whole", None, note=f"not tried: may take {needed:.0f} s of {left:.0f} s left")
            return
        start, self.model = time.monotonic(), torch.compile(self.begin())
        self.step()()
        yield Figure("torch.compile, whole: compile", time.monotonic() - start, "s", detail=True)
        yield from self.ratio("torch.compile, whole", FASTER)

    def ratio(self, way: str, bar: float | None) -> Iterator[Figure]:
        """PyTorch's median seconds over ours; calls alternate."""
        seconds = alternating({"ours": self.ours.call, "theirs": self.step()}, self.setting.sizes.repeats)
        note = f"theirs {seconds['theirs']:.4g} s, ours {seconds['ours']:.4g} s"
        yield Figure(f"{way}: theirs / ours", seconds["theirs"] / seconds["ours"], "x", bar, note=note)


def their_step(model: Any, inputs: tuple[np.ndarray, ...], device: str) -> Callable[[], Any]:
    """The guided Euler step with PyTorch's model, both velocities from one batch of two; it waits for the device."""
    import torch

    kind = next(model.parameters()).dtype
    x, (now, following) = channels_first(inputs[0]).to(device), TIMES
    context = torch.tensor(inputs[1], dtype=kind, device=device)
    clock = torch.full((2,), TIME_UNITS * now, device=device)

    def step() -> Any:
        with torch.no_grad():
            both = model(torch.cat([x, x]).to(kind), clock, context, return_dict=False)[0].float()
            velocity, velocity_null = both.chunk(2)
            made = x + (following - now) * (velocity_null + GUIDANCE * (velocity - velocity_null))
        if device == "cuda":
            torch.cuda.synchronize()
        return made

    return step
