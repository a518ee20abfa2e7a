"""The reports of a run: averages over a window, a line on the terminal, event files for TensorBoard.

A stage's metrics are a dict of scalars (averaged over the window) and `Mean`s, sums with their counts. A `Mean` with
buckets, e.g. the loss by noise level, becomes one number per bucket. Nothing here waits for the device: `Meter` is
handed values that have already arrived.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sorajax.files import Address, as_path, write_atomically

# Dense bfloat16 peak, FLOP/s of one device as `jax.Device.device_kind` names it (the makers' data sheets): a chip, but
# half a TPU7x, whose two chiplets are two devices.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 2307e12 / 2,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


class Mean(NamedTuple):
    """A mean yet to be divided: sums and the counts behind them, of the same shape, () or (buckets,)."""

    total: jax.Array
    number: jax.Array


def peak_flops() -> float | None:
    """FLOP/s of all devices together, where the peak is known."""
    kinds = [PEAK_FLOPS.get(device.device_kind) for device in jax.devices()]
    return None if None in kinds else float(sum(kinds))  # type: ignore[arg-type]


class Work(NamedTuple):
    """The work of some steps."""

    steps: int = 0
    clips: int = 0
    tokens: float = 0.0
    flops: float = 0.0

    def plus(self, other: "Work") -> "Work":
        return Work(
            self.steps + other.steps, self.clips + other.clips, self.tokens + other.tokens, self.flops + other.flops
        )


ONE_STEP = Work(1)


def clips_of(batch: Any) -> int:
    """Clips in a batch over all processes: the length of its leading axis."""
    return next((leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim), 0)


@dataclass
class Meter:
    """Sums up metrics and work since the last report."""

    totals: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    work: Work = Work()
    waited: float = 0.0
    """Seconds in which the loop had no batch."""
    since: float = field(default_factory=time.monotonic)

    def add(self, metrics: dict[str, Any], work: Work = ONE_STEP) -> None:
        """Adds one step's metrics, already on the host."""
        for name, value in metrics.items():
            total, count = value if isinstance(value, Mean) else (value, np.ones_like(value))
            self.totals[name] = self.totals.get(name, 0.0) + np.asarray(total, np.float64)
            self.counts[name] = self.counts.get(name, 0.0) + np.asarray(count, np.float64)
        self.work = self.work.plus(work)

    def means(self) -> dict[str, float]:
        """The mean of each metric; a bucket that nothing fell into is left out."""
        found: dict[str, float] = {}
        for name, total in self.totals.items():
            count = self.counts[name]
            if total.ndim == 0:
                found[name] = float(total / count) if count else float("nan")
                continue
            found |= {f"{name}/{i}": float(total[i] / count[i]) for i in range(len(total)) if count[i]}
        return found

    def report(self) -> dict[str, float]:
        """The means of the window, its speeds, and the share of its time spent waiting for data."""
        return self.means() | self.speeds()

    def speeds(self) -> dict[str, float]:
        """Steps, clips, tokens and FLOPs a second, and the share of the time that was spent waiting."""
        seconds, work = max(time.monotonic() - self.since, 1e-9), self.work
        found = {"waiting": min(1.0, self.waited / seconds), "steps_per_second": work.steps / seconds}
        if work.clips:
            found["clips_per_second"] = work.clips / seconds
        if work.tokens:
            found["tokens_per_second"] = work.tokens / seconds
        if work.flops:
            found["flops_per_second"] = work.flops / seconds
            if peak := peak_flops():
                found["utilisation"] = work.flops / seconds / peak
        return found

    def summary(self, seconds: float) -> str:
        """One line about a whole call that took so many seconds, of which speeds leave out the first step, compiling
        and writing."""
        work, speeds = self.work, self.speeds()
        busy = min(seconds, time.monotonic() - self.since)
        parts = [f"{work.steps:,} steps, {work.clips:,} clips in {clock(seconds)}", *rates(speeds)]
        parts += [f"waiting for data {speeds['waiting']:.1%}", f"compiling and writing {clock(seconds - busy)}"]
        return "trained " + " · ".join(parts)


class EventFiles:
    """Event files at an address, as tensorboardX opens them: each is rewritten as a whole when it is flushed."""

    def __init__(self, path: str):
        self.path, self.events = as_path(path), bytearray()

    open = classmethod(lambda cls, path: cls(path))
    directory_check = staticmethod(lambda path: None)

    def write(self, events: bytes) -> None:
        self.events += events

    def flush(self) -> None:
        write_atomically(self.path, lambda path: path.write_bytes(self.events))

    close = flush


class Reporter:
    """Writes reports to the terminal and to TensorBoard event files in `directory`/events. Only process 0 writes."""

    def __init__(self, directory: Path, steps: int | None):
        """`steps` are those of the whole run; None where it is not known how many it will be."""
        self.total = "" if steps is None else f"/{steps}"
        self.main = jax.process_index() == 0
        self.writer: Any = None
        if self.main:
            from tensorboardX import SummaryWriter, record_writer  # imports torch where that is installed

            if isinstance(directory, Address):
                record_writer.register_writer_factory(str(directory).partition(":")[0], EventFiles)
            self.writer = SummaryWriter(str(directory / "events"))

    def report(self, step: int, values: dict[str, float], left: float | None) -> None:
        """One line, and one scalar per value, for the window that ended with `step`; `left` are the run's seconds."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
        print(line(f"step {step}{self.total}", values, left), flush=True)

    def validated(self, step: int, values: dict[str, float]) -> None:
        """One line, and one scalar per value, for held-out clips."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(f"validation/{name}", value, step)
        self.writer.flush()
        figures = " · ".join(f"{name} {value:.4g}" for name, value in values.items() if "/" not in name)
        print(f"step {step}{self.total} · held out: {figures}", flush=True)

    def picture(self, step: int, image: np.ndarray, directory: Path) -> None:
        """A sample grid, uint8 [h w 3], as `directory`/STEP.png and in the event files."""
        from PIL import Image

        if self.writer is None:
            return
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / f"{step:08d}.png", lambda path: Image.fromarray(image).save(path))
        self.writer.add_image("preview", image, step, dataformats="HWC")
        self.writer.flush()

    def say(self, text: str) -> None:
        """One line on the terminal."""
        if self.main:
            print(text, flush=True)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


SPEEDS = ("steps_per_second", "clips_per_second", "tokens_per_second", "flops_per_second", "utilisation", "waiting")


def line(step: str, values: dict[str, float], left: float | None) -> str:
    """A report as a person reads it; numbers by bucket are left to TensorBoard."""
    hidden = (*SPEEDS, "learning_rate")
    shown = {name: value for name, value in values.items() if "/" not in name and name not in hidden}
    parts = [step, *(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items())]
    if "learning_rate" in values:
        parts.append(f"rate {values['learning_rate']:.2e}")
    parts += rates(values)
    if values.get("waiting", 0.0) >= 0.005:
        parts.append(f"waiting for data {values['waiting']:.1%}")
    if left is not None:
        parts.append(f"{clock(left)} left")
    return " · ".join(parts)


def rates(values: dict[str, float]) -> list[str]:
    """Speeds as a person reads them."""
    speed = values.get("steps_per_second", 0.0)
    found = [f"{speed:.2f} steps/s" if speed >= 1 else f"{1 / max(speed, 1e-9):.2f} s/step"]
    if "clips_per_second" in values:
        found.append(f"{values['clips_per_second']:.3g} clips/s")
    found += [
        f"{_si(values[name])}{unit}/s"
        for name, unit in (("tokens_per_second", "tokens"), ("flops_per_second", "FLOP"))
        if name in values
    ]
    if "utilisation" in values:
        found.append(f"utilisation {values['utilisation']:.1%}")
    return found


def _si(value: float) -> str:
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} "


def clock(seconds: float) -> str:
    """A duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
