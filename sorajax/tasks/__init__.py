"""The tasks, in one table: each fixes some frames of a clip, and the model generates the rest.

A task yields one video per prompt and seed, in the request's order. A clip longer than the model's window, or one that
may be finished already, is a `Film`, sampled while it is saved. No task adds an argument to the model or to a sampler:
see `models.conditioning`, `sampling.film` and, for loops, `diffusion.looped`. The functions are attributes of this
package, imported on first use: `tasks.extend(pipeline, request, clip, "forward")`.
"""

from typing import TYPE_CHECKING, Any

from sorajax.tasks.table import TASKS, Task, load_function

if TYPE_CHECKING:
    from sorajax.tasks.bridge import between, connect, fill
    from sorajax.tasks.clips import animate, storyboard, text
    from sorajax.tasks.editing import blend, edit
    from sorajax.tasks.extension import extend
    from sorajax.tasks.loops import loop

FUNCTIONS = {task.function.partition(":")[2]: task.name for task in TASKS.values()}


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return load_function(FUNCTIONS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "TASKS",
    "Task",
    "animate",
    "between",
    "blend",
    "connect",
    "edit",
    "extend",
    "fill",
    "loop",
    "storyboard",
    "text",
]
