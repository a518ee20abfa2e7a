"""What a run reports: averages over a window, a line on the terminal, event files for TensorBoard.

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

from sorajax.checkpoint import write_atomically

# Dense bfloat16 peak, FLOP/s of one chip as `jax.Device.device_kind` names it (the makers' data sheets).
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 2307e12,
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


@dataclass
class Meter:
    """Sums up metrics, tokens and FLOPs since the last report."""

    totals: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    steps: int = 0
    tokens: float = 0.0
    flops: float = 0.0
    waited: float = 0.0
    """Seconds in which the loop had no batch."""
    since: float = field(default_factory=time.monotonic)

    def add(self, metrics: dict[str, Any], tokens: float = 0.0, flops: float = 0.0) -> None:
        """Adds one step's metrics, already on the host."""
        for name, value in metrics.items():
            total, count = value if isinstance(value, Mean) else (value, np.ones_like(value))
            self.totals[name] = self.totals.get(name, 0.0) + np.asarray(total, np.float64)
            self.counts[name] = self.counts.get(name, 0.0) + np.asarray(count, np.float64)
        self.steps += 1
        self.tokens += tokens
        self.flops += flops

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
        seconds = max(time.monotonic() - self.since, 1e-9)
        found = self.means()
        found["waiting"] = min(1.0, self.waited / seconds)
        found["steps_per_second"] = self.steps / seconds
        if self.tokens:
            found["tokens_per_second"] = self.tokens / seconds
        if self.flops:
            found["flops_per_second"] = self.flops / seconds
            if peak := peak_flops():
                found["utilisation"] = self.flops / seconds / peak
        return found


class Reporter:
    """Writes reports to the terminal and to TensorBoard event files in `directory`/events. Only process 0 writes."""

    def __init__(self, directory: Path, steps: int):
        self.steps = steps
        self.main = jax.process_index() == 0
        self.writer: Any = None
        if self.main:
            from tensorboardX import SummaryWriter  # imports torch where that is installed

            self.writer = SummaryWriter(str(directory / "events"))

    def report(self, step: int, values: dict[str, float]) -> None:
        """One line, and one scalar per value, for the window that ended with `step`."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
        print(line(step, self.steps, values), flush=True)

    def validated(self, step: int, values: dict[str, float]) -> None:
        """One line, and one scalar per value, for held-out clips."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(f"validation/{name}", value, step)
        self.writer.flush()
        said = " · ".join(f"{name} {value:.4g}" for name, value in values.items() if "/" not in name)
        print(f"step {step}/{self.steps} · held out: {said}", flush=True)

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


def line(step: int, steps: int, values: dict[str, float]) -> str:
    """A report as a person reads it; numbers by bucket are left to TensorBoard."""
    shown = {name: value for name, value in values.items() if "/" not in name}
    speed = shown.pop("steps_per_second", 0.0)
    parts = [f"step {step}/{steps}"]
    known = ("tokens_per_second", "flops_per_second", "utilisation")
    rates = {name: shown.pop(name) for name in known if name in shown}
    rate = shown.pop("learning_rate", None)
    shown_waiting = shown.pop("waiting", 0.0)
    parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items()]
    if rate is not None:
        parts.append(f"rate {rate:.2e}")
    parts.append(f"{speed:.2f} steps/s" if speed >= 1 else f"{1 / max(speed, 1e-9):.2f} s/step")
    if "tokens_per_second" in rates:
        parts.append(f"{_si(rates['tokens_per_second'])}tokens/s")
    if "flops_per_second" in rates:
        parts.append(f"{_si(rates['flops_per_second'])}FLOP/s")
    if "utilisation" in rates:
        parts.append(f"utilisation {rates['utilisation']:.1%}")
    if shown_waiting >= 0.005:
        parts.append(f"waiting for data {shown_waiting:.1%}")
    if speed:
        parts.append(f"{clock((steps - step) / speed)} left")
    return " · ".join(parts)


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
