"""The first state of a run, and the compiled step from one state to the next."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sorajax.devices.sharding import path_name
from sorajax.training.flops import training_flops
from sorajax.training.optimizer import OptimizerConfig, averaged
from sorajax.training.state import TrainState


class Stage(Protocol):
    """An objective: a pytree (flax.struct.dataclass) whose leaves are its frozen networks, so that they are arguments
    of the compiled step and no constants inside it.

    It may also have `preview(params, key) -> uint8 [h w 3]`; `export(directory, params)`, called after each save with
    the averaged parameters; `load(directory) -> params`, the reverse; `tokens(batch) -> float`, those of one step;
    `validate(params, batch, key) -> metrics` on held-out batches; `check(mesh)`, which raises ValueError where the
    model does not divide over the mesh; and `at(step: int) -> stage`, asked before each step, for an objective that
    changes over the run: a leaf may follow the step, and a static field that changes compiles the step anew; and
    `compiler_options()`, those of the compiled step.
    """

    def init(self, key: jax.Array) -> Any:
        """The parameters, a nested dict of float32."""
        ...

    def loss(self, params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """The scalar to minimise, and metrics: scalars or `Mean`s."""
        ...


def quick_compile(platform: str | None = None) -> dict[str, int] | None:
    """Compiler options for what runs once, on the default platform or another. On CPU, optimising the random numbers of
    an init takes LLVM minutes."""
    return {"xla_backend_optimization_level": 0} if (platform or jax.default_backend()) == "cpu" else None


def step_options(stage: Any) -> dict[str, Any] | None:
    """Compiler options for a stage's step."""
    return stage.compiler_options() if hasattr(stage, "compiler_options") else None


def bound(stage: Any, step: int) -> Any:
    """The stage at a step of the run."""
    return stage.at(step) if hasattr(stage, "at") else stage


def make_begin(optimizer: optax.GradientTransformation) -> Callable[[Any], TrainState]:
    """params -> the state before the first step."""

    def begin(params: Any) -> TrainState:
        return TrainState(jnp.int32(0), params, jax.tree.map(jnp.copy, params), optimizer.init(params))

    return begin


def loaded(stage: Stage, directory: Path, abstract: Any) -> Any:
    """The parameters in a model folder. Raises ValueError where they do not fit the stage's."""
    params = stage.load(directory)  # type: ignore[attr-defined]
    found, needed = ({path_name(p): x.shape for p, x in jax.tree.leaves_with_path(tree)} for tree in (params, abstract))
    if wrong := [name for name in needed | found if needed.get(name) != found.get(name)]:
        raise ValueError(
            f"{directory} does not fit: {wrong[0]} is {found.get(wrong[0], 'not there')} in it and "
            f"{needed.get(wrong[0], 'not there')} in this experiment"
        )
    return params


def make_update(
    optimizer: optax.GradientTransformationExtraArgs, config: OptimizerConfig
) -> Callable[[TrainState, Stage, Any, jax.Array, Any], tuple[TrainState, dict[str, Any]]]:
    """(state, stage, batch, key of the run, what multiplies the learning rate) -> (next state, metrics)."""

    def update(
        state: TrainState, stage: Stage, batch: Any, key: jax.Array, rate_scale: Any
    ) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(key, state.step)
        (loss, metrics), gradient = jax.value_and_grad(stage.loss, has_aux=True)(state.params, batch, key)
        change, opt_state = optimizer.update(gradient, state.opt_state, state.params, rate_scale=rate_scale)
        params = optax.apply_updates(state.params, change)
        step = state.step + 1
        ema = averaged(state.ema, params, step, config)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)} | metrics
        return TrainState(step, params, ema, opt_state), metrics

    return update


def shape_of(*trees: Any) -> Any:
    """What a compiled program depends on: structure, static fields, shapes and types."""
    leaves, structure = jax.tree.flatten(trees)
    return structure, tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)


class Programs:
    """The compiled step of each shape of batch and form of stage: compiled when it is first needed, or all at once."""

    def __init__(self, step: Any):
        self.step = step
        self.known: dict[Any, Any] = {}

    def __call__(self, state: TrainState, stage: Stage, batch: Any, *rest: Any) -> tuple[TrainState, dict[str, Any]]:
        shape = shape_of(stage, batch)
        if shape not in self.known:
            self.known[shape] = self.step.lower(state, stage, batch, *rest).compile()
        return self.known[shape](state, stage, batch, *rest)

    def prepare(self, state: TrainState, stage: Stage, batches: Iterable[Any], *rest: Any) -> None:
        """Compiles the step of each shape among `batches`, side by side."""
        lowered = {}
        for batch in batches:
            if (shape := shape_of(stage, batch)) not in lowered:
                lowered[shape] = self.step.lower(state, stage, batch, *rest)
        with ThreadPoolExecutor(max(1, len(lowered))) as pool:
            self.known |= dict(zip(lowered, pool.map(lambda one: one.compile(), lowered.values()), strict=True))


class Flops:
    """FLOPs of one training step on a batch, counted once for each shape of batch and form of stage.

    Where this version of jax writes programs in a way that cannot be counted, they are 0, and one line says so: no
    training stops for a figure.
    """

    def __init__(self, params: Any, key: jax.Array, say: Callable[[str], None] = print):
        self.params, self.key, self.say = params, key, say
        self.known: dict[Any, float] = {}

    def __call__(self, stage: Stage, batch: Any) -> float:
        shape = shape_of(stage, batch)
        if shape not in self.known:
            try:
                self.known[shape] = training_flops(stage.loss, self.params, batch, self.key)
            except Exception as error:
                self.known[shape] = 0.0
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                self.say(f"note: the step's FLOPs cannot be counted with jax {jax.__version__} ({reason})")
        return self.known[shape]
