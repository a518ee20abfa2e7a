"""Training batches of the user's own videos: decoded from raw files, or from prepared and encoded clips.

    folder of raw videos          pixels at a random time of each file, decoded by threads
    folder of sorajax.encode      pixels of its clips, or their latents, with captions

All readers are `Clips` of one bucket: a numbered sequence, with a caption each. A clip that cannot be read is replaced
by the next one and logged in DIRECTORY/broken.jsonl; too large a share of them stops the run.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from sorajax.data.buckets import Bucket, Phase, check_phases, stem
from sorajax.data.loader import mix_buckets, record_batches, shuffle_records
from sorajax.data.records import Records
from sorajax.data.videos.captioning import CaptionShares, caption_line, count_captions, written_captions
from sorajax.data.videos.decode import BrokenVideo, Facts, least_waste, probe
from sorajax.data.videos.encoding import EncodeClips, encode_clips, encoded_records
from sorajax.data.videos.entry import Entry
from sorajax.data.videos.listing import check_captions, listing, path_within
from sorajax.data.videos.preparation import (
    SETTINGS,
    Preparation,
    prepare,
    prepared_records,
    read_listing,
    read_settings,
    read_source,
)
from sorajax.data.videos.readers import Clips, RawClips, Row, StoredClips, span
from sorajax.data.worlds import WorldBatch
from sorajax.devices import distributed
from sorajax.files import append_text, write_atomically
from sorajax.models.text import Tokenizer

SURVEY, BROKEN = "survey.jsonl", "broken.jsonl"
TextInputs = Callable[[list[str]], dict[str, Any]]
"""Captions -> the text inputs of a batch: {"ids", "mask"} or {"context"}."""
TRIES = 16  # consecutive clips that may be unreadable
BINS = 1000  # of the hash that selects held-out videos


@dataclass(frozen=True)
class Source:
    """A further folder, and the sampling weight of its clips; the first folder has weight 1."""

    folder: Path
    weight: float = 1.0


@dataclass(frozen=True)
class VideoData:
    """The videos of a training run. Raises ValueError for values out of range."""

    folder: Path = Path("videos")
    """Raw videos (a folder, manifest, tar or tfds:NAME), or a folder prepared by `sorajax.encode`."""
    more: tuple[Source, ...] = ()
    """Other folders, mixed in by weight."""
    buckets: tuple[Bucket, ...] = (Bucket(),)
    fps: float = 8.0
    tokens: int = 0
    """Latent patches per step, from which the batch sizes follow, at equal cost of all buckets; 0: the buckets' own."""
    phases: tuple[Phase, ...] = ()
    """A progressive schedule, e.g. small and short clips first; empty: the buckets' weights throughout."""
    dropout: float = 0.1
    """Probability that a prompt is replaced by the empty one, for classifier-free guidance."""
    captioned: float = CaptionShares.captioned
    """Share of captions that a captioner wrote, where a clip has such and an original one."""
    detailed: float = CaptionShares.detailed
    """Share of detailed captions among those; the others are short."""
    held_out: float = 0.05
    """Share of videos held out for validation, selected by a hash of their paths relative to the folder or manifest."""
    most_broken: float = 0.1
    """Largest share of unreadable files; above it the run stops."""
    seed: int = 0
    threads: int = 2
    """Threads that read and decode."""
    prefetch: int = 8
    """Number of batches that are made in advance."""

    def __post_init__(self) -> None:
        for name in ("dropout", "held_out", "most_broken"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: it must be in [0, 1)")
        for name in ("captioned", "detailed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: it must be in [0, 1]")
        if not self.fps > 0:
            raise ValueError(f"data.fps is {self.fps}: it must be positive")
        check_phases(self.phases, self.buckets)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All folders with their weights."""
        return (Source(self.folder), *self.more)

    @property
    def shares(self) -> CaptionShares:
        """How captions are drawn."""
        return CaptionShares(self.captioned, self.detailed)


def is_prepared(folder: Path) -> bool:
    """Whether a folder was prepared by `sorajax.encode`."""
    return (folder / SETTINGS).exists()


def is_held_out(path: str, share: float) -> bool:
    """Whether a video is held out. `path` is relative to its source, see `path_within`."""
    digest = hashlib.sha256(path.encode(errors="surrogateescape")).digest()  # names may be invalid UTF-8
    return int.from_bytes(digest[:4], "big") % BINS < round(share * BINS)


class BrokenFiles:
    """The files that could not be read, each counted once, and logged on disk."""

    def __init__(self, path: Path, videos: int, share: float):
        self.path, self.videos, self.share = path, videos, share
        self.lock = threading.Lock()
        self.names: set[str] = set()
        if path.exists():
            self.names = {json.loads(line)["path"] for line in path.read_text().splitlines()}

    def add(self, name: str, reason: str) -> None:
        """Adds a file. Raises RuntimeError when the share of broken files is above the limit."""
        with self.lock:
            if name not in self.names:
                self.names.add(name)
                append_text(self.path, json.dumps({"path": name, "reason": reason}) + "\n")
        self.check()

    def check(self) -> None:
        """Raises RuntimeError when the share of broken files is above the limit."""
        if len(self.names) > max(1.0, self.share * self.videos):
            raise RuntimeError(
                f"{len(self.names)} of {self.videos} files cannot be read, more than the share {self.share:g} allowed; "
                f"{self.path} names them: repair them, or allow more with --data.most-broken"
            )


def survey(source: Path, directory: Path, number: int, broken: BrokenFiles, threads: int) -> list[tuple[Entry, Facts]]:
    """The readable raw videos of a source and their properties, saved in the run's directory: a resumed run uses the
    same."""
    saved = directory / f"{number}-{SURVEY}"
    if not saved.exists():
        entries = listing(source, distributed.print_once)
        broken.videos = max(broken.videos, len(entries))

        def probe_entry(entry: Entry) -> dict[str, Any] | None:
            try:
                return {"entry": asdict(entry), "facts": asdict(probe(entry.path))}
            except BrokenVideo as error:
                broken.add(entry.path, str(error))
                return None

        with ThreadPoolExecutor(threads) as pool:
            readable = [line for line in pool.map(probe_entry, entries) if line]
        text = "".join(json.dumps(line) + "\n" for line in readable)
        write_atomically(saved, lambda path: path.write_text(text))
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    broken.videos = max(broken.videos, len(lines) + len(broken.names))
    broken.check()
    return [(Entry(**line["entry"]), Facts(**line["facts"])) for line in lines]


def raw_clips(videos: Iterable[tuple[Entry, Facts]], data: VideoData) -> dict[Bucket, RawClips]:
    """Videos by bucket: for each clip length that a video is long enough for, the bucket that uses most of it."""
    by_bucket: dict[Bucket, list[tuple[Entry, Facts]]] = {bucket: [] for bucket in data.buckets}
    lengths = dict.fromkeys(bucket.frames for bucket in data.buckets)
    of_length = [[bucket for bucket in data.buckets if bucket.frames == frames] for frames in lengths]
    for entry, facts in videos:
        first, last = span(entry, facts)
        for buckets in of_length:
            if selected := least_waste(last - first, facts.height, facts.width, buckets, data.fps, facts.still):
                by_bucket[selected[0]].append((entry, facts))
    return {bucket: RawClips(members, bucket, data.fps, data.shares) for bucket, members in by_bucket.items()}


def pixel_clips(data: VideoData, directory: Path, held_out: bool = False) -> list[dict[Bucket, Clips]]:
    """The clips of each bucket in pixels, per source: the held-out ones, or the others."""
    sources: list[dict[Bucket, Clips]] = []
    broken = BrokenFiles(directory / BROKEN, 0, data.most_broken)
    for number, source in enumerate(data.sources):
        if is_prepared(source.folder):
            check_fps(source.folder, data)
            stored = _stored(source.folder, data, held_out)
            sources.append({b: stored(prepared_records(source.folder, b), b) for b in data.buckets})
        else:
            videos = survey(source.folder, directory, number, broken, data.threads)
            names = [path_within(entry.path, source.folder) for entry, _ in videos]
            selected = [video for name, video in zip(names, videos) if is_held_out(name, data.held_out) == held_out]
            sources.append(dict(raw_clips(selected, data)))
    return sources


def latent_clips(data: VideoData, made_by: str, held_out: bool = False) -> list[dict[Bucket, Clips]]:
    """The latents of each bucket, per source; the sources must be encoded."""
    for source in data.sources:
        check_fps(source.folder, data)
    stored = [_stored(source.folder, data, held_out) for source in data.sources]
    return [
        {b: only(encoded_records(source.folder, made_by, b), b) for b in data.buckets}
        for only, source in zip(stored, data.sources)
    ]


def _stored(
    folder: Path, data: VideoData, held_out: bool
) -> Callable[[tuple[Records, list[str]], Bucket], StoredClips]:
    """A function from (records, source paths) of a prepared folder to its clips: the held-out ones, or the others."""
    source, written = read_source(folder), written_captions(folder)

    def stored(records_and_paths: tuple[Records, list[str]], bucket: Bucket) -> StoredClips:
        records, paths = records_and_paths
        names = [path_within(path, source) for path in paths]
        selected = [i for i, name in enumerate(names) if is_held_out(name, data.held_out) == held_out]
        return StoredClips(records.only(selected), bucket.frames, written, data.shares)

    return stored


def check_fps(folder: Path, data: VideoData) -> None:
    """Raises ValueError where a folder was prepared at another frame rate than `data.fps`."""
    if (fps := read_settings(folder).fps) != data.fps:
        raise ValueError(f"{folder} was prepared at {fps:g} fps and data.fps is {data.fps:g}: use --data.fps {fps:g}")


def nonempty_buckets(
    by_source: list[dict[Bucket, Clips]], data: VideoData, say: Callable[[str], None]
) -> tuple[Bucket, ...]:
    """The buckets that have clips; reports the number of clips of all. Raises ValueError where no bucket has any."""
    nonempty = tuple(bucket for bucket in data.buckets if any(len(clips[bucket]) for clips in by_source))
    if not nonempty:
        raise ValueError(
            f"{data.folder} has no clip for any bucket: {', '.join(stem(bucket) for bucket in data.buckets)}"
        )
    for bucket in data.buckets:
        count = sum(len(clips[bucket]) for clips in by_source)
        say(f"{stem(bucket)}: {count} clips" + ("" if count else ", left out"))
    return nonempty


def held_out_batches(
    by_source: list[dict[Bucket, Clips]],
    data: VideoData,
    directory: Path,
    count: int,
    text_inputs: TextInputs | None = None,
) -> list[WorldBatch]:
    """The first `count` batches of held-out clips, without caption drop-out; empty where no video is held out."""
    if not any(len(clips) for by_bucket in by_source for clips in by_bucket.values()):
        distributed.print_once(
            f"no video is held out: nothing is validated; data.held_out is {data.held_out:g}, raise it"
        )
        return []
    validation = replace(data, phases=(), dropout=0.0, prefetch=1)
    iterator = iter(clip_batches(by_source, validation, directory, text_inputs))
    return [next(iterator) for _ in range(count)]


def clip_batches(
    by_source: list[dict[Bucket, Clips]],
    data: VideoData,
    directory: Path,
    text_inputs: TextInputs | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> grain.IterDataset:
    """Infinite batches of the sources' clips, latents where those are stored, with captions if `text_inputs` is given.

    A batch has one bucket and is shuffled over all of its clips; buckets without clips are left out.
    """
    nonempty = nonempty_buckets(by_source, data, say)
    places = [data.buckets.index(bucket) for bucket in nonempty]
    phases = [Phase(phase.steps, tuple(phase.weights[i] for i in places)) for phase in data.phases]
    files = {clips.name(i) for by in by_source for clips in by.values() for i in range(len(clips))}
    broken = BrokenFiles(directory / BROKEN, len(files), data.most_broken)
    sources = [
        bucket_batches(by_source, bucket, number, data, broken, text_inputs) for number, bucket in enumerate(nonempty)
    ]
    return mix_buckets(sources, nonempty, phases, data.threads, data.prefetch)


def bucket_batches(
    by_source: list[dict[Bucket, Clips]],
    bucket: Bucket,
    number: int,
    data: VideoData,
    broken: BrokenFiles,
    text_inputs: TextInputs | None,
) -> grain.MapDataset:
    """Infinite batches of one bucket."""
    weighted = [(clips[bucket], source.weight) for clips, source in zip(by_source, data.sources) if len(clips[bucket])]

    def read(selected: Sequence[tuple[int, int]], index: int) -> WorldBatch:
        rows = [
            read_or_next(
                weighted[source][0], record, np.random.default_rng((data.seed, number, source, record, index)), broken
            )
            for source, record in selected
        ]
        stacked: dict[str, Any] = {name: np.stack([row[name] for row, _ in rows]) for name in rows[0][0]}
        rng = np.random.default_rng((data.seed, number, index, len(rows), selected[0][1]))
        text: dict[str, Any] = (
            text_inputs(drop_captions([row[1] for row in rows], data.dropout, rng)) if text_inputs else {}
        )
        return WorldBatch(bucket=bucket, **stacked, **text)

    order = shuffle_records(
        [len(clips) for clips, _ in weighted], [weight for _, weight in weighted], data.seed + 1000 * number
    )
    return record_batches(order, bucket, read)


def read_or_next(clips: Clips, number: int, rng: np.random.Generator, broken: BrokenFiles) -> tuple[Row, str]:
    """A clip, or the next one that can be read. Raises RuntimeError after `TRIES` unreadable clips."""
    for attempt in range(TRIES):
        candidate = (number + attempt) % len(clips)
        try:
            return clips.read(candidate, rng)
        except ValueError as error:
            broken.add(clips.name(candidate), " ".join(str(error).split()))
    raise RuntimeError(f"{TRIES} clips in a row cannot be read, the last in {clips.name(candidate)}; see {broken.path}")


def drop_captions(captions: list[str], dropout: float, rng: np.random.Generator) -> list[str]:
    """Captions, each replaced by the empty one with probability `dropout`, for classifier-free guidance."""
    return [caption if chance >= dropout else "" for caption, chance in zip(captions, rng.random(len(captions)))]


def tokens_of(tokenizer: Tokenizer) -> TextInputs:
    """Captions -> `ids` and `mask` of a batch; captions that are too long for the model are truncated."""
    return lambda captions: dict(zip(("ids", "mask"), tokenizer.encode(captions, cut=True)))


def prepare_sources(
    data: VideoData,
    target: Path | None,
    open_encode: Callable[[], EncodeClips],
    made_by: str,
    say: Callable[[str], None] = distributed.print_once,
) -> VideoData:
    """`data` with all sources prepared and encoded: raw ones into `target`, or into its subfolders for several sources.

    `open_encode` and `made_by` as in `encode_clips`. Existing clips and latents are used again. In a multi-process run
    process 0 prepares, and all processes encode. Raises ValueError for raw videos without `target`.
    """
    sources = []
    for number, source in enumerate(data.sources):
        folder = source.folder
        if not is_prepared(folder):
            if target is None:
                raise ValueError(f"{folder} holds raw videos: add --latents FOLDER, the folder for their latents")
            raw, folder = folder, prepared_folder(data, target, number)
            if jax.process_index() == 0:
                settings = Preparation(buckets=data.buckets, fps=data.fps, most_broken=data.most_broken)
                prepare(raw, folder, settings, say=say)
            distributed.barrier(f"prepared {folder}")
        encode_clips(folder, open_encode, made_by, say)
        distributed.barrier(f"encoded {folder}")
        sources.append(replace(source, folder=folder))
    return replace(data, folder=sources[0].folder, more=tuple(sources[1:]))


def prepared_folder(data: VideoData, target: Path, number: int) -> Path:
    """The folder that a raw source is prepared into."""
    return target if len(data.sources) == 1 else target / str(number)


def check_captioned(data: VideoData, target: Path | None) -> None:
    """Raises ValueError where no video of any source has a caption; `target` as in `prepare_sources`."""
    entries: list[Entry] = []
    for number, source in enumerate(data.sources):
        prepared = source.folder if target is None else prepared_folder(data, target, number)
        entries += entries_of(prepared if is_prepared(prepared) else source.folder)
        if is_prepared(prepared) and written_captions(prepared):
            return
    check_captions(entries, ", ".join(str(source.folder) for source in data.sources))


def entries_of(folder: Path) -> list[Entry]:
    """The videos of a source, prepared or raw."""
    return read_listing(folder) if is_prepared(folder) else listing(folder)


def show_captions(data: VideoData, say: Callable[[str], None]) -> None:
    """Reports how many captions of each kind the captioned sources have, and how they are drawn."""
    for source in data.sources:
        if (counts := count_captions(source.folder))["short"]:
            mix = f"{data.captioned:.0%} are drawn from the latter, {data.detailed:.0%} of these detailed"
            say(f"{source.folder}: {caption_line(counts)}; {mix}")


def captions_of(folder: Path) -> list[str]:
    """Captions of a source, prepared or raw: those that a captioner wrote, then those of the listing."""
    written = written_captions(folder) if is_prepared(folder) else {}
    return [*chain(*written.values()), *(text for entry in entries_of(folder) for text in entry.captions)]
