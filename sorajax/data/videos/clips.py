"""A person's videos as training sees them: raw files decoded on the way, or clips that were prepared and encoded.

    folder of raw videos          pixels: a random moment of each file, decoded by threads
    folder of sorajax.encode      pixels: its clips; latents: what an autoencoder made of them, with captions

One kind of reader serves all: `Clips` of one bucket, numbered, with a caption each. A clip that cannot be read is
replaced by the next, written into DIRECTORY/broken.jsonl, and too large a share of them stops the run.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import grain
import jax
import numpy as np

from sorajax.data.buckets import Bucket, Phase, check_phases, stem
from sorajax.data.loader import mixed, recorded, shuffled
from sorajax.data.records import Records, unpacked
from sorajax.data.videos.decode import BrokenVideo, Facts, least_waste, probe, read_clip
from sorajax.data.videos.encoding import EncodeClips, encode_clips, encoded_records
from sorajax.data.videos.entry import Entry
from sorajax.data.videos.listing import check_captions, listing, path_within
from sorajax.data.videos.preparation import (
    SETTINGS,
    Preparation,
    kept_listing,
    kept_settings,
    kept_source,
    prepare,
    prepared_records,
)
from sorajax.data.worlds import WorldBatch
from sorajax.devices import distributed
from sorajax.files import write_atomically
from sorajax.models.text import Tokenizer

SURVEY, BROKEN = "survey.jsonl", "broken.jsonl"
TextInputs = Callable[[list[str]], dict[str, Any]]
"""Captions -> what a batch holds of them: {"ids", "mask"} or {"context"}."""
Row = dict[str, np.ndarray]
"""Of one clip: {"pixels": uint8 [t h w 3]}, or {"latent": [t h w c]} and what else a batch has beside it."""
BESIDE = ("channels", "image")
"""What some models read of the first frame, see `WorldBatch`."""
TRIES = 16  # clips in a row that may be unreadable
BINS = 1000  # of the hash that holds videos out


@dataclass(frozen=True)
class Source:
    """Another folder, and how often its clips are drawn relative to the first one's 1."""

    folder: Path
    weight: float = 1.0


@dataclass(frozen=True)
class VideoData:
    """Which videos a run trains on."""

    folder: Path = Path("videos")
    """Raw videos (a folder, manifest, tar or tfds:NAME), or a folder that `sorajax.encode` has prepared."""
    more: tuple[Source, ...] = ()
    """Other folders, mixed in by weight."""
    buckets: tuple[Bucket, ...] = (Bucket(),)
    fps: float = 8.0
    tokens: int = 0
    """Latent patches a step: batch sizes follow from it, the same cost for each bucket. 0 keeps the buckets' own."""
    phases: tuple[Phase, ...] = ()
    """A progressive schedule, e.g. small and short first; none keeps the buckets' weights."""
    dropout: float = 0.1
    """Share of prompts replaced by the empty one, which guidance needs."""
    held_out: float = 0.05
    """Share of videos kept for validation, chosen by a hash of their paths within the folder or manifest."""
    most_broken: float = 0.1
    """Share of files that may be unreadable before the run stops."""
    seed: int = 0
    threads: int = 2
    """Threads that read and decode."""
    prefetch: int = 8
    """Batches made before they are asked for."""

    def __post_init__(self) -> None:
        for name in ("dropout", "held_out", "most_broken"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: it must be in [0, 1)")
        if not self.fps > 0:
            raise ValueError(f"data.fps is {self.fps}: it must be positive")
        check_phases(self.phases, self.buckets)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All folders with their weights."""
        return (Source(self.folder), *self.more)


class Clips(Protocol):
    """Clips of one bucket from one folder."""

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """The file a clip comes from."""
        ...

    def read(self, number: int, rng: np.random.Generator) -> tuple[Row, str]:
        """What there is of a clip, and its caption. Raises ValueError where it cannot be read."""
        ...


@dataclass(frozen=True)
class RawClips:
    """Clips at random moments of raw videos."""

    videos: Sequence[tuple[Entry, Facts]]
    bucket: Bucket
    fps: float

    def __len__(self) -> int:
        return len(self.videos)

    def name(self, number: int) -> str:
        return self.videos[number][0].path

    def read(self, number: int, rng: np.random.Generator) -> tuple[Row, str]:
        entry, facts = self.videos[number]
        first, last = span(entry, facts)
        latest = max(first, last - self.bucket.frames / self.fps)
        start = 0.0 if facts.still else float(rng.uniform(first, latest))
        size = self.bucket.height, self.bucket.width
        return {"pixels": read_clip(entry.path, start, self.bucket.frames, self.fps, size)}, entry.caption


@dataclass(frozen=True)
class StoredClips:
    """Clips out of records: their pixels or, where there are latents, those."""

    records: Records
    frames: int

    def __len__(self) -> int:
        return len(self.records)

    def name(self, number: int) -> str:
        return str(self.records.where(number)[0])

    def read(self, number: int, rng: np.random.Generator) -> tuple[Row, str]:
        record = self.records[number]
        name, clip = ("latent", record["latent"]) if "latent" in record else ("pixels", unpacked(record["pixels"]))
        beside = {other: record[other] for other in BESIDE if other in record}
        return {name: clip[:1] if self.frames == 1 else clip, **beside}, record["caption"]


def span(entry: Entry, facts: Facts) -> tuple[float, float]:
    """The seconds of a video that its entry means."""
    return entry.start or 0.0, min(entry.end or facts.seconds, facts.seconds)


def is_prepared(folder: Path) -> bool:
    """Whether `sorajax.encode` has made this folder."""
    return (folder / SETTINGS).exists()


def is_held_out(path: str, share: float) -> bool:
    """Whether a video belongs to the held-out share. `path` is the one within its listing, see `path_within`."""
    digest = hashlib.sha256(path.encode(errors="surrogateescape")).digest()  # names may be no UTF-8
    return int.from_bytes(digest[:4], "big") % BINS < round(share * BINS)


class Broken:
    """What could not be read, on disk and counted: each file once."""

    def __init__(self, path: Path, videos: int, share: float):
        self.path, self.videos, self.share = path, videos, share
        self.lock = threading.Lock()
        self.seen: set[str] = set()
        if path.exists():
            self.seen = {json.loads(line)["path"] for line in path.read_text().splitlines()}

    def add(self, name: str, reason: str) -> None:
        """Takes note of a file. Raises RuntimeError when the share of broken files is above the limit."""
        with self.lock:
            if name not in self.seen:
                self.seen.add(name)
                with self.path.open("a") as file:
                    file.write(json.dumps({"path": name, "reason": reason}) + "\n")
        self.check()

    def check(self) -> None:
        """Raises RuntimeError when the share of broken files is above the limit."""
        if len(self.seen) > max(1.0, self.share * self.videos):
            raise RuntimeError(
                f"{len(self.seen)} of {self.videos} files cannot be read, more than the share {self.share:g} allowed; "
                f"{self.path} names them: mend them, or allow more with --data.most-broken"
            )


def survey(source: Path, directory: Path, number: int, broken: Broken, threads: int) -> list[tuple[Entry, Facts]]:
    """The readable raw videos of a source and their facts, kept in the run's directory: a resumed run sees the same."""
    kept = directory / f"{number}-{SURVEY}"
    if not kept.exists():
        entries = listing(source, distributed.print_once)
        broken.videos = max(broken.videos, len(entries))

        def ask(entry: Entry) -> dict[str, Any] | None:
            try:
                return {"entry": asdict(entry), "facts": asdict(probe(entry.path))}
            except BrokenVideo as error:
                broken.add(entry.path, str(error))
                return None

        with ThreadPoolExecutor(threads) as pool:
            found = [line for line in pool.map(ask, entries) if line]
        text = "".join(json.dumps(line) + "\n" for line in found)
        write_atomically(kept, lambda path: path.write_text(text))
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    broken.videos = max(broken.videos, len(lines) + len(broken.seen))
    broken.check()
    return [(Entry(**line["entry"]), Facts(**line["facts"])) for line in lines]


def raw_clips(videos: Iterable[tuple[Entry, Facts]], data: VideoData) -> dict[Bucket, RawClips]:
    """Videos by bucket: of each length that a video is long enough for, the bucket that wastes least of it."""
    by_bucket: dict[Bucket, list[tuple[Entry, Facts]]] = {bucket: [] for bucket in data.buckets}
    lengths = dict.fromkeys(bucket.frames for bucket in data.buckets)
    of_length = [[bucket for bucket in data.buckets if bucket.frames == frames] for frames in lengths]
    for entry, facts in videos:
        first, last = span(entry, facts)
        for buckets in of_length:
            if chosen := least_waste(last - first, facts.height, facts.width, buckets, data.fps, facts.still):
                by_bucket[chosen[0]].append((entry, facts))
    return {bucket: RawClips(found, bucket, data.fps) for bucket, found in by_bucket.items()}


def pixel_clips(data: VideoData, directory: Path, held_out: bool = False) -> list[dict[Bucket, Clips]]:
    """For each source the clips of each bucket, in pixels: those held out, or the others."""
    found: list[dict[Bucket, Clips]] = []
    broken = Broken(directory / BROKEN, 0, data.most_broken)
    for number, source in enumerate(data.sources):
        if is_prepared(source.folder):
            check_fps(source.folder, data)
            stored = _stored(source.folder, data, held_out)
            found.append({b: stored(prepared_records(source.folder, b), b) for b in data.buckets})
        else:
            videos = survey(source.folder, directory, number, broken, data.threads)
            names = [path_within(entry.path, source.folder) for entry, _ in videos]
            chosen = [video for name, video in zip(names, videos) if is_held_out(name, data.held_out) == held_out]
            found.append(dict(raw_clips(chosen, data)))
    return found


def latent_clips(data: VideoData, made_by: str, held_out: bool = False) -> list[dict[Bucket, Clips]]:
    """For each source, which must be encoded, the latents of each bucket."""
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
    """What makes clips of a prepared folder's records and their paths: those held out, or the others."""
    source = kept_source(folder)

    def stored(found: tuple[Records, list[str]], bucket: Bucket) -> StoredClips:
        records, paths = found
        kept = [i for i, path in enumerate(paths) if is_held_out(path_within(path, source), data.held_out) == held_out]
        return StoredClips(records.only(kept), bucket.frames)

    return stored


def check_fps(folder: Path, data: VideoData) -> None:
    """Raises ValueError where a folder was prepared at another rate than asked for."""
    if (made := kept_settings(folder).fps) != data.fps:
        raise ValueError(f"{folder} was prepared at {made:g} fps and data.fps is {data.fps:g}: say --data.fps {made:g}")


def filled(found: list[dict[Bucket, Clips]], data: VideoData, say: Callable[[str], None]) -> tuple[Bucket, ...]:
    """The buckets that have a clip; of the others it is said that they are left out. Raises ValueError for none."""
    full = tuple(bucket for bucket in data.buckets if any(len(clips[bucket]) for clips in found))
    if not full:
        raise ValueError(
            f"{data.folder} has no clip for any bucket: {', '.join(stem(bucket) for bucket in data.buckets)}"
        )
    for bucket in data.buckets:
        count = sum(len(clips[bucket]) for clips in found)
        say(f"{stem(bucket)}: {count} clips" + ("" if count else ", left out"))
    return full


def held_out_batches(
    found: list[dict[Bucket, Clips]],
    data: VideoData,
    directory: Path,
    count: int,
    text_inputs: TextInputs | None = None,
) -> list[WorldBatch]:
    """The first `count` batches of held-out clips, without drop-out; none where no video is held out."""
    if not any(len(clips) for by_bucket in found for clips in by_bucket.values()):
        distributed.print_once(
            f"no video is held out: nothing is validated; data.held_out is {data.held_out:g}, raise it"
        )
        return []
    quiet = replace(data, phases=(), dropout=0.0, prefetch=1)
    iterator = iter(clip_batches(found, quiet, directory, text_inputs))
    return [next(iterator) for _ in range(count)]


def clip_batches(
    found: list[dict[Bucket, Clips]],
    data: VideoData,
    directory: Path,
    text_inputs: TextInputs | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> grain.IterDataset:
    """Endless batches from the sources' clips, latents where those are stored, with captions if `text_inputs` is given.

    Each batch is of one bucket, shuffled over all clips; buckets without clips are left out.
    """
    full = filled(found, data, say)
    places = [data.buckets.index(bucket) for bucket in full]
    phases = [Phase(phase.steps, tuple(phase.weights[i] for i in places)) for phase in data.phases]
    files = {clips.name(i) for by in found for clips in by.values() for i in range(len(clips))}
    broken = Broken(directory / BROKEN, len(files), data.most_broken)
    sources = [bucket_batches(found, bucket, number, data, broken, text_inputs) for number, bucket in enumerate(full)]
    return mixed(sources, full, phases, data.threads, data.prefetch)


def bucket_batches(
    found: list[dict[Bucket, Clips]],
    bucket: Bucket,
    number: int,
    data: VideoData,
    broken: Broken,
    text_inputs: TextInputs | None,
) -> grain.MapDataset:
    """Endless batches of one bucket."""
    used = [(clips[bucket], source.weight) for clips, source in zip(found, data.sources) if len(clips[bucket])]

    def read(chosen: Sequence[tuple[int, int]], index: int) -> WorldBatch:
        rows = [
            steady(used[source][0], record, np.random.default_rng((data.seed, number, source, record, index)), broken)
            for source, record in chosen
        ]
        stacked: dict[str, Any] = {name: np.stack([row[name] for row, _ in rows]) for name in rows[0][0]}
        rng = np.random.default_rng((data.seed, number, index, len(rows), chosen[0][1]))
        told: dict[str, Any] = text_inputs(dropped([row[1] for row in rows], data.dropout, rng)) if text_inputs else {}
        return WorldBatch(bucket=bucket, **stacked, **told)

    order = shuffled([len(clips) for clips, _ in used], [weight for _, weight in used], data.seed + 1000 * number)
    return recorded(order, bucket, read)


def steady(clips: Clips, number: int, rng: np.random.Generator, broken: Broken) -> tuple[Row, str]:
    """A clip, or the next that can be read. Raises RuntimeError where too many cannot."""
    for attempt in range(TRIES):
        place = (number + attempt) % len(clips)
        try:
            return clips.read(place, rng)
        except ValueError as error:
            broken.add(clips.name(place), " ".join(str(error).split()))
    raise RuntimeError(f"{TRIES} clips in a row cannot be read, the last in {clips.name(place)}; see {broken.path}")


def dropped(captions: list[str], dropout: float, rng: np.random.Generator) -> list[str]:
    """Captions, some of them replaced by the empty one, for guidance."""
    return [caption if chance >= dropout else "" for caption, chance in zip(captions, rng.random(len(captions)))]


def tokens_of(tokenizer: Tokenizer) -> TextInputs:
    """Captions told as a batch's `ids` and `mask`; what is too long for the model is cut."""
    return lambda captions: dict(zip(("ids", "mask"), tokenizer.encode(captions, cut=True)))


def made_ready(
    data: VideoData,
    target: Path | None,
    open_encode: Callable[[], EncodeClips],
    made_by: str,
    say: Callable[[str], None] = distributed.print_once,
) -> VideoData:
    """`data` with every source prepared and encoded: raw ones into `target` (or below it, where there are several).

    `open_encode` and `made_by` as `encode_clips` takes them. Nothing that is there already is made again. With several
    processes the first one prepares, all encode.
    """
    sources = []
    for number, source in enumerate(data.sources):
        folder = source.folder
        if not is_prepared(folder):
            if target is None:
                raise ValueError(f"{folder} holds raw videos: say --latents FOLDER, where their latents go")
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
    """Where a raw source is prepared."""
    return target if len(data.sources) == 1 else target / str(number)


def check_captioned(data: VideoData, target: Path | None) -> None:
    """Raises ValueError where no video of any source has a caption; `target` as `made_ready` takes it."""
    entries: list[Entry] = []
    for number, source in enumerate(data.sources):
        made = source.folder if target is None else prepared_folder(data, target, number)
        entries += entries_of(made if is_prepared(made) else source.folder)
    check_captions(entries, ", ".join(str(source.folder) for source in data.sources))


def entries_of(folder: Path) -> list[Entry]:
    """The videos of a source, prepared or raw."""
    return kept_listing(folder) if is_prepared(folder) else listing(folder)


def captions_of(folder: Path) -> list[str]:
    """Captions of a source, prepared or raw."""
    return [entry.caption for entry in entries_of(folder) if entry.caption]
