"""The table of tasks, which command lines and evaluations read. Importing it does not import jax."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sorajax.media.video import Film, Video
    from sorajax.sampling.pipeline import Pipeline
    from sorajax.sampling.request import Request
    from sorajax.sampling.store import WindowStores

Input = Literal["picture", "clip", "scenes"]


@dataclass(frozen=True)
class Task:
    """A row of the table.

    name: the option of the command line, and the field in a clip's metadata. function: MODULE:NAME in this package; it
    takes (pipeline, request, *inputs, **options). inputs: kinds of its files. options: its own settings and their
    defaults. required: an option that must be set, "" if none. trims: whether --trim applies to its first clip.
    own_length: why the request cannot set seconds and frames, "" if it can. resumable: whether it takes `stores`, with
    which an interrupted film continues. summary and example: for the manual.
    """

    name: str
    function: str
    summary: str
    example: str
    inputs: tuple[Input, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    required: str = ""
    trims: bool = False
    own_length: str = ""
    resumable: bool = False

    @property
    def plans_length(self) -> bool:
        """Whether the request's seconds and frames are the length of the whole clip, not of frames added to one."""
        return self.resumable and not self.own_length

    @property
    def usage(self) -> str:
        """The option as written on a command line, e.g. "--between FILE FILE"."""
        return " ".join((f"--{self.name}", *["FILE"] * len(self.inputs)))

    def metadata(
        self,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        trim: str | None = None,
        seconds: float | None = None,
        frames: int | None = None,
    ) -> dict[str, Any]:
        """The task's entries in a clip's metadata, besides the settings, as JSON values. inputs: names of its files.
        seconds and frames: as requested; they are entries where the clip's length does not say them."""
        entries: dict[str, Any] = {}
        if self is not TASKS["text"]:
            entries[self.name] = True if not inputs else inputs[0] if len(inputs) == 1 else list(inputs)
        entries |= {**options, "trim": trim}
        if "clip" in self.inputs:
            entries |= {"seconds_asked": seconds, "frames_asked": frames}
        return {name: value for name, value in entries.items() if value is not None}

    def run(
        self,
        pipeline: "Pipeline",
        request: "Request",
        inputs: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
        stores: "WindowStores | None" = None,
    ) -> "Iterator[Video | Film]":
        """Yields the task's videos, one per prompt and seed. Raises BadRequest."""
        more = {"stores": stores} if self.resumable else {}
        function = load_function(self.name)
        videos: Iterator[Video | Film] = function(pipeline, request, *inputs, **(options or {}), **more)
        return videos


@cache
def load_function(name: str) -> Any:
    """Imports the function of the task of this name, and applies the policy to it."""
    from sorajax.tasks.safeguards import safeguarded

    task = TASKS[name]
    module, _, name = task.function.partition(":")
    return safeguarded(task.name, task.inputs, getattr(import_module(f"{__package__}.{module}"), name))


TASKS = {
    task.name: task
    for task in (
        Task(
            "text",
            "clips:text",
            "text to video, of any length",
            '"a red ball bounces on a grey floor" --seconds 60 --out minute.mp4 --resume',
            resumable=True,
        ),
        Task(
            "image",
            "clips:animate",
            "image to video: a clip that begins with a picture",
            '"a red ball bounces" --image ball.png',
            inputs=("picture",),
            resumable=True,
        ),
        Task(
            "extend",
            "extension:extend",
            "extend a clip after its end or before its beginning",
            '"a red ball bounces" --extend clip.mp4 --seconds 2 --direction backward',
            inputs=("clip",),
            options={"direction": "forward"},
            trims=True,
        ),
        Task(
            "between",
            "bridge:between",
            "a clip from a first picture to a last one",
            '"a red ball falls" --between first.png last.png',
            inputs=("picture", "picture"),
        ),
        Task(
            "connect",
            "bridge:connect",
            "join two clips by a bridge",
            '"a red ball falls" --connect a.mp4 b.mp4 --seconds 1',
            inputs=("clip", "clip"),
            trims=True,
        ),
        Task(
            "fill",
            "bridge:fill",
            "fill a gap in a clip",
            '"a red ball falls" --fill clip.mp4 --gap 1.0:1.5',
            inputs=("clip",),
            options={"gap": None},
            required="gap",
            own_length="a gap is as long as --gap says",
        ),
        Task("loop", "loops:loop", "a loop without a seam", '"a green ring spins" --loop --out ring.gif'),
        Task(
            "edit",
            "editing:edit",
            "edit a clip by a prompt, everywhere or where a mask is white",
            '"a blue ball bounces on a grey floor" --edit clip.mp4 --strength 0.75',
            inputs=("clip",),
            options={"strength": 0.75, "mask": None},  # at 0.6 the embedded model often keeps the colour
            trims=True,
            own_length="an edit is as long as its clip",
        ),
        Task(
            "blend",
            "editing:blend",
            "turn one clip into another",
            '"a red ball falls" --blend a.mp4 b.mp4',
            inputs=("clip", "clip"),
            options={"strength": 0.6},
        ),
        Task(
            "storyboard",
            "clips:storyboard",
            "a film of several scenes",
            "--storyboard board.json --out story.mp4",
            inputs=("scenes",),
            own_length="a storyboard has its own prompts and seconds",
            resumable=True,
        ),
    )
}
"""Tasks by name. The first is the default."""
