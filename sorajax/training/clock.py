"""The progress of a run, by its steps or by a clock.

A run of `minutes` does not know its steps beforehand. Its learning rate warms up and stays as in a run of steps, to the
bit, and falls with the time that is left: at a share u of the time, with p = (u - (1 - decay)) / decay,

    linear    rate = peak * (1 - (1 - final) p)
    cosine    rate = peak * (final + (1 - final) (1 + cos(pi p)) / 2)

With several processes the clock of process 0 counts for all.
"""

import math
from dataclasses import dataclass, field
from time import monotonic

import jax
import numpy as np

from sorajax.training.optimizer import OptimizerConfig

AHEAD = 3
"""Steps that may be under way on the device, or about to be, when the clock is read."""
WRITTEN = 1e8
"""Write speed in bytes per second that is assumed for a checkpoint and an export: a slow disk's."""


@dataclass
class Clock:
    """Ends a run after `steps`, or after `minutes` where these are above 0."""

    steps: int
    minutes: float
    optimizer: OptimizerConfig
    state_bytes: int = 0
    """Bytes of the training state, which is written before the time is up."""
    before: float = 0.0
    """Seconds trained by earlier calls, from the checkpoint."""
    began: float = field(default_factory=lambda: monotonic())
    seconds: float = 0.0
    """Trained so far, at the last reading."""
    first: tuple[int, float] | None = None
    """The first step of this call, and `seconds` after it."""
    slowest: float = 0.0
    """Seconds of the slowest step since then: shapes differ."""

    def __post_init__(self) -> None:
        self.read()

    @property
    def length(self) -> float:
        """Seconds of the whole run, less those for the last checkpoint and the export."""
        total = 60 * self.minutes
        return total - min(0.2 * total, 2 + self.state_bytes / WRITTEN)

    def read(self, step: int | None = None) -> None:
        """Looks at the clock, once `step` has been started. With several processes all must call it."""
        before, self.seconds = self.seconds, agreed(self.before + self.call())
        if step is not None and self.first is None:
            self.first = step, self.seconds
        elif step is not None:
            self.slowest = max(self.slowest, self.seconds - before)

    def over(self, step: int) -> bool:
        """Whether the run ends before another step."""
        if not self.minutes:
            return step >= self.steps
        return self.seconds + self.slowest + (AHEAD - 1) * self.each(step) >= self.length

    def close(self, over: bool) -> None:
        """If the run is over, marks its time as used up, so that resuming it adds no step."""
        if over and self.minutes:
            self.seconds = max(self.seconds, self.length)

    def each(self, step: int) -> float:
        """Mean seconds per step; 0 before the second step."""
        if self.first is None or step == self.first[0]:
            return 0.0
        return (self.seconds - self.first[1]) / (step - self.first[0])

    def call(self) -> float:
        """Seconds since this call began."""
        return monotonic() - self.began

    def left(self, step: int) -> float | None:
        """Seconds until the run ends; None while nothing is known."""
        if self.minutes:
            return max(0.0, self.length - self.seconds)
        return (self.steps - step) * self.each(step) or None

    def rate_scale(self) -> np.float32:
        """The clock's factor on the learning rate; in a run of steps the schedule has the decay."""
        share = self.seconds / self.length if self.minutes else 0.0
        return np.float32(fall(self.optimizer, share))


def fall(config: OptimizerConfig, share: float) -> float:
    """The learning rate after a share of the run, relative to its peak; exactly 1 until the decay begins."""
    if config.schedule == "constant" or config.decay == 0:
        return 1.0
    progress = min(1.0, max(0.0, (share - (1 - config.decay)) / config.decay))
    if config.schedule == "linear":
        return 1 - (1 - config.final) * progress
    return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2


def agreed(seconds: float) -> float:
    """Process 0's value, in every process."""
    if jax.process_count() == 1:
        return seconds
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return float(broadcast_one_to_all(np.float32(seconds)))
