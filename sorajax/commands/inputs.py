"""From options to a task and its inputs, checked as far as possible before a model is loaded."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sorajax.commands.arguments import Arguments
from sorajax.commands.failures import Failure, attempt
from sorajax.errors import BadRequest, note
from sorajax.files import as_path
from sorajax.media.video import Video
from sorajax.sampling.request import (
    StoryboardScene,
    check_strength,
    find_file,
    parse_span,
    read_storyboard,
    with_style,
)
from sorajax.tasks.table import TASKS, Task


def task_of(arguments: Arguments) -> Task:
    """The task of the options. Raises BadRequest if options contradict each other or a file is missing."""
    chosen = [task for name, task in TASKS.items() if getattr(arguments, name, None)]
    if len(chosen) > 1:
        raise BadRequest(f"{' and '.join(f'--{task.name}' for task in chosen)} are different tasks: give one of them")
    task = chosen[0] if chosen else TASKS["text"]
    if arguments.resume and not task.resumable:
        names = " or ".join(f"--{name}" for name, other in TASKS.items() if other.resumable and other.inputs)
        raise BadRequest(
            f"--resume continues films of text, {names}, and --{task.name} cannot be resumed: leave --resume out"
        )
    if arguments.resume and arguments.grid is not None:
        raise BadRequest("--resume continues single files, and a grid cannot be resumed: leave one of them out")
    if task.own_length and (arguments.seconds or arguments.frames):
        raise BadRequest(f"{task.own_length}: leave --seconds and --frames out")
    if "scenes" in task.inputs and (arguments.prompts or arguments.prompts_file):
        raise BadRequest(f"{task.own_length}: leave your prompts out, or the storyboard")
    if task.required and getattr(arguments, task.required) is None:
        raise BadRequest(f"{task.usage} and --{task.required} go together: give both, as in {task.example}")
    for option in {name for other in TASKS.values() for name in other.options}:
        owners = [other.usage for other in TASKS.values() if option in other.options]
        if option not in task.options and getattr(arguments, option) not in (None, default_of(option)):
            raise BadRequest(f"--{option} needs a clip: give one with {' or '.join(owners)}")
    if arguments.trim is not None and not task.trims:
        owners = [other.usage for other in TASKS.values() if other.trims]
        raise BadRequest(f"--trim needs a clip: give one with {' or '.join(owners)}")
    for span in (arguments.trim, arguments.gap):
        if span is not None:
            parse_span(span)
    if arguments.strength is not None:
        check_strength(arguments.strength)
    for file in (*files_of(arguments, task), *([arguments.mask] if arguments.mask else [])):
        if find_file(Path(), str(file)) is None:
            problem = "is a folder" if os.path.isdir(os.path.expanduser(file)) else "does not exist"
            name = os.path.expanduser(file) if str(file).startswith("~") else as_path(file)
            raise BadRequest(f"{name} {problem}: give the path of a picture or clip")
    return task


def default_of(option: str) -> Any:
    """The default of a task's option, if all tasks that have the option share it; else None."""
    values = {task.options[option] for task in TASKS.values() if option in task.options}
    return values.pop() if len(values) == 1 else None


def files_of(arguments: Arguments, task: Task) -> tuple[Path, ...]:
    """The task's input files."""
    value = getattr(arguments, task.name, None) if task.inputs else None
    return () if value is None else value if isinstance(value, tuple) else (value,)


def options_of(arguments: Arguments, task: Task) -> dict[str, Any]:
    """The values of the task's own options, or their defaults."""
    values = {name: getattr(arguments, name) for name in task.options}
    return {name: task.options[name] if value is None else value for name, value in values.items()}


def metadata_of(arguments: Arguments, task: Task) -> dict[str, Any]:
    """The task's entries in a clip's metadata, besides the settings, as JSON values; files by name."""
    files = [str(file) for file in files_of(arguments, task)]
    options = {name: str(x) if isinstance(x, Path) else x for name, x in options_of(arguments, task).items()}
    entries = task.metadata(files, options, arguments.trim, arguments.seconds, arguments.frames)
    return entries if arguments.expand_model is None else entries | {"expand_model": arguments.expand_model}


def read_inputs(arguments: Arguments, task: Task) -> list[Any]:
    """The inputs of the task's function: videos, or scenes. Raises BadRequest, and Failure for a file that cannot be
    read."""
    if "scenes" in task.inputs:
        return [tuple(scenes_of(arguments))]
    files = files_of(arguments, task)
    return [read(file, arguments.trim if task.trims and number == 0 else None) for number, file in enumerate(files)]


def read_options(arguments: Arguments, task: Task, inputs: list[Any]) -> dict[str, Any]:
    """The task's options, converted to the arguments of its function."""
    options = options_of(arguments, task)
    if "gap" in options:
        options["gap"] = parse_span(options["gap"])
    if options.get("mask") is not None:
        options["mask"] = read_mask_for(options["mask"], inputs[0])
    return options


def read(path: Path, trim: str | None = None) -> Video:
    """Reads a picture or clip; `trim`, e.g. "1.0:2.5", are the seconds of the clip to read."""
    start, end = (0.0, math.inf) if trim is None else parse_span(trim)
    video = attempt(lambda: Video.load(path, start=start, end=end))
    if math.inf > end > start + video.seconds + 1 / video.fps:
        note(f"{path} ends before {end:g} s: it is used from {start:g} s to its end")
    return video


def read_mask_for(path: Path, clip: Video) -> Any:
    """Reads a mask and resizes it to the clip."""
    from sorajax.sampling.pixels import read_mask

    _, y, x, _ = clip.frames.shape
    count, height, width, _ = attempt(lambda: Video.load(path)).frames.shape
    if count > 1:
        note(f"{path} has {count} frames: the first one masks the whole clip, masks do not move")
    if (width, height) != (x, y):
        note(f"{path} is {width}x{height} and is resized to the clip's {x}x{y}, cropped if its aspect ratio differs")
    return attempt(lambda: read_mask(path, x, y))


def scenes_of(arguments: Arguments) -> Iterator[StoryboardScene]:
    """Yields the scenes of the storyboard, after a check that their pictures can be read."""
    assert arguments.storyboard is not None
    for number, scene in enumerate(read_storyboard(arguments.storyboard), 1):
        try:
            attempt(scene.picture)
        except Failure as error:
            raise Failure(f"{arguments.storyboard}, entry {number}: {error}") from error
        yield scene if arguments.style is None else replace(scene, prompt=with_style(scene.prompt, arguments.style))
