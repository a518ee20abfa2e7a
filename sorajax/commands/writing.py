"""From clips to files, in one process or in several.

One process makes and writes all clips. Several share the clips out: each makes its own on its own devices, and process
0 writes the files that they send. With --mesh all processes make each clip together, and process 0 writes it.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sorajax.commands.arguments import Arguments
from sorajax.commands.failures import Failure, attempt
from sorajax.commands.inputs import files_of, task_of
from sorajax.commands.outputs import OutputStores, check_same, windows_folder
from sorajax.copies import fetched
from sorajax.devices.distributed import Processes, join
from sorajax.errors import Note, note
from sorajax.files import as_path, remove_folder, whole_file
from sorajax.media.video import Film, Video, Videos, sidecar
from sorajax.sampling.request import Request


class Work(NamedTuple):
    """The clips and files of a command."""

    request: Request
    make: Callable[..., Iterator[Video | Film]]
    """(request, stores=...) -> the videos of a part of the request, in order."""
    paths: Sequence[Path]
    """Paths of all files."""
    finished: Sequence[int]
    """Numbers of the files that an earlier command finished."""
    arguments: Arguments
    metadata: dict[str, Any]
    """Metadata of all clips, besides their settings."""

    def some(self, numbers: Sequence[int], resume: bool, common: bool = False) -> Iterator[Video | Film]:
        """The clips of these numbers. resume: windows of films on disk are used, and clips are sampled when read.
        common: all processes make each clip together."""
        if not numbers:
            return iter(())
        stores = OutputStores([self.paths[number] for number in numbers], resume, common)
        return attempt(lambda: self.make(self.request.part(numbers), stores=stores))

    def labelled(self, video: Video | Film) -> Video | Film:
        """The video with the metadata of all clips."""
        return replace(video, metadata={**video.metadata, **self.metadata})


def joined(arguments: Arguments) -> Processes:
    """Connects this process to the others, if there are any. Only process 0 prints notes."""
    try:
        processes = join(arguments.together)
    except (RuntimeError, ValueError) as error:
        raise Failure(str(error)) from error
    if processes.index:
        warnings.simplefilter("ignore", Note)
    return processes


def check_hosts(arguments: Arguments, request: Request, processes: Processes) -> None:
    """Raises Failure, before anything is computed, if processes have other code, weights, inputs or options."""
    if processes.count == 1:
        return
    from sorajax.devices import fingerprint
    from sorajax.devices.exchange import check_same as check_same_everywhere
    from sorajax.pretrained.hub import adapter_file
    from sorajax.pretrained.lora import parse_lora
    from sorajax.sampling.loading import model_files

    def weights() -> str:
        adapters = [adapter_file(parse_lora(lora).path) for lora in arguments.lora]
        return "\n".join(map(fingerprint.files, [model_files(arguments.model), *adapters]))

    task = task_of(arguments)
    inputs = [*files_of(arguments, task), *([arguments.mask] if arguments.mask else [])]
    options = replace(arguments, together=type(arguments.together)(), prompts=(), model="", lora=())
    asked = [repr(options), repr(request), *(fingerprint.files(fetched(as_path(path))) for path in inputs)]
    texts = {"code": fingerprint.code(), "weights": attempt(weights), "options": "\n".join(asked)}
    attempt(lambda: check_same_everywhere(texts))


def check_finished(work: Work, processes: Processes) -> None:
    """Raises BadRequest where a finished file belongs to another request; leaves the others as they are."""
    if processes.index:
        return
    videos = work.some(work.finished, resume=True)
    for number in work.finished:
        path, video = work.paths[number], attempt(lambda: next(videos))
        attempt(lambda: check_same(path, {**video.described(), **work.metadata}))  # noqa: B023
        note(f"{path} is finished, and stays as it is")
        remove_folder(windows_folder(path))


def write(work: Work, processes: Processes) -> None:
    """Makes and writes the files that are missing."""
    missing = [number for number in range(len(work.paths)) if number not in set(work.finished)]
    resume = work.arguments.resume and unfinished_films(work.paths)
    overwrite = work.arguments.overwrite or work.arguments.resume
    shared = processes.count > 1 and work.arguments.mesh is None
    if shared:
        write_shared(work, processes, missing)
        return
    videos = work.some(missing, resume, common=processes.count > 1)
    for number in missing:
        path, video = work.paths[number], work.labelled(attempt(lambda: next(videos)))
        if processes.index:
            for _ in video.pictures():
                pass
            continue
        attempt(lambda: video.save(path, overwrite))  # noqa: B023
        print(path, flush=True)
        remove_folder(windows_folder(path))


def write_shared(work: Work, processes: Processes, missing: list[int]) -> None:
    """Makes this process's share of the clips; process 0 writes the files of all, round by round."""
    from sorajax.devices.exchange import gather_objects

    if len(missing) < processes.count:
        note(
            f"{len(missing)} clips are shared out over {processes.count} processes, and the others wait: --mesh "
            "spreads each clip over all devices"
        )
    mine = processes.share(missing)
    videos = work.some(mine, resume=work.arguments.resume and unfinished_films(work.paths))
    for turn in range(-(-len(missing) // processes.count)):
        parcel = None
        if turn < len(mine):
            video = work.labelled(attempt(lambda: next(videos)))
            parcel = mine[turn], *attempt(lambda: encoded(video, work.paths[mine[turn]].name))  # noqa: B023
        for number, *contents in filter(None, gather_objects(parcel)):
            if processes.index == 0:
                attempt(lambda: write_contents(work.paths[number], *contents))  # noqa: B023
                print(work.paths[number], flush=True)
        if parcel is not None:
            remove_folder(windows_folder(work.paths[parcel[0]]))


def encoded(video: Video | Film, name: str) -> tuple[bytes, bytes]:
    """The bytes of a video's file of this name, and of the JSON beside it."""
    with tempfile.TemporaryDirectory() as folder:
        path = video.save(Path(folder) / name)
        return path.read_bytes(), sidecar(path).read_bytes()


def write_contents(path: Path, content: bytes, description: bytes) -> None:
    """Writes a video's file and the JSON beside it, as `Video.save` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, whole_file(sidecar(path)) as temporary_json:
        temporary_json.write_bytes(description)
        temporary.write_bytes(content)


def write_grid(work: Work, processes: Processes) -> None:
    """Makes all clips and writes them as one grid."""
    path, columns = work.paths[0], work.arguments.grid
    assert columns is not None
    numbers = list(range(len(work.request.clips)))
    shared = processes.count > 1 and work.arguments.mesh is None
    mine = processes.share(numbers) if shared else numbers
    videos = attempt(lambda: [video.whole() for video in work.make(work.request.part(mine))]) if mine else []
    if shared:
        from sorajax.devices.exchange import gather_objects

        parts = gather_objects(videos)
        videos = [parts[number % processes.count][number // processes.count] for number in numbers]
    if processes.index == 0:
        grid = work.labelled(attempt(lambda: Videos(videos).grid(columns)))
        attempt(lambda: grid.save(path, work.arguments.overwrite))
        print(path, flush=True)


def unfinished_films(paths: Sequence[Path]) -> bool:
    """Whether an interrupted command left windows of a film."""
    return any(windows_folder(path).exists() for path in paths)
