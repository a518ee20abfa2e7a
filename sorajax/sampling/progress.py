"""Progress for the person who waits, told from inside a jitted sampler without its knowledge.

A velocity is wrapped so that each evaluation reports its time; the bar knows the schedule, and turns that time into the
number of steps done. A report is a host callback: it is compiled in only when somebody looks, because XLA programs with
callbacks are not kept in jax's persistent cache.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float

from sorajax.diffusion.fixed_frames import Latent, Velocity

if TYPE_CHECKING:
    from tqdm import tqdm


def watched(velocity: Velocity, report: Callable[[Float[np.ndarray, ""]], None]) -> Velocity:
    """The same velocity; each evaluation calls `report(time)` on the host, with the latest clock of any frame."""

    def wrapped(x: Latent, time: Float[Array, "b t"]) -> Latent:
        jax.debug.callback(report, time.max())
        return velocity(x, time)

    return wrapped


class Bar:
    """Steps done and time left on stderr, over one or several samplings in turn."""

    def __init__(self) -> None:
        self.lines: tqdm | None = None
        self.times = np.zeros(0)
        self.before = 0
        self.begun = False

    @property
    def watched(self) -> bool:
        """Whether somebody sees it."""
        return sys.stderr.isatty()

    def open(self, samplings: int, times: Float[np.ndarray, " steps+1"]) -> None:
        """Draws an empty bar for that many samplings along the same times. What is compiled before the first report
        does not count as time that they take."""
        from tqdm import tqdm

        self.times, self.before, self.begun = np.asarray(times), 0, False
        layout = "{desc} {percentage:3.0f}%|{bar:30}| step {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left"
        total = samplings * (len(self.times) - 1)
        self.lines = tqdm(total=total, desc="sampling", bar_format=layout, file=sys.stderr, leave=False)

    @contextmanager
    def over(self, samplings: int, times: Float[np.ndarray, " steps+1"]) -> Iterator[None]:
        """Opened, where somebody sees it, and closed at the end."""
        if self.watched:
            self.open(samplings, times)
        try:
            yield
        finally:
            self.close()

    def report(self, time: Float[np.ndarray, ""]) -> None:
        """Moves the bar to the step that begins at `time`; never back, since reports may overtake each other."""
        if self.lines is not None and not self.begun:
            self.lines.reset()
            self.begun = True
        self._move(self.before + int((self.times > np.asarray(time)).sum()))

    def finish_sampling(self) -> None:
        """Moves the bar to the end of the present sampling."""
        self.before += len(self.times) - 1
        self._move(self.before)

    def hide(self) -> None:
        """Clears the line, for others to print on; the next report draws the bar again."""
        if self.lines is not None:
            self.lines.clear()

    def close(self) -> None:
        """Wipes the bar away."""
        if self.lines is not None:
            self.lines.close()
        self.lines = None

    def _move(self, done: int) -> None:
        if self.lines is not None and done > self.lines.n:
            self.lines.update(done - self.lines.n)
