"""The first state of a run, and the compiled step from one state to the next."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from sorajax.devices.sharding import path_name
from sorajax.training.flops import training_flops
from sorajax.training.optimizer import Decay, OptimizerConfig, averaged, ema_decay
from sorajax.training.state import TrainState

COLLECT = 2**32 - 1  # of a step's key, the part that `collect` gets: far from those that a loss splits off
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Stage(Protocol):
    """An objective: a pytree (flax.struct.dataclass) whose leaves are its frozen networks, so that they are arguments
    of the compiled step and no constants inside it.

    It needs `init` and `loss`. What else it has, the loop calls; where it has none, what is written here counts (see
    `method`), whether the class derives from this one or not.
    """

    def init(self, key: jax.Array) -> Any:
        """The parameters, a nested dict of float32."""
        ...

    def loss(self, params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """The scalar to minimise, and metrics: scalars or `Mean`s."""
        ...

    def collect(self, state: TrainState, batch: Any, key: jax.Array) -> Any:
        """The batch that `loss` receives, made inside the compiled step from the data's, e.g. by roll-outs of the model
        itself. It may hold any arrays, e.g. an average of the parameters (`state.averages`) that the loss compares
        with. No gradient flows into it. Default: the data's batch."""
        return batch

    def averages(self) -> dict[str, Decay]:
        """Named moving averages of the parameters beside `state.ema`, each with its decay, e.g. a slow teacher
        {"old": lambda updates: 0.999}. They begin as the first parameters, are kept in `state.averages`, sharded as
        parameters are, and written to checkpoints. Default: none."""
        return {}

    def validate(self, params: Any, batch: Any, key: jax.Array) -> dict[str, Any]:
        """Metrics of the averaged parameters on a held-out batch, as it comes from the data. Default: the loss."""
        return {"loss": self.loss(params, batch, key)[0]}

    def at(self, step: int) -> "Stage":
        """The stage at a step of the run, asked before each: a leaf may follow the step; a static field that changes
        compiles the step anew. Default: always the same."""
        return self

    def tokens(self, batch: Any) -> float:
        """Tokens of one step, for the speed that is reported. Default: 0, not reported."""
        return 0.0

    def preview(self, params: Any, key: jax.Array) -> np.ndarray | None:
        """A picture of samples, uint8 [h w 3]. Default: None, no picture."""
        return None

    def export(self, directory: Path, params: Any) -> None:
        """Writes a model folder of the averaged parameters, after each checkpoint. Default: none is written."""
        return

    def load(self, directory: Path) -> Any:
        """The parameters in a model folder, the reverse of `export`. Default: ValueError, a run cannot begin there."""
        raise ValueError(f"{type(self).__name__} has no `load`: leave out --loop.start {directory}")

    def check(self, mesh: Mesh) -> None:
        """Raises ValueError where the model does not divide over the mesh. Default: it divides."""
        return

    def compiler_options(self) -> dict[str, Any] | None:
        """Compiler options of the step. Default: the compiler's own."""
        return None


def method(stage: Any, default: Callable[Concatenate[Any, Arguments], Result]) -> Callable[Arguments, Result]:
    """A stage's own method of the name of a method of `Stage`, or else that: `method(stage, Stage.at)(step)`."""
    return getattr(stage, default.__name__, None) or partial(default, stage)


def step_loss(
    params: Any, stage: Stage, state: TrainState, batch: Any, key: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """The loss of one step, on the batch that the stage collects."""
    batch = method(stage, Stage.collect)(state, batch, jax.random.fold_in(key, COLLECT))
    return stage.loss(params, batch, key)


def quick_compile(platform: str | None = None) -> dict[str, int] | None:
    """Compiler options for what runs once, on the default platform or another. On CPU, optimising the random numbers of
    an init takes LLVM minutes."""
    return {"xla_backend_optimization_level": 0} if (platform or jax.default_backend()) == "cpu" else None


def make_begin(optimizer: optax.GradientTransformation, stage: Stage) -> Callable[[Any], TrainState]:
    """params -> the state before the first step."""

    def begin(params: Any) -> TrainState:
        copy = partial(jax.tree.map, jnp.copy, params)
        averages = {name: copy() for name in method(stage, Stage.averages)()}
        return TrainState(jnp.int32(0), params, copy(), optimizer.init(params), averages)

    return begin


def loaded(stage: Stage, directory: Path, abstract: Any) -> Any:
    """The parameters in a model folder. Raises ValueError where they do not fit the stage's."""
    params = method(stage, Stage.load)(directory)
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
    """(state, stage, batch, key of the run, factor of the learning rate) -> (next state, metrics)."""

    def update(
        state: TrainState, stage: Stage, batch: Any, key: jax.Array, rate_scale: Any
    ) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(key, state.step)
        (loss, metrics), gradient = jax.value_and_grad(step_loss, has_aux=True)(state.params, stage, state, batch, key)
        change, opt_state = optimizer.update(gradient, state.opt_state, state.params, rate_scale=rate_scale)
        params = optax.apply_updates(state.params, change)
        step = state.step + 1
        moved = partial(averaged, params=params, step=step, accumulation=config.accumulation)
        ema = moved(state.ema, decay=ema_decay(config))
        decays = method(stage, Stage.averages)()
        averages = {name: moved(state.averages[name], decay=decay) for name, decay in decays.items()}
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)} | metrics
        return TrainState(step, params, ema, opt_state, averages), metrics

    return update


def shape_of(*trees: Any) -> Any:
    """The key of a compiled program: structure, static fields, shapes and types."""
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

    def __init__(self, state: TrainState, key: jax.Array, say: Callable[[str], None] = print):
        self.state, self.key, self.say = state, key, say
        self.known: dict[Any, float] = {}

    def __call__(self, stage: Stage, batch: Any) -> float:
        shape = shape_of(stage, batch)
        if shape not in self.known:
            try:
                self.known[shape] = training_flops(step_loss, self.state.params, stage, self.state, batch, self.key)
            except Exception as error:
                self.known[shape] = 0.0
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                self.say(f"note: the step's FLOPs cannot be counted with jax {jax.__version__} ({reason})")
        return self.known[shape]
