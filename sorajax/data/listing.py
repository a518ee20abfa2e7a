"""Where a person's videos are: a folder, a manifest, or WebDataset tars, read into one list of (path, caption, part).

    folder      every film in it, at any depth; its caption in STEM.txt or STEM.json beside it (WebDataset's layout); a
                metadata.csv, .jsonl or .parquet in the folder is read instead
    manifest    .csv, .jsonl or .parquet with columns path, caption and, where only a part is meant, start and end in
                seconds; paths are relative to the manifest
    tar         WebDataset shards: members with one stem are one sample. A member's path is `shard.tar::member`
    tfds:NAME   a TFDS dataset, see `sorajax.data.tfds`

Still pictures count as videos of one frame, but not those that share a film's stem (they are its poster).
"""

import csv
import json
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from sorajax.data.entry import Entry
from sorajax.data.tfds import TFDS, dataset_entries, opened_record
from sorajax.formats import FILMS

MEMBER = "::"
STILLS = (".png", ".jpg", ".jpeg", ".webp")
MANIFESTS = (".csv", ".jsonl", ".parquet")
NAMES = {
    "path": ("path", "file_name", "video", "file"),
    "caption": ("caption", "text", "prompt"),
    "start": ("start",),
    "end": ("end",),
}
"""What the columns of other people's manifests are called."""


def listing(source: str | Path) -> list[Entry]:
    """The videos of a folder, manifest or tar, sorted by path and start.

    Raises FileNotFoundError where nothing is there and ValueError, naming line and field, for a manifest that cannot be
    read. Whether the videos themselves can be read is not looked at.
    """
    if str(source).startswith(TFDS):
        return dataset_entries(str(source))
    source = Path(source).expanduser()
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: give a folder of videos, a manifest or a tar")
    found = list(_entries(source))
    if not found:
        kinds = ", ".join(FILMS)
        raise FileNotFoundError(f"{source} holds no video: none of {kinds}, no metadata.csv, .jsonl, .parquet, no .tar")
    return sorted(found, key=lambda entry: (entry.path, entry.start or 0.0))


def path_within(path: str, source: str | Path) -> str:
    """An entry's path as the listing of `source` names it: below the folder, or below that of the manifest or tar.

    It stays the same where the source is moved. A path elsewhere, e.g. an absolute one of a manifest, stays as it is.
    """
    if path.startswith(TFDS):
        return path.removeprefix(str(source))
    source = Path(source).expanduser()
    file, *member = path.split(MEMBER, 1)
    for folder in (source, source.parent):
        if Path(file) != folder and Path(file).is_relative_to(folder):
            return MEMBER.join([Path(file).relative_to(folder).as_posix(), *member])
    return path


def _entries(source: Path) -> Iterator[Entry]:
    if source.is_dir():
        manifests = [source / f"metadata{suffix}" for suffix in MANIFESTS]
        if said := [path for path in manifests if path.exists()]:
            yield from _manifest(said[0])
            return
        files = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        films = {path.with_suffix("") for path in files if path.suffix.lower() in FILMS}
        for path in files:
            suffix = path.suffix.lower()
            if suffix in FILMS or (suffix in STILLS and path.with_suffix("") not in films):
                yield Entry(str(path), _beside(path))
            elif path.suffix.lower() == ".tar":
                yield from _tar(path)
    elif source.suffix.lower() in MANIFESTS:
        yield from _manifest(source)
    elif source.suffix.lower() == ".tar":
        yield from _tar(source)
    elif source.suffix.lower() in (*FILMS, *STILLS):
        yield Entry(str(source), _beside(source))
    else:
        raise ValueError(f"{source} is neither folder nor one of {', '.join((*MANIFESTS, '.tar', *FILMS))}")


def _beside(path: Path) -> str:
    """The caption in the .txt or .json that has the video's stem."""
    text, described = path.with_suffix(".txt"), path.with_suffix(".json")
    if text.exists():
        return text.read_text().strip()
    return _caption(described.read_bytes(), str(described)) if described.exists() else ""


def _caption(content: bytes, name: str) -> str:
    try:
        said = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON ({error}): write {{\"caption\": ...}} or a .txt") from error
    return str(_field(said, "caption") or "") if isinstance(said, dict) else str(said)


def _field(row: dict[str, Any], name: str) -> Any:
    """The first of a field's names that the row has a value for."""
    return next((row[key] for key in NAMES[name] if row.get(key) not in (None, "")), None)


def _manifest(path: Path) -> Iterator[Entry]:
    for number, row in enumerate(_rows(path), 1):
        if not (name := _field(row, "path")):
            raise ValueError(f"{path}, entry {number}: no path; the columns are path, caption, start, end")
        part: dict[str, float | None] = {}
        for end in ("start", "end"):
            value = _field(row, end)
            try:
                part[end] = None if value is None else float(value)
            except ValueError as error:
                raise ValueError(f"{path}, entry {number}: {end} {value!r} is no number of seconds") from error
        start, end_ = part["start"], part["end"]
        if (start or 0.0) < 0 or (end_ is not None and end_ <= (start or 0.0)):
            raise ValueError(f"{path}, entry {number}: nothing lies between start {start} and end {end_} (seconds)")
        file, *member = str(name).split(MEMBER)
        where = str(path.parent / Path(file).expanduser())
        yield Entry(MEMBER.join([where, *member]), str(_field(row, "caption") or ""), start, end_)


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    if path.suffix.lower() == ".csv":
        with path.open(newline="") as file:
            yield from csv.DictReader(file)
    elif path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise ValueError(f'{path}: reading Parquet needs pyarrow: pip install "sorajax[data]"') from error
        yield from pyarrow.parquet.read_table(path).to_pylist()
    else:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
                yield row if isinstance(row, dict) else {"path": row}


def _tar(path: Path) -> Iterator[Entry]:
    with _opened(path) as tar:
        members = {member.name: member for member in tar.getmembers() if member.isfile()}
        films = {name.rpartition(".")[0] for name in members if Path(name).suffix.lower() in FILMS}
        for name in members:
            stem, suffix = name.rpartition(".")[0], Path(name).suffix.lower()
            if suffix not in FILMS and (suffix not in STILLS or stem in films):
                continue
            caption = ""
            if f"{stem}.txt" in members:
                caption = tar.extractfile(f"{stem}.txt").read().decode().strip()  # type: ignore[union-attr]
            elif f"{stem}.json" in members:
                content = tar.extractfile(f"{stem}.json").read()  # type: ignore[union-attr]
                caption = _caption(content, f"{path}{MEMBER}{stem}.json")
            yield Entry(f"{path}{MEMBER}{name}", caption)


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no uncompressed tar ({error}): its members could not be read in place") from error


@lru_cache(maxsize=64)
def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each member of a tar begins and how long it is, bytes."""
    with _opened(path) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar.getmembers() if member.isfile()}


def opened(path: str) -> IO[bytes]:
    """A seekable binary file for an entry's path; a tar's member is read from within it.

    Raises FileNotFoundError where it is gone.
    """
    if path.startswith(TFDS):
        return opened_record(path)
    file, _, member = path.partition(MEMBER)
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist")
    if not member:
        return open(file, "rb")
    if member not in (places := _places(Path(file))):
        raise FileNotFoundError(f"{file} has no member {member}")
    return _Part(open(file, "rb"), *places[member])  # type: ignore[return-value]


class _Part:
    """The bytes [offset, offset + size) of a file, as a file."""

    def __init__(self, file: IO[bytes], offset: int, size: int):
        self.file, self.offset, self.size, self.at = file, offset, size, 0

    def read(self, count: int = -1) -> bytes:
        left = max(0, self.size - self.at)
        self.file.seek(self.offset + self.at)
        content = self.file.read(left if count < 0 else min(count, left))
        self.at += len(content)
        return content

    def seek(self, to: int, whence: int = 0) -> int:
        self.at = max(0, to + (0, self.at, self.size)[whence])
        return self.at

    def tell(self) -> int:
        return self.at

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
