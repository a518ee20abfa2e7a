"""Sources of videos: a folder, a manifest, WebDataset tars or a TFDS dataset, read into one list of entries.

    folder      all videos in it, recursively; captions are in files beside them, e.g. STEM.txt (`beside`). Where a
                folder has a metadata.csv, .tsv, .jsonl or .parquet, that is read instead of the folder's files; one in
                the parent folder provides captions of videos that have none
    manifest    .csv, .tsv, .jsonl or .parquet with columns path, caption and optionally, for a part of a video, start
                and end in seconds; paths are relative to the manifest (see `sorajax.data.videos.manifest`)
    tar         WebDataset shards: members with one stem are one sample. A member's path is `shard.tar::member`
    tfds:NAME   a TFDS dataset, see `sorajax.data.videos.tfds`

Animated images are videos, still images are videos of one frame; an image with the stem of a video (its poster) is
skipped. Hidden files and folders are skipped; linked folders are read, each once. The number of skipped files, and of
videos without caption, is reported.
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
from sorajax.data.videos.tars import MEMBER, open_member, open_tar, split_path
from sorajax.data.videos.tfds import TFDS, dataset_entries, open_record
from sorajax.media.formats import FILMS, PICTURES

METADATA = tuple(f"metadata{ending}" for ending in MANIFESTS)
MAX_REASONS = 3
"""Number of unreadable captions whose reason is reported."""


def listing(source: str | Path, say: Callable[[str], None] = lambda line: None) -> list[Entry]:
    """The videos of a folder, manifest, tar or TFDS dataset, sorted by path and start.

    `say` prints what is skipped, which captions cannot be read, and how many videos have none. Raises FileNotFoundError
    where there is no video and ValueError, naming line and field, for a manifest that cannot be read. The videos
    themselves are not opened.
    """
    if str(source).startswith(TFDS):
        entries = dataset_entries(str(source))
    else:
        entries = _scan(Path(source).expanduser(), say)
    if without := sum(not entry.captions for entry in entries):
        say(f"{source}: {without} of {len(entries)} videos have no caption")
    return entries


def _scan(source: Path, say: Callable[[str], None]) -> list[Entry]:
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist: give a folder of videos, a manifest or a tar")
    _entries_of_parent.cache_clear()
    scan = Scan()
    entries = sorted(scan.entries(source), key=lambda entry: (entry.path, entry.start or 0.0))
    if skipped := scan.skipped_files():
        say(f"{source}: left out are {skipped}")
    if not entries:
        kinds = ", ".join(FILMS)
        raise FileNotFoundError(f"{source} holds no video: none of {kinds}, no metadata.csv, .jsonl, .parquet, no .tar")
    for line in scan.unread[:MAX_REASONS]:
        say(f"{source}: {line}")
    return entries


def check_captions(entries: Sequence[Entry], source: str | Path) -> None:
    """Raises ValueError where no video has a caption."""
    if not any(entry.captions for entry in entries):
        raise ValueError(
            f"{source}: none of {len(entries)} videos has a caption, and a model of text needs them: "
            "write each into STEM.txt beside its film, or all into a metadata.csv (path, caption)"
        )


def path_within(path: str, source: str | Path) -> str:
    """An entry's path relative to `source`: to the folder, or to the folder of the manifest or tar.

    It does not change when the source is moved. A path outside, e.g. an absolute one in a manifest, is not changed.
    """
    if path.startswith(TFDS):
        return path.removeprefix(str(source))
    source = Path(source).expanduser()
    file, member = split_path(path)
    for folder in (source, source.parent):
        if Path(file) != folder and Path(file).is_relative_to(folder):
            return Path(file).relative_to(folder).as_posix() + (f"{MEMBER}{member}" if member else "")
    return path


class Scan:
    """One scan of a source: its entries, and counts of skipped files."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.unread: list[str] = []
        self.folders: set[Path] = set()

    def entries(self, source: Path) -> Iterator[Entry]:
        if source.is_dir():
            for entry in self._folder(source):
                yield from (
                    [entry] if entry.captions else _entries_of_parent(source).get(os.path.abspath(entry.path), [entry])
                )
        elif suffix(source.name) in MANIFESTS:
            yield from read_manifest(source)
        elif suffix(source.name) == ".tar":
            yield from self._tar(source)
        elif suffix(source.name) in (*FILMS, *PICTURES):
            captions = self._captions([path.name for path in source.parent.iterdir()], source.parent)
            yield Entry(str(source), captions.of(source.name))
        else:
            raise ValueError(f"{source} is neither folder nor one of {', '.join((*MANIFESTS, '.tar', *FILMS))}")

    def skipped_files(self) -> str:
        """The skipped files, e.g. "2 hidden files, 3 files .docx"."""
        return ", ".join(f"{count} {what}" for what, count in self.skipped.most_common() if count)

    def _folder(self, folder: Path) -> Iterator[Entry]:
        if (real := folder.resolve()) in self.folders:  # a link to a folder that was scanned already
            return
        self.folders.add(real)
        with os.scandir(folder) as paths:
            inside = sorted(paths, key=lambda path: path.name)
        visible = [path for path in inside if not path.name.startswith(".")]
        self.skipped["hidden files or folders"] += len(inside) - len(visible)
        folders = [path for path in visible if path.is_dir()]
        files = [path.name for path in visible if path.is_file()]
        self.skipped["links to nowhere"] += len(visible) - len(folders) - len(files)
        if manifests := [name for name in METADATA if name in files]:
            yield from self._listed(folder, manifests[0])
            return
        captions = self._captions(files, folder)
        for name in self._videos(files):
            yield Entry(str(folder / name), captions.of(name))
        self.unread += captions.unread
        for name in files:
            if suffix(name) == ".tar":
                yield from self._tar(folder / name)
        for path in sorted(folders, key=lambda path: path.is_symlink()):  # folders before links to them
            yield from self._folder(Path(path.path))

    def _listed(self, folder: Path, name: str) -> Iterator[Entry]:
        """The entries of a folder's metadata file; counts the folder's videos that it does not name."""
        entries = list(read_manifest(folder / name))
        listed = {os.path.abspath(entry.path) for entry in entries}
        missing = sum(os.path.abspath(path) not in listed for path in films_below(folder))
        self.skipped[f"videos that {folder / name} does not name"] += missing
        yield from entries

    def _videos(self, names: list[str], place: str = "") -> list[str]:
        """The videos among the names of a folder or tar; counts the others."""
        films = {str(PurePath(name).with_suffix("")) for name in names if suffix(name) in FILMS}
        videos = []
        for name in names:
            if suffix(name) in FILMS:
                videos.append(name)
            elif suffix(name) not in PICTURES:
                if suffix(name) not in (*ENDINGS, *MANIFESTS, ".tar"):
                    self.skipped[f"files {suffix(name) or 'without suffix'}"] += 1
            elif str(PurePath(name).with_suffix("")) in films:
                self.skipped["pictures of a film's name"] += 1
            else:
                videos.append(name)
        return videos

    def _captions(self, names: list[str], folder: Path) -> Captions:
        return Captions(names, lambda name: (folder / name).read_bytes())

    def _tar(self, path: Path) -> Iterator[Entry]:
        with open_tar(path) as tar:
            members = {member.name: member for member in tar.getmembers() if member.isfile()}
            visible = [name for name in members if not any(part.startswith(".") for part in _parts(name))]
            self.skipped["hidden files or folders"] += len(members) - len(visible)
            videos = self._videos(visible)

            def read(name: str) -> bytes:
                return tar.extractfile(members[name]).read()  # type: ignore[union-attr]

            captions = Captions(visible, read, videos)
            for name in videos:
                yield Entry(f"{path}{MEMBER}{name}", captions.of(name))
            self.unread += [f"{path}{MEMBER}{line}" for line in captions.unread]


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in (".", "..")]


def films_below(folder: Path) -> Iterator[Path]:
    """All videos in a folder, recursively, independently of metadata files."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root) / name for name in files if suffix(name) in FILMS and not name.startswith("."))


@lru_cache(maxsize=1)
def _entries_of_parent(folder: Path) -> dict[str, list[Entry]]:
    """Entries of the metadata file in the parent folder, by absolute path; empty where there is none."""
    parent = Path(os.path.abspath(folder)).parent
    manifests = [path for name in METADATA if (path := parent / name).is_file() and has_paths(path)]
    entries: dict[str, list[Entry]] = {}
    for entry in read_manifest(manifests[0]) if manifests else ():
        entries.setdefault(os.path.abspath(entry.path), []).append(entry)
    return entries


def open_video(path: str) -> IO[bytes]:
    """A seekable binary file for an entry's path, a video or a still image. A member of a tar is read in place, and an
    animated image is converted to a video.

    Raises FileNotFoundError where the file is missing.
    """
    if path.startswith(TFDS):
        return open_record(path)
    if suffix(path) not in MOVING or is_picture(path):
        return _open(path)
    with _open(path) as file:
        return io.BytesIO(film_of(file.read(), suffix(path)))


def is_picture(path: str) -> bool:
    """Whether an entry is a still image; decided by the suffix for files that are missing or broken."""
    return suffix(path) in PICTURES and not (suffix(path) in MOVING and _is_animated(path))


@lru_cache(maxsize=2**16)
def _is_animated(path: str) -> bool:
    try:
        with _open(path) as file:
            return is_animated(file)
    except OSError:
        return False


def _open(path: str) -> IO[bytes]:
    file, member = split_path(path)
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist: correct its path in the manifest, or leave it out")
    return open_member(file, member) if member else open(file, "rb")
