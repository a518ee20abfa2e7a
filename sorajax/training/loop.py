"""The one training loop. It knows no objective: a stage brings `init` and `loss`, and this file the rest.

The chapters: shapes without arrays, shardings from the table, arrays born sharded, one compiled step that donates its
state. Step n's key is `fold_in(seed, n)` and its batch a function of the position in the data, so a resumed run repeats
an uninterrupted one bit for bit. Metrics are fetched a few steps late, when the device has long computed them.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.checkpoint import Checkpoints
from sorajax.sharding import gathered, make_mesh, path_name, place_batch, shardings
from sorajax.training.flops import training_flops
from sorajax.training.metrics import Meter, Reporter
from sorajax.training.optimizer import OptimizerConfig, averaged, make_optimizer, schedule
from sorajax.training.state import TrainState

LAG = 2  # steps whose metrics may still be on the device


class Stage(Protocol):
    """An objective: a pytree (flax.struct.dataclass) whose leaves are its frozen networks, so that they are arguments
    of the compiled step and no constants inside it.

    It may also have `preview(params, key) -> uint8 [h w 3]`; `export(directory, params)`, called after each save with
    the averaged parameters; `load(directory) -> params`, the reverse; and `tokens(batch) -> float`, those of one step.
    """

    def init(self, key: jax.Array) -> Any:
        """The parameters, a nested dict of float32."""
        ...

    def loss(self, params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """The scalar to minimise, and metrics: scalars or `Mean`s."""
        ...


class Position(Protocol):
    """An iterator over batches that knows where it is."""

    def __next__(self) -> Any: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


class Batches(Protocol):
    """A grain IterDataset, or anything whose iterator has `get_state` and `set_state` with JSON values."""

    def __iter__(self) -> Any: ...


@dataclass(frozen=True)
class LoopConfig:
    """How long to train, and what to write when."""

    steps: int = 1000
    """Batches of the whole run."""
    seed: int = 0
    optimizer: OptimizerConfig = OptimizerConfig()
    start: Path | None = None
    """A model folder or training directory whose weights the run starts from; none starts from random ones."""
    mesh: str = ""
    """Mesh axes, e.g. data=2,fsdp=4; nothing said puts all devices on fsdp."""
    report_seconds: float = 15.0
    """Time between two lines of metrics."""
    save_every: int = 500
    """Batches between two checkpoints."""
    preview_every: int = 500
    """Batches between two sample grids; 0 never."""
    keep: int = 2
    """Newest checkpoints kept, besides the best."""

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("save_every", 1), ("preview_every", 0), ("keep", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"loop.{name} is {getattr(self, name)}: it must be {low} or more")


class DivergedError(RuntimeError):
    """The loss or its gradient is no longer finite."""


def fit(
    stage: Stage,
    batches: Batches,
    config: LoopConfig,
    directory: str | Path,
    resume: bool = False,
    mesh: Mesh | None = None,
    experiment: dict[str, Any] | None = None,
) -> TrainState:
    """Trains `stage` on `batches` and returns the last state; `experiment` is the JSON kept in each checkpoint.

    Writes checkpoints, events, previews and, if the stage exports, `model` into `directory`. SIGTERM and Ctrl-C save at
    the next step and return. Raises DivergedError, before anything poisoned is saved, if the loss is not finite;
    FileExistsError if the directory holds a run and `resume` is not said.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    mesh = make_mesh(config.mesh) if mesh is None else mesh
    checkpoints = Checkpoints(directory / "checkpoints", config.keep)
    reporter = Reporter(directory, config.steps)
    try:
        if checkpoints.steps() and not resume:
            raise FileExistsError(f"{directory} holds a run: say --resume to continue it, or choose another directory")
        with jax.set_mesh(mesh):
            return _run(stage, batches, config, directory, resume, mesh, experiment or {}, checkpoints, reporter)
    finally:
        checkpoints.close()
        reporter.close()


def _run(
    stage: Stage,
    batches: Batches,
    config: LoopConfig,
    directory: Path,
    resume: bool,
    mesh: Mesh,
    experiment: dict[str, Any],
    checkpoints: Checkpoints,
    reporter: Reporter,
) -> TrainState:
    # Shapes without arrays, shardings, and a state born sharded or read from disk.
    optimizer = make_optimizer(config.optimizer, config.steps)
    begin, update = make_begin(optimizer), make_update(optimizer, config.optimizer)
    key = jax.random.key(config.seed)
    init_key, step_key, preview_key = jax.random.split(key, 3)
    abstract = jax.eval_shape(lambda key: begin(stage.init(key)), init_key)
    where = shardings(abstract, mesh)
    stage = jax.device_put(stage, shardings(stage, mesh))
    data: Position = iter(batches)
    position = data.get_state()
    if resume and checkpoints.steps():
        target = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, where)
        found = checkpoints.restore(target)
        state, position = found.state, found.data
        data.set_state(position)
        reporter.say(f"resumed {directory} at step {found.step}{_changes(found.config, experiment)}")
    elif config.start is not None:
        params = jax.device_put(started(stage, config.start, abstract.params), where.params)
        state = jax.jit(begin, out_shardings=where)(params)
    else:
        create = jax.jit(lambda key: begin(stage.init(key)), out_shardings=where, compiler_options=quick_compile())
        state = create(init_key)
    count = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))
    reporter.say(f"training {count / 1e6:.2f} M parameters on {mesh.size} {jax.devices()[0].device_kind} device(s)")

    # One compiled step for each shape of batch.
    step_function = jax.jit(update, donate_argnums=0, out_shardings=(where, NamedSharding(mesh, P())))
    rates = schedule(config.optimizer, config.steps)
    tokens, flops = getattr(stage, "tokens", _nothing), Flops(stage, abstract.params, key)
    pending: deque[tuple[int, Any, float, float]] = deque()
    meter, since_save = Meter(), Meter()
    reported = monotonic()
    first = step = int(state.step)

    def settle(left: int) -> None:
        """Takes in metrics until only `left` steps are still under way."""
        while len(pending) > left:
            number, metrics, token_count, flop_count = pending.popleft()
            metrics = jax.device_get(metrics)
            if not np.isfinite(metrics["loss"]) or not np.isfinite(metrics["gradient_norm"]):
                raise DivergedError(
                    f"step {number}: loss {metrics['loss']:g}, gradient norm {metrics['gradient_norm']:g}. "
                    f"{_last_good(checkpoints)}; resume with a lower learning rate or a lower clip"
                )
            meter.add(metrics, token_count, flop_count)
            since_save.add(metrics)

    def save() -> None:
        settle(0)
        checkpoints.save(step, state, experiment, position, since_save.report().get("loss", float("inf")))
        if hasattr(stage, "export"):
            params = gathered(state.ema)
            if reporter.main:
                stage.export(directory / "model", params)

    with Signals() as signals:
        while step < config.steps and not signals.stop(checkpoints, step):
            batch = place_batch(next(data), mesh)
            position = data.get_state()
            state, metrics = step_function(state, stage, batch, step_key)
            step += 1
            pending.append((step, metrics, tokens(batch), flops(batch)))
            settle(LAG)
            if step == first + 1:
                meter.since = reported = monotonic()  # compiling is no training speed
            if step == config.steps or (meter.steps and monotonic() - reported >= config.report_seconds):
                settle(0 if step == config.steps else LAG)
                updates = step // config.optimizer.accumulation
                reporter.report(step, meter.report() | {"learning_rate": float(rates(updates))})
                meter, reported = Meter(), monotonic()
            paused = monotonic()
            if config.preview_every and step % config.preview_every == 0 and hasattr(stage, "preview"):
                picture = stage.preview(state.ema, jax.random.fold_in(preview_key, step))
                reporter.picture(step, picture, directory / "previews")
            if step % config.save_every == 0 and step < config.steps:
                save()
                since_save = Meter()
            meter.since += monotonic() - paused  # pictures and checkpoints are no training speed either
    if step > first and step not in checkpoints.steps():
        save()
    checkpoints.wait()
    if step < config.steps:
        reporter.say(f"stopped and saved at step {step}; continue with --resume")
    return state


def quick_compile() -> dict[str, int] | None:
    """Compiler options for what runs once. On CPU, optimising the random numbers of an init takes LLVM minutes."""
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def make_begin(optimizer: optax.GradientTransformation) -> Callable[[Any], TrainState]:
    """params -> the state before the first step."""

    def begin(params: Any) -> TrainState:
        return TrainState(jnp.int32(0), params, jax.tree.map(jnp.copy, params), optimizer.init(params))

    return begin


def started(stage: Stage, directory: Path, abstract: Any) -> Any:
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
    optimizer: optax.GradientTransformation, config: OptimizerConfig
) -> Callable[[TrainState, Stage, Any, jax.Array], tuple[TrainState, dict[str, Any]]]:
    """(state, stage, batch, key of the run) -> (next state, metrics)."""

    def update(state: TrainState, stage: Stage, batch: Any, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(key, state.step)
        (loss, metrics), gradient = jax.value_and_grad(stage.loss, has_aux=True)(state.params, batch, key)
        change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, change)
        step = state.step + 1
        ema = averaged(state.ema, params, step, config)
        metrics = {"loss": loss, "gradient_norm": optax.global_norm(gradient)} | metrics
        return TrainState(step, params, ema, opt_state), metrics

    return update


class Signals:
    """While entered, SIGTERM and the first Ctrl-C ask the loop to save and stop; a second Ctrl-C interrupts."""

    def __init__(self) -> None:
        self.asked = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            # With several processes Orbax agrees on a step among all of them, from jax's own SIGTERM handler.
            caught = [signal.SIGINT] if jax.process_count() > 1 else [signal.SIGINT, signal.SIGTERM]
            self.previous = {number: signal.signal(number, self.ask) for number in caught}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def ask(self, number: int, _: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"saving at the next step, then stopping\n")

    def stop(self, checkpoints: Checkpoints, step: int) -> bool:
        """Whether to stop before the next step."""
        return self.asked or (jax.process_count() > 1 and checkpoints.manager.reached_preemption(step))


class Flops:
    """FLOPs of one training step on a batch, counted once for each shape of batch."""

    def __init__(self, stage: Stage, params: Any, key: jax.Array):
        self.stage, self.params, self.key = stage, params, key
        self.known: dict[Any, float] = {}

    def __call__(self, batch: Any) -> float:
        leaves, structure = jax.tree.flatten(batch)
        shape = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if shape not in self.known:
            self.known[shape] = training_flops(self.stage.loss, self.params, batch, self.key)
        return self.known[shape]


def _nothing(_: Any) -> float:
    return 0.0


def _last_good(checkpoints: Checkpoints) -> str:
    checkpoints.wait()
    steps = checkpoints.steps()
    return f"The last good checkpoint is step {steps[-1]}" if steps else "There is no checkpoint yet"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    before, now = _flat(old), _flat(new)
    changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items() if before.get(name) != value]
    return f", with {', '.join(changed)}" if changed else ""


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
