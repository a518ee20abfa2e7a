"""Where a person's videos are: a folder, a manifest, or WebDataset tars, read into one list of (path, caption, part).

    folder      every film in it, at any depth; its caption lies beside it, e.g. in STEM.txt (`beside`). A
                metadata.csv, .tsv, .jsonl or .parquet in a folder is read instead of the files there; one in the folder
                above says the captions of films that have none
    manifest    .csv, .tsv, .jsonl or .parquet with columns path, caption and, where only a part is meant, start and end
                in seconds; paths are relative to the manifest (see `sorajax.data.videos.manifest`)
    tar         WebDataset shards: members with one stem are one sample. A member's path is `shard.tar::member`
    tfds:NAME   a TFDS dataset, see `sorajax.data.videos.tfds`

Pictures that move are films, and still ones count as videos of one frame; those that share a film's stem (they are its
poster) are left out. Hidden files and folders do not count; linked folders do, each once. What is left out, and how
many have no caption, is said.
"""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import IO

from sorajax.data.videos.animations import MOVING, film_of, is_animated
from sorajax.data.videos.beside import ENDINGS, Captions, suffix
from sorajax.data.videos.entry import Entry
from sorajax.data.videos.manifest import MANIFESTS, has_paths, read_manifest
from sorajax.data.videos.tars import MEMBER, opened_member, opened_tar, split_path
from sorajax.data.videos.tfds import TFDS, dataset_entries, opened_record
from sorajax.media.formats import FILMS, PICTURES

METADATA = tuple(f"metadata{ending}" for ending in MANIFESTS)
UNREAD = 3
"""Captions that cannot be read of which the reason is said."""


def listing(source: str | Path, say: Callable[[str], None] = lambda line: None) -> list[Entry]:
    """The videos of a folder, manifest or tar, sorted by path and start.

    `say` is told what is left out, which captions cannot be read, and how many videos have none. Raises
    FileNotFoundError where nothing is there and ValueError, naming line and field, for a manifest that cannot be read.
    Whether the videos themselves can be read is not looked at.
    """
    if str(source).startswith(TFDS):
        found = dataset_entries(str(source))
    else:
        found = _found(Path(source).expanduser(), say)
    if without := sum(not entry.caption for entry in found):
        say(f"{source}: {without} of {len(found)} videos have no caption")
    return found


def _found(source: Path, say: Callable[[str], None]) -> list[Entry]:
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: give a folder of videos, a manifest or a tar")
    _above.cache_clear()
    looked = Looked()
    found = sorted(looked.entries(source), key=lambda entry: (entry.path, entry.start or 0.0))
    if left := looked.left_out():
        say(f"{source}: left out are {left}")
    if not found:
        kinds = ", ".join(FILMS)
        raise FileNotFoundError(f"{source} holds no video: none of {kinds}, no metadata.csv, .jsonl, .parquet, no .tar")
    for line in looked.unread[:UNREAD]:
        say(f"{source}: {line}")
    return found


def check_captions(entries: Sequence[Entry], source: str | Path) -> None:
    """Raises ValueError where no video has a caption."""
    if not any(entry.caption for entry in entries):
        raise ValueError(
            f"{source}: none of {len(entries)} videos has a caption, and a model of text needs them: "
            "write each into STEM.txt beside its film, or all into a metadata.csv (path, caption)"
        )


def path_within(path: str, source: str | Path) -> str:
    """An entry's path as the listing of `source` names it: below the folder, or below that of the manifest or tar.

    It stays the same where the source is moved. A path elsewhere, e.g. an absolute one of a manifest, stays as it is.
    """
    if path.startswith(TFDS):
        return path.removeprefix(str(source))
    source = Path(source).expanduser()
    file, member = split_path(path)
    for folder in (source, source.parent):
        if Path(file) != folder and Path(file).is_relative_to(folder):
            return Path(file).relative_to(folder).as_posix() + (f"{MEMBER}{member}" if member else "")
    return path


class Looked:
    """One look through a source: what was found, and what was left out."""

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()
        self.unread: list[str] = []
        self.folders: set[Path] = set()

    def entries(self, source: Path) -> Iterator[Entry]:
        if source.is_dir():
            for entry in self._folder(source):
                yield from [entry] if entry.caption else _above(source).get(os.path.abspath(entry.path), [entry])
        elif suffix(source.name) in MANIFESTS:
            yield from read_manifest(source)
        elif suffix(source.name) == ".tar":
            yield from self._tar(source)
        elif suffix(source.name) in (*FILMS, *PICTURES):
            captions = self._captions([path.name for path in source.parent.iterdir()], source.parent)
            yield Entry(str(source), captions.of(source.name))
        else:
            raise ValueError(f"{source} is neither folder nor one of {', '.join((*MANIFESTS, '.tar', *FILMS))}")

    def left_out(self) -> str:
        """What was left out, e.g. "2 hidden files, 3 files .docx"."""
        return ", ".join(f"{count} {what}" for what, count in self.left.most_common() if count)

    def _folder(self, folder: Path) -> Iterator[Entry]:
        if (real := folder.resolve()) in self.folders:  # a link to where we were
            return
        self.folders.add(real)
        with os.scandir(folder) as found:
            inside = sorted(found, key=lambda path: path.name)
        shown = [path for path in inside if not path.name.startswith(".")]
        self.left["hidden files or folders"] += len(inside) - len(shown)
        folders = [path for path in shown if path.is_dir()]
        files = [path.name for path in shown if path.is_file()]
        self.left["links to nowhere"] += len(shown) - len(folders) - len(files)
        if said := [name for name in METADATA if name in files]:
            yield from self._listed(folder, said[0])
            return
        captions = self._captions(files, folder)
        for name in self._videos(files):
            yield Entry(str(folder / name), captions.of(name))
        self.unread += captions.unread
        for name in files:
            if suffix(name) == ".tar":
                yield from self._tar(folder / name)
        for path in sorted(folders, key=lambda path: path.is_symlink()):  # a folder itself before a link to it
            yield from self._folder(Path(path.path))

    def _listed(self, folder: Path, name: str) -> Iterator[Entry]:
        """The entries of a folder's metadata; films of the folder that it does not name are counted."""
        entries = list(read_manifest(folder / name))
        listed = {os.path.abspath(entry.path) for entry in entries}
        missing = sum(os.path.abspath(path) not in listed for path in films_below(folder))
        self.left[f"videos that {folder / name} does not name"] += missing
        yield from entries

    def _videos(self, names: list[str], place: str = "") -> list[str]:
        """Those of a folder's or a tar's names that are videos; the others are counted."""
        films = {str(PurePath(name).with_suffix("")) for name in names if suffix(name) in FILMS}
        found = []
        for name in names:
            if suffix(name) in FILMS:
                found.append(name)
            elif suffix(name) not in PICTURES:
                if suffix(name) not in (*ENDINGS, *MANIFESTS, ".tar"):
                    self.left[f"files {suffix(name) or 'without suffix'}"] += 1
            elif str(PurePath(name).with_suffix("")) in films:
                self.left["pictures of a film's name"] += 1
            else:
                found.append(name)
        return found

    def _captions(self, names: list[str], folder: Path) -> Captions:
        return Captions(names, lambda name: (folder / name).read_bytes())

    def _tar(self, path: Path) -> Iterator[Entry]:
        with opened_tar(path) as tar:
            members = {member.name: member for member in tar.getmembers() if member.isfile()}
            shown = [name for name in members if not any(part.startswith(".") for part in _parts(name))]
            self.left["hidden files or folders"] += len(members) - len(shown)
            videos = self._videos(shown)

            def read(name: str) -> bytes:
                return tar.extractfile(members[name]).read()  # type: ignore[union-attr]

            captions = Captions(shown, read, videos)
            for name in videos:
                yield Entry(f"{path}{MEMBER}{name}", captions.of(name))
            self.unread += [f"{path}{MEMBER}{line}" for line in captions.unread]


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in (".", "..")]


def films_below(folder: Path) -> Iterator[Path]:
    """All films of a folder, whatever its metadata say."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root) / name for name in files if suffix(name) in FILMS and not name.startswith("."))


@lru_cache(maxsize=1)
def _above(folder: Path) -> dict[str, list[Entry]]:
    """What the metadata in the folder above say of each film; nothing where there are none."""
    home = Path(os.path.abspath(folder)).parent
    said = [path for name in METADATA if (path := home / name).is_file() and has_paths(path)]
    found: dict[str, list[Entry]] = {}
    for entry in read_manifest(said[0]) if said else ():
        found.setdefault(os.path.abspath(entry.path), []).append(entry)
    return found


def opened(path: str) -> IO[bytes]:
    """A seekable binary file for an entry's path, a film or a still picture; a tar's member is read from within it, and
    an animated picture becomes a film.

    Raises FileNotFoundError where it is gone.
    """
    if path.startswith(TFDS):
        return opened_record(path)
    if suffix(path) not in MOVING or is_picture(path):
        return _opened(path)
    with _opened(path) as file:
        return io.BytesIO(film_of(file.read(), suffix(path)))


def is_picture(path: str) -> bool:
    """Whether an entry's path is a still picture's; of what is gone or broken the suffix says it."""
    return suffix(path) in PICTURES and not (suffix(path) in MOVING and _is_animated(path))


@lru_cache(maxsize=2**16)
def _is_animated(path: str) -> bool:
    try:
        with _opened(path) as file:
            return is_animated(file)
    except OSError:
        return False


def _opened(path: str) -> IO[bytes]:
    file, member = split_path(path)
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist")
    return opened_member(file, member) if member else open(file, "rb")
