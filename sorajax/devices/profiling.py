"""Traces of host and devices, as XProf, TensorBoard and Perfetto open them: DIR/plugins/profile/TIME/HOST.*

jax is imported when a trace begins, so that a command line can check its folder before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sorajax.errors import BadRequest

WARM, TRACED = 3, 3
"""Steps of a training before its trace, which compile and fill queues, and steps in it: more are more than a viewer
shows."""


def check_profile(folder: Path | None) -> None:
    """Raises BadRequest for a file in place of a folder."""
    if folder is not None and folder.expanduser().exists() and not folder.expanduser().is_dir():
        raise BadRequest(f"--profile {folder} is a file: name a folder")


@contextmanager
def tracing(folder: Path | None) -> Iterator[None]:
    """Writes a trace of the block into a folder; None writes none."""
    if folder is None:
        yield
        return
    import jax

    with jax.profiler.trace(str(folder.expanduser()), profiler_options=options()):
        yield


def options() -> Any:
    """The profiler's options: Python's own calls are not traced, because they would fill the trace."""
    import jax

    chosen = jax.profiler.ProfileOptions()
    chosen.python_tracer_level = 0
    return chosen


class StepTrace:
    """The trace of a few steps of a loop."""

    def __init__(self, folder: Path | None):
        self.folder, self.begun = folder, 0

    def before_step(self, wait: Callable[[], Any]) -> None:
        """Begins or ends the trace, if it is time. wait: returns when the devices have done all earlier steps."""
        self.begun += 1
        if self.folder is None or self.begun not in (WARM + 1, WARM + TRACED + 1):
            return
        wait()
        if self.begun == WARM + 1:
            import jax

            jax.profiler.start_trace(str(self.folder.expanduser()), profiler_options=options())
        else:
            self.close()

    def close(self) -> None:
        """Ends the trace if it has begun, also where the loop ends early."""
        if self.folder is not None and self.begun > WARM:
            import jax

            jax.profiler.stop_trace()
            self.folder = None
