"""Prompts become videos: the command line.

    python -m sorajax.sample "a red ball bounces on a grey floor"

Exit code 0: done; 1: something failed (a model or file that cannot be read or written); 2: the request makes no sense;
130: interrupted. Mistakes are one line on stderr, and no file is left half-written.
"""

import math
import os
import re
import shutil
import sys
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sorajax.commands.arguments import (
    DESCRIPTION,
    TASKS,
    Arguments,
    Failure,
    as_request,
    attempt,
    check_task,
    strength_of,
    styled,
    task_of,
)
from sorajax.devices.distributed import print_any_name
from sorajax.errors import BadRequest, Note, note
from sorajax.media.formats import WRITERS, changed_settings, is_still, parse_metadata
from sorajax.media.video import Video, Videos, check_output, sidecar
from sorajax.sampling.request import Request, parse_span, read_storyboard

if TYPE_CHECKING:
    from sorajax.media.video import Film
    from sorajax.sampling.film import WindowStore
    from sorajax.sampling.pipeline import Pipeline
    from sorajax.tasks import WindowStores


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    print_any_name()
    try:
        arguments = tyro.cli(
            Arguments,
            prog="python -m sorajax.sample",
            description=DESCRIPTION,
            args=argv,
            config=(tyro.conf.DisallowNone,),
        )
        with notes_printed():
            sample(arguments)
    except SystemExit as exit:  # tyro has said what is wrong, or shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except KeyboardInterrupt:
        return complain("interrupted; no unfinished file was left", 130)
    except BadRequest as error:
        return complain(str(error), 2)
    except Failure as error:
        return complain(str(error), 1)
    return 0


@contextmanager
def notes_printed() -> Iterator[None]:
    """Prints each `Note` once, on a line of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        usual, said = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if not issubclass(category, Note):
                usual(message, category, *where)
            elif (text := str(message)) not in said:
                said.add(text)
                print(f"note: {text}", file=sys.stderr)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def sample(arguments: Arguments) -> None:
    """Checks everything that can be checked early, samples, and prints the path of each file as it is finished."""
    request = as_request(arguments)
    check_task(arguments)
    if arguments.grid is not None and arguments.grid < 1:
        raise BadRequest(f"a grid of {arguments.grid} columns is not allowed: use at least 1, e.g. 4")
    named = replace(request, prompts=request.prompts[:1], num=1) if arguments.grid else request
    if arguments.edit and is_still(arguments.edit):
        named = replace(named, frames=1)
    paths = attempt(lambda: output_paths(arguments.out, named, arguments.overwrite, arguments.resume))
    check_windows(arguments, paths)
    pipeline = attempt(lambda: load(arguments.model, arguments.dtype, arguments.lora, arguments.quantize))
    # All tasks but that of an image decide their length themselves.
    own_length = [name for name in TASKS if name != "image" and getattr(arguments, name)]
    for text in pipeline.plan(replace(request, frames=None, seconds=None) if own_length else request).notes:
        note(text)
    going_on = arguments.resume and any(path.exists() or windows(path).exists() for path in paths)
    keep = None if arguments.grid else OutputStores(paths, going_on)
    videos = asked(arguments, pipeline, request, keep)
    if arguments.grid:
        videos = iter([attempt(lambda: Videos(video.whole() for video in videos)).grid(arguments.grid)])
    try:
        for path in paths:
            video = attempt(lambda: next(videos))
            if arguments.resume and path.exists():
                attempt(lambda: check_same(path, {**video.described(), **task_of(arguments)}))  # noqa: B023
                note(f"{path} is finished, and stays as it is")
            else:
                said = {**video.metadata, **task_of(arguments)}
                attempt(lambda: replace(video, metadata=said).save(path, arguments.overwrite))  # noqa: B023
                print(path, flush=True)
            shutil.rmtree(windows(path), ignore_errors=True)
    except KeyboardInterrupt:
        if any(windows(path).exists() for path in paths):
            print("note: the finished part of the film is kept: repeat the command with --resume", file=sys.stderr)
        raise


def check_same(path: Path, said: dict[str, Any]) -> None:
    """Raises BadRequest where a finished file is of another request, by what is beside it, or else in it."""
    finished = parse_metadata(sidecar(path).read_bytes()) if sidecar(path).is_file() else {}
    remedy = "name another file, or add --overwrite and leave --resume out"
    if not finished:
        try:
            finished = Video.load(path).metadata
        except ValueError as error:
            raise BadRequest(f"{error}; to make it anew, {remedy}") from error
    for name in changed_settings(finished, said):
        one, other = (str(values.get(name))[:60] for values in (finished, said))
        raise BadRequest(f"{path} is finished, and of another request ({name} {one}, not {other}): {remedy}")


@dataclass(frozen=True)
class OutputStores:
    """Where the windows of long clips are kept until they are whole: beside their files."""

    paths: Sequence[Path]
    resume: bool

    def __call__(self, number: int, said: Any) -> "WindowStore":
        from sorajax.sampling.film import WindowStore

        return WindowStore(windows(self.paths[number]), said, self.resume)


def windows(path: Path) -> Path:
    """The folder of an unfinished film's windows."""
    return path.with_name(f"{path.name}.windows")


def check_windows(arguments: Arguments, paths: Sequence[Path]) -> None:
    """Raises BadRequest where an interrupted film would be lost."""
    for path in paths:
        if windows(path).exists() and not (arguments.resume or arguments.overwrite):
            raise BadRequest(
                f"{path} was interrupted, and {windows(path)} has its windows: add --resume to go on with it, "
                "or --overwrite to begin anew"
            )


def asked(
    arguments: Arguments, pipeline: "Pipeline", request: Request, keep: "WindowStores | None"
) -> "Iterator[Video | Film]":
    """The videos of whichever request was made. Raises BadRequest, and Failure for a file that cannot be read."""
    from sorajax import tasks
    from sorajax.sampling.conditions import read_mask

    def read(path: Path) -> Video:
        return attempt(lambda: Video.load(path))

    def read_part(path: Path) -> Video:
        start, end = (0.0, math.inf) if arguments.trim is None else parse_span(arguments.trim)
        video = attempt(lambda: Video.load(path, start=start, end=end))
        if math.inf > end > start + video.seconds + 1 / video.fps:
            note(f"{path} ends before {end:g} s: it is taken from {start:g} s to its end")
        return video

    strength = strength_of(arguments)
    if arguments.storyboard:
        scenes = read_storyboard(arguments.storyboard)
        for number, scene in enumerate(scenes, 1):
            if scene.image is not None:
                try:
                    read(scene.image)
                except Failure as error:
                    raise Failure(f"{arguments.storyboard}, entry {number}: {error}") from error
        if arguments.style is not None:
            scenes = tuple(replace(scene, prompt=styled(scene.prompt, arguments.style)) for scene in scenes)
        return tasks.storyboard(pipeline, request, scenes, keep)
    if arguments.image:
        return tasks.animate(pipeline, request, read(arguments.image), keep)
    if arguments.blend:
        first, second = arguments.blend
        return tasks.blend(pipeline, request, read(first), read(second), strength)
    if arguments.extend:
        return tasks.extend(pipeline, request, read_part(arguments.extend), arguments.direction)
    if arguments.between:
        return tasks.between(pipeline, request, *map(read, arguments.between))
    if arguments.connect:
        first, second = arguments.connect
        return tasks.connect(pipeline, request, read_part(first), read(second))
    if arguments.edit:
        clip, mask = read_part(arguments.edit), arguments.mask
        _, y, x, _ = clip.frames.shape
        if mask is not None:
            count, height, width, _ = attempt(lambda: Video.load(mask)).frames.shape
            if count > 1:
                note(f"{mask} has {count} frames, and the first one is the mask of all: masks do not move")
            if (width, height) != (x, y):
                note(f"{mask} is {width}x{height} and is resized to the clip's {x}x{y}, cut where its shape differs")
        return tasks.edit(pipeline, request, clip, strength, attempt(lambda: read_mask(mask, x, y)) if mask else None)
    if arguments.fill:
        assert arguments.gap is not None
        return tasks.fill(pipeline, request, read(arguments.fill), *parse_span(arguments.gap))
    return tasks.loop(pipeline, request) if arguments.loop else tasks.text(pipeline, request, keep)


def load(
    model: str,
    dtype: Literal["float32", "bfloat16"] | None,
    loras: tuple[str, ...],
    quantize: Literal["int8", "fp8"] | None,
):
    """The pipeline; imported here because jax takes seconds, and a mistake should be answered at once."""
    from sorajax.sampling.pipeline import load

    return load(model, dtype, loras, quantize)


def output_paths(out: str, request: Request, overwrite: bool, resume: bool = False) -> list[Path]:
    """One path per clip, each checked to be writable now; with `resume` some may be finished. Raises BadRequest for an
    unknown suffix, else OSError."""
    try:
        path, count = Path(out).expanduser(), len(request.prompts) * request.num
    except RuntimeError as error:
        raise BadRequest(f"--out {out}: there is no such home folder; write the whole path") from error
    if out.endswith(("/", os.sep)) or path.is_dir() or not path.suffix:
        suffix = ".png" if request.frames == 1 else ".mp4"
        named: dict[Path, None] = {}  # in order
        for prompt in request.prompts:
            for _ in range(request.num):
                named[free_path(path / f"{slug(prompt)}{suffix}", named, resume)] = None
        paths = list(named)
    elif path.suffix.lower() not in WRITERS:
        raise BadRequest(f"{path}: unknown suffix '{path.suffix}'; use {', '.join(WRITERS)}, or end a folder with /")
    else:
        width = len(str(count))
        names = [path.stem] if count == 1 else [f"{path.stem}-{index + 1:0{width}}" for index in range(count)]
        paths = [path.with_name(name + path.suffix) for name in names]
    for one in paths:
        check_output(one, overwrite or resume)
    return paths


def slug(prompt: str) -> str:
    """A file name that reads like the prompt."""
    return re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:60].strip("-") or "video"


def free_path(path: Path, taken: Container[Path], resume: bool = False) -> Path:
    """The path, or the first of path-2, path-3, ... that neither exists nor is taken; with `resume` it may exist."""
    number, free = 1, path
    while free in taken or (not resume and (free.exists() or sidecar(free).exists())):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def complain(line: str, code: int) -> int:
    print(f"sorajax: {line}", file=sys.stderr)
    return code


def leave(code: int) -> None:
    """Ends the process; when interrupted without waiting for what XLA still computes in other threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == 130:
        os._exit(code)
    sys.exit(code)
