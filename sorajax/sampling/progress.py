"""A progress bar for a jitted sampler, which needs no argument for it.

A wrapper of the velocity reports the time of each evaluation. The bar has the schedule, and turns that time into the
number of finished steps. A report is a host callback; it is compiled only if stderr is a terminal and sampling takes
long (`Bar.least`), because programs with callbacks are not stored on disk.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float

from sorajax.devices.exchange import first_of
from sorajax.diffusion.fixed_frames import Latent, Velocity

if TYPE_CHECKING:
    from tqdm import tqdm


def reporting(velocity: Velocity, report: Callable[[Float[np.ndarray, ""]], None]) -> Velocity:
    """The same velocity, whose evaluations call `report(time)` on the host with the largest time of any frame."""

    def wrapped(x: Latent, time: Float[Array, "b t"], *until: Float[Array, "b t"]) -> Latent:
        jax.debug.callback(report, time.max())
        return velocity(x, time, *until)

    return wrapped


class Bar:
    """A bar on stderr with finished steps and remaining time, over one or several samplings in turn."""

    least = 1e12
    """Operations of a sampling from which on its steps are reported: what takes fewer is over in seconds, and a program
    that reports is compiled in each process (`devices.executables`)."""

    def __init__(self, spans_hosts: bool = False) -> None:
        """spans_hosts: several processes sample each clip together, so all compile the reports if process 0 does."""
        self.reported = first_of(sys.stderr.isatty()) if spans_hosts else None
        self.lines: tqdm | None = None
        self.times = np.zeros(0)
        self.before = 0
        self.begun = False

    @property
    def visible(self) -> bool:
        """Whether this is process 0 and stderr is a terminal."""
        return sys.stderr.isatty() and jax.process_index() == 0

    @property
    def reports(self) -> bool:
        """Whether the compiled program reports evaluations."""
        return self.visible if self.reported is None else self.reported

    def watch(self, velocity: Velocity) -> Velocity:
        """The same velocity, whose evaluations move the bar."""
        return reporting(velocity, self.report)

    def open(self, samplings: int, times: Float[np.ndarray, " steps+1"]) -> None:
        """Draws an empty bar for that many samplings along the same times. Compilation before the first report does not
        count in its times."""
        from tqdm import tqdm

        self.times, self.before, self.begun = np.asarray(times), 0, False
        layout = "{desc} {percentage:3.0f}%|{bar:30}| step {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left"
        total = samplings * (len(self.times) - 1)
        self.lines = tqdm(total=total, desc="sampling", bar_format=layout, file=sys.stderr, leave=False)

    @contextmanager
    def over(self, samplings: int, times: Float[np.ndarray, " steps+1"]) -> Iterator[None]:
        """Opens the bar if it is visible, and closes it at the end."""
        if self.visible:
            self.open(samplings, times)
        try:
            yield
        finally:
            self.close()

    def report(self, time: Float[np.ndarray, ""]) -> None:
        """Moves the bar to the step that begins at `time`, never back: reports may arrive out of order."""
        if self.lines is not None and not self.begun:
            self.lines.reset()
            self.begun = True
        self._move(self.before + int((self.times > np.asarray(time)).sum()))

    def finish_sampling(self) -> None:
        """Moves the bar to the end of the current sampling."""
        self.before += len(self.times) - 1
        self._move(self.before)

    def hide(self) -> None:
        """Clears the line, so that other output can be printed; the next report draws the bar again."""
        if self.lines is not None:
            self.lines.clear()

    def close(self) -> None:
        """Removes the bar."""
        if self.lines is not None:
            self.lines.close()
        self.lines = None

    def _move(self, done: int) -> None:
        if self.lines is not None and done > self.lines.n:
            self.lines.update(done - self.lines.n)
