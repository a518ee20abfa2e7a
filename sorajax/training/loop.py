"""The one training loop. It knows no objective: a stage has `init` and `loss`, and this file does the rest.

In order: shapes without arrays, shardings from the table, arrays created sharded, one compiled step that donates its
state. Step n's key is `fold_in(seed, n)` and its batch depends only on the position in the data, so a resumed run
repeats an uninterrupted one bit for bit. Metrics are fetched a few steps late, so that the device does not wait.

A run of `minutes` is for an accelerator that is available for a fixed time: all shapes among the first batches are
compiled in parallel before the first step, and a run below an hour writes nothing until its end.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.devices.profiling import StepTrace
from sorajax.devices.sharding import gather, make_mesh, place_batch, shardings
from sorajax.files import as_path, whole_folder
from sorajax.training.checkpoint import Checkpoints, changes
from sorajax.training.clock import Clock
from sorajax.training.metrics import Meter, Reporter, Work, clips_of
from sorajax.training.optimizer import OptimizerConfig, make_optimizer, schedule
from sorajax.training.posthoc import averages_in, write_snapshot
from sorajax.training.state import TrainState
from sorajax.training.step import (
    Flops,
    Programs,
    Stage,
    loaded,
    make_begin,
    make_update,
    method,
    quick_compile,
    shape_of,
)

LAG = 2  # steps whose metrics may still be on the device
EARLY = 24  # batches whose shapes are compiled before a run of minutes begins
SHORT = 60.0  # minutes; shorter runs are written once, at their end


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
    """The length of a run, and when it reports and writes."""

    steps: int = 1000
    """Batches of the whole run."""
    minutes: float = 0.0
    """Minutes of the whole run, including compilation, the last checkpoint and the export; above 0 they replace
    `steps`, and the learning rate decays by the clock. Below 60, nothing is written before the end."""
    seed: int = 0
    optimizer: OptimizerConfig = OptimizerConfig()
    start: Path | None = None
    """A model folder or training directory whose weights the run starts from; none starts from random ones."""
    mesh: str = ""
    """Mesh axes, e.g. data=2,fsdp=4; by default all devices are on fsdp."""
    report_seconds: float = 15.0
    """Time between two lines of metrics."""
    save_every: int = 500
    """Batches between two checkpoints."""
    preview_every: int = 500
    """Batches between two sample grids; 0 never."""
    validate_every: int = 0
    """Batches between two validations on held-out clips; 0 never."""
    keep: int = 2
    """Newest checkpoints kept, besides the best."""

    def __post_init__(self) -> None:
        lowest = {"steps": 1, "minutes": 0, "save_every": 1, "preview_every": 0, "validate_every": 0, "keep": 1}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"loop.{name} is {getattr(self, name)}: it must be {low} or more")

    @property
    def short(self) -> bool:
        """Whether intermediate checkpoints and pictures would cost more time than they are worth."""
        return 0 < self.minutes < SHORT


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
    held_out: Sequence[Any] = (),
    profile: Path | None = None,
) -> TrainState:
    """Trains `stage` on `batches` and returns the last state; `experiment` is the JSON kept in each checkpoint.

    Every `validate_every` batches the averaged parameters are measured on the batches `held_out`, always the same ones
    with the same keys, so that curves of different runs can be compared. profile: a folder for a trace of a few steps.

    Writes checkpoints, events, previews and, if the stage exports, `model` into `directory`. SIGTERM and Ctrl-C save at
    the next step and return. Raises DivergedError, before anything poisoned is saved, if the loss is not finite;
    FileExistsError if the directory holds a run and `resume` is False.
    """
    directory = as_path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    mesh = make_mesh(config.mesh) if mesh is None else mesh
    checkpoints = Checkpoints(directory / "checkpoints", config.keep)
    reporter = Reporter(directory, None if config.minutes else config.steps)
    try:
        if checkpoints.steps() and not resume:
            raise FileExistsError(f"{directory} holds a run: say --resume to continue it, or choose another directory")
        with jax.set_mesh(mesh):
            run = Run(stage, iter(batches), config, directory, mesh, experiment or {}, checkpoints, reporter)
            run.trace = StepTrace(profile)
            run.held_out = [place_batch(batch, mesh) for batch in held_out]
            return run.all()
    finally:
        checkpoints.close()
        reporter.close()


class Run:
    """One call of `fit`: its position, and its actions between steps."""

    def __init__(
        self,
        stage: Stage,
        data: Position,
        config: LoopConfig,
        directory: Path,
        mesh: Mesh,
        experiment: dict[str, Any],
        checkpoints: Checkpoints,
        reporter: Reporter,
    ):
        self.data, self.config, self.directory, self.mesh = data, config, directory, mesh
        self.experiment, self.checkpoints, self.reporter = experiment, checkpoints, reporter
        steps = None if config.minutes else config.steps
        self.optimizer = make_optimizer(config.optimizer, steps)
        self.rates = jax.jit(schedule(config.optimizer, steps))
        self.init_key, self.step_key, self.preview_key = jax.random.split(jax.random.key(config.seed), 3)

        # Shapes without arrays, and where each array goes; no unsharded state ever exists.
        self.begin = make_begin(self.optimizer, stage)
        self.abstract = jax.eval_shape(lambda key: self.begin(stage.init(key)), self.init_key)
        self.where = shardings(self.abstract, mesh)
        method(stage, Stage.check)(mesh)
        self.stage = jax.device_put(stage, shardings(stage, mesh))
        self.position = data.get_state()
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract))
        self.clock = Clock(config.steps, config.minutes, config.optimizer, size)
        self.held_out: list[Any] = []
        self.trace = StepTrace(None)
        self.measure = jax.jit(lambda stage, *rest: method(stage, Stage.validate)(*rest))
        self.state = self.restored() or self.started() or self.fresh()
        self.step = int(self.state.step)
        self.tally = Tally(checkpoints)
        self.flops = Flops(self.abstract, self.step_key, reporter.say)
        count = sum(leaf.size for leaf in jax.tree.leaves(self.abstract.params))
        reporter.say(f"training {count / 1e6:.2f} M parameters on {mesh.size} {jax.devices()[0].device_kind} device(s)")

    def restored(self) -> TrainState | None:
        """The state of the newest whole checkpoint, with the data moved to its position."""
        if not self.checkpoints.steps():
            return None
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), self.abstract, self.where
        )
        found = self.checkpoints.restore(target.core(), average=target.params)
        self.position = found.data
        self.data.set_state(found.data)
        self.clock.before = found.seconds
        self.reporter.say(f"resumed {self.directory} at step {found.step}{changes(found.config, self.experiment)}")
        averages = {}
        for name in self.abstract.averages:
            if name not in found.averages:
                self.reporter.say(f"the average `{name}` is not in the checkpoint: it begins as the parameters")
            averages[name] = found.averages.get(name) or jax.tree.map(jnp.copy, found.state["params"])
        return TrainState(**found.state, averages=averages)

    def started(self) -> TrainState | None:
        """The first state, from another model's weights."""
        if self.config.start is None:
            return None
        params = jax.device_put(loaded(self.stage, self.config.start, self.abstract.params), self.where.params)
        return jax.jit(self.begin, out_shardings=self.where)(params)

    def fresh(self) -> TrainState:
        """The first state, from random weights."""
        create = jax.jit(
            lambda key: self.begin(self.stage.init(key)), out_shardings=self.where, compiler_options=quick_compile()
        )
        return create(self.init_key)

    def all(self) -> TrainState:
        """Runs the remaining steps, until the time is up or a signal asks to stop."""
        first, clock = self.step, self.clock
        replicated = NamedSharding(self.mesh, P())
        update = make_update(self.optimizer, self.config.optimizer)
        programs = Programs(
            jax.jit(
                update,
                donate_argnums=0,
                out_shardings=(self.where, replicated),
                compiler_options=method(self.stage, Stage.compiler_options)(),
            )
        )
        if self.config.minutes:
            self.compile_early(programs)
        tokens = method(self.stage, Stage.tokens)
        clock.read()
        over = clock.over(self.step)
        with Signals() as signals:
            while not over and not signals.stop(self.checkpoints, self.step):
                asked = monotonic()
                batch = place_batch(next(self.data), self.mesh)
                self.tally.waited(monotonic() - asked)
                self.trace.before_step(lambda: jax.block_until_ready(self.state))
                self.position = self.data.get_state()
                stage = method(self.stage, Stage.at)(self.step)
                self.state, metrics = programs(self.state, stage, batch, self.step_key, clock.rate_scale())
                self.step += 1
                work = Work(1, clips_of(batch), tokens(batch), self.flops(stage, batch))
                self.tally.add(self.step, metrics, work)
                if self.step == first + 1:
                    self.tally.begin()  # compiling is no training speed
                clock.read(self.step)
                over = clock.over(self.step)
                self.between(over)
        self.trace.close()
        if self.step > first:
            self.tally.settle(0)
            clock.close(over)
            paused = monotonic()
            if self.step not in self.checkpoints.steps():
                self.save()
            self.checkpoints.wait()
            self.tally.pause_since(paused)
        self.finish(over, self.step - first)
        return self.state

    def compile_early(self, programs: Programs) -> None:
        """Compiles the step of every shape among the first batches; the data go back to where they were."""
        start = monotonic()
        found: dict[Any, Any] = {}
        for _ in range(EARLY):
            batch = next(self.data)
            found.setdefault(shape_of(batch), batch)
        self.data.set_state(self.position)
        stage = method(self.stage, Stage.at)(self.step)
        batches = [place_batch(batch, self.mesh) for batch in found.values()]
        programs.prepare(self.state, stage, batches, self.step_key, self.clock.rate_scale())
        for batch in batches:
            self.flops(stage, batch)  # tracing takes seconds, too
        self.reporter.say(f"compiled {len(programs.known)} shape(s) in {monotonic() - start:.0f} s")

    def between(self, last: bool) -> None:
        """Reports, pictures and checkpoints that are due after a step."""
        config = self.config
        self.tally.settle(0 if last else LAG)
        if last or self.tally.due(config.report_seconds):
            rate = float(self.rates(self.step // config.optimizer.accumulation)) * float(self.clock.rate_scale())
            self.reporter.report(self.step, self.tally.report() | {"learning_rate": rate}, self.clock.left(self.step))
        paused = monotonic()
        if config.preview_every and not config.short and self.step % config.preview_every == 0:
            key = jax.random.fold_in(self.preview_key, self.step)
            if (picture := method(self.stage, Stage.preview)(self.state.ema, key)) is not None:
                self.reporter.picture(self.step, picture, self.directory / "previews")
        if self.held_out and config.validate_every and self.step % config.validate_every == 0:
            self.reporter.validated(self.step, self.validate())
        if config.optimizer.posthoc and (last or self.step % config.optimizer.snapshot_every == 0):
            self.snapshot()
        if self.step % config.save_every == 0 and not last and not config.short:
            self.save()
        self.tally.pause_since(paused)  # nor are pictures and checkpoints

    def finish(self, over: bool, steps: int) -> None:
        """Reports what this call has done, and how to continue an unfinished run."""
        if steps:
            self.reporter.say(self.tally.whole.summary(self.clock.call()))
        if over and not self.step:
            short = f"{self.config.minutes:g} minutes were over before the first step"
            self.reporter.say(f"{short}: give a larger --loop.minutes")
        if not over:
            self.reporter.say(f"stopped and saved at step {self.step}; continue with --resume")

    def validate(self) -> dict[str, float]:
        """Means of the stage's validation metrics over the held-out batches."""
        meter = Meter()
        for number, batch in enumerate(self.held_out):
            key = jax.random.fold_in(jax.random.key(0), number)  # whatever the run's seed is
            meter.add(jax.device_get(self.measure(self.stage, self.state.ema, batch, key)))
        return meter.means()

    def snapshot(self) -> None:
        """Writes the averages that `sorajax.average` combines, once every step up to them is known to be sound."""
        self.tally.settle(0)
        averages = gather(averages_in(self.state.opt_state))
        if self.reporter.main:
            write_snapshot(self.directory, self.step, averages, self.config.optimizer.posthoc)

    def save(self) -> None:
        """Writes a checkpoint, once every step up to it is known to be sound, and the model."""
        self.tally.settle(0)
        loss = self.tally.loss_since_save()
        self.checkpoints.save(
            self.step,
            self.state.core(),
            self.experiment,
            self.position,
            loss,
            self.clock.seconds,
            self.state.averages,
        )
        params = gather(self.state.ema)
        if self.reporter.main:
            with whole_folder(self.directory / "model") as folder:
                method(self.stage, Stage.export)(folder, params)


class Tally:
    """Metrics that may still be on the device, and sums of those that have arrived."""

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self.pending: deque[tuple[int, Any, Work]] = deque()
        self.window, self.since_save, self.whole = Meter(), Meter(), Meter()

    def begin(self) -> None:
        """Speeds count from here on."""
        self.window.since = self.whole.since = monotonic()

    def waited(self, seconds: float) -> None:
        """Takes in the time in which there was no batch."""
        self.window.waited += seconds
        self.whole.waited += seconds

    def add(self, step: int, metrics: Any, work: Work) -> None:
        """Takes in a step's metrics without waiting for them."""
        self.pending.append((step, metrics, work))

    def settle(self, left: int) -> None:
        """Waits until only `left` steps are still under way. Raises DivergedError at the first that is not finite."""
        while len(self.pending) > left:
            step, metrics, work = self.pending.popleft()
            metrics = jax.device_get(metrics)
            loss, norm = metrics["loss"], metrics["gradient_norm"]
            if not np.isfinite(loss) or not np.isfinite(norm):
                self.checkpoints.wait()
                steps = self.checkpoints.steps()
                good = f"The last good checkpoint is step {steps[-1]}" if steps else "There is no checkpoint yet"
                raise DivergedError(
                    f"step {step}: loss {loss:g}, gradient norm {norm:g}. "
                    f"{good}; resume with a lower learning rate or a lower clip"
                )
            self.window.add(metrics, work)
            self.whole.add({}, work)
            self.since_save.add(metrics)

    def due(self, seconds: float) -> bool:
        """Whether the window holds something and has lasted long enough."""
        return self.window.work.steps > 0 and monotonic() - self.window.since >= seconds

    def pause_since(self, moment: float) -> None:
        """Takes the time since `moment` out of the window, and out of the whole."""
        for meter in (self.window, self.whole):
            meter.since += monotonic() - moment

    def report(self) -> dict[str, float]:
        """The window's means and speeds; a new window begins."""
        values, self.window = self.window.report(), Meter()
        return values

    def loss_since_save(self) -> float:
        """Mean loss since the last call."""
        loss, self.since_save = self.since_save.report().get("loss", float("inf")), Meter()
        return loss


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
