"""Output paths, checked before anything is sampled, and the files that an interrupted command left there."""

import os
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sorajax.commands.failures import attempt
from sorajax.errors import BadRequest
from sorajax.files import as_path
from sorajax.media.formats import WRITERS, changed_settings, parse_metadata
from sorajax.media.video import Video, check_output, sidecar
from sorajax.sampling.request import Request

if TYPE_CHECKING:
    from sorajax.sampling.store import WindowStore


def planned(out: str, request: Request, overwrite: bool, resume: bool) -> tuple[list[Path], list[int]]:
    """The paths of a request's files, and the numbers of those that an earlier command finished. Raises BadRequest and
    Failure."""
    paths = attempt(lambda: output_paths(out, request, overwrite, resume))
    check_windows(paths, resume, overwrite)
    return paths, [number for number, path in enumerate(paths) if resume and path.exists()]


def output_paths(out: str, request: Request, overwrite: bool, resume: bool = False) -> list[Path]:
    """One path per clip, each checked to be writable; with `resume` files may exist. Raises BadRequest for an unknown
    suffix, else OSError."""
    try:
        path, count = as_path(out), len(request.clips)
    except RuntimeError as error:
        raise BadRequest(f"--out {out}: there is no such home folder; give the full path") from error
    if out.endswith(("/", os.sep)) or path.is_dir() or not path.suffix:
        suffix = ".png" if request.frames == 1 else ".mp4"
        unique: dict[Path, None] = {}  # in order
        for prompt in request.prompts:
            for _ in range(request.num):
                unique[free_path(path / f"{slug(prompt)}{suffix}", unique, resume)] = None
        paths = list(unique)
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
    """A file name made from the prompt: its letters and digits, words joined by "-", at most 60 characters."""
    return re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:60].strip("-") or "video"


def free_path(path: Path, taken: Container[Path], resume: bool = False) -> Path:
    """The path, or the first of path-2, path-3, ... that neither exists nor is taken; with `resume` it may exist."""
    number, free = 1, path
    while free in taken or (not resume and (free.exists() or sidecar(free).exists())):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def check_same(path: Path, metadata: dict[str, Any]) -> None:
    """Raises BadRequest if the metadata of a finished file, beside it or in it, differ from `metadata`."""
    finished = parse_metadata(sidecar(path).read_bytes()) if sidecar(path).is_file() else {}
    remedy = "name another file, or add --overwrite and leave --resume out"
    if not finished:
        try:
            finished = Video.load(path).metadata
        except ValueError as error:
            raise BadRequest(f"{error}; to make it anew, {remedy}") from error
    for name in changed_settings(finished, metadata):
        old, new = (str(values.get(name))[:60] for values in (finished, metadata))
        raise BadRequest(f"{path} is finished, and of another request ({name} {old}, not {new}): {remedy}")


@dataclass(frozen=True)
class OutputStores:
    """The window stores of a command's films, in folders beside their files."""

    paths: Sequence[Path]
    resume: bool
    common: bool = False
    """Whether several processes make each film together."""

    def __call__(self, number: int, request: Any) -> "WindowStore":
        from sorajax.sampling.store import CommonStore, WindowStore

        kind = CommonStore if self.common else WindowStore
        return kind(windows_folder(self.paths[number]), request, self.resume)


def windows_folder(path: Path) -> Path:
    """The folder with the windows of an unfinished film."""
    return path.with_name(f"{path.name}.windows")


def check_windows(paths: Sequence[Path], resume: bool, overwrite: bool) -> None:
    """Raises BadRequest if the command would delete the windows of an interrupted film."""
    for path in paths:
        if windows_folder(path).exists() and not (resume or overwrite):
            raise BadRequest(
                f"{path} was interrupted, and {windows_folder(path)} has its windows: add --resume to continue it, "
                "or --overwrite to begin anew"
            )
