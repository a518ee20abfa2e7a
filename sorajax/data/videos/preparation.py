"""From raw files to prepared clips: shots, filters, resizing, each file on its own, so that any number may run at once.

    FOLDER/settings.json        what was asked for; another request needs another folder
    FOLDER/listing.jsonl        the videos, fixed when preparation began
    FOLDER/clips/00003.json     of part 3: its clips, and every rejected clip and broken file with the reason
    FOLDER/clips/00003.arrayrecord      the clips' pixels and captions
    FOLDER/duplicates.json      clips that look like an earlier one
    FOLDER/report.json          how many were kept and rejected, by reason
    FOLDER/workers.log          what Apache Beam and its workers logged

A part is done when its .json is there, which is written last. Killed at any moment and started again, parts that are
not done are made anew from the same listing, so no clip is lost or doubled. Apache Beam runs the parts: on this machine
by default, on any cluster by its own options.
"""

import json
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sorajax.data.buckets import Bucket, stem
from sorajax.data.records import Records, packed, write_records
from sorajax.data.videos.decode import BrokenVideo, EndsEarly, least_waste, probe, read_clip
from sorajax.data.videos.entry import Entry
from sorajax.data.videos.filters import Filters, duplicates, looks, rejected, shots
from sorajax.data.videos.listing import listing
from sorajax.files import write_atomically
from sorajax.models.folder import to_json

SETTINGS, LISTING, CLIPS, DUPLICATES, REPORT = (
    "settings.json",
    "listing.jsonl",
    "clips",
    "duplicates.json",
    "report.json",
)
LOG, READY = "workers.log", "ready"
SECONDS = 15.0
"""Between two lines that say how far preparation is."""


@dataclass(frozen=True)
class Preparation:
    """How raw videos become clips."""

    buckets: tuple[Bucket, ...] = (Bucket(),)
    """Shapes that clips may have."""
    fps: float = 8.0
    """Frames per second of every clip."""
    filters: Filters = Filters()
    videos_per_part: int = 64
    """Files that are done, or done again after a failure, together."""
    most_broken: float = 0.1
    """Share of files that may be broken before the run stops."""

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise ValueError(f"fps is {self.fps}: it must be positive")
        if self.videos_per_part < 1 or not 0 <= self.most_broken <= 1:
            raise ValueError("videos_per_part must be 1 or more, and most_broken in [0, 1]")


def prepare(
    source: str | Path,
    folder: str | Path,
    settings: Preparation,
    runner: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Prepares all of `source` into `folder` and returns the report; goes on where an earlier call ended.

    `runner` are Apache Beam's own options, e.g. ("--runner=FlinkRunner", ...); none runs on this machine, one process
    for each core. Raises ValueError where the folder was made otherwise or more files are broken than allowed.
    """
    folder = Path(folder)
    there = folder.exists()
    entries = begin(source, folder, settings, say)
    size = settings.videos_per_part
    parts = {part: len(entries[part * size : (part + 1) * size]) for part in range(-(-len(entries) // size))}
    if left := {part: count for part, count in parts.items() if not done(folder, part)}:
        if len(left) < len(parts):
            say(f"{folder}: {len(parts) - len(left)} of {len(parts)} parts are there already")
        try:
            with shown(folder, left, say):
                run_parts(folder, list(left), runner)
        except Exception:
            if not there and not any(done(folder, part) for part in parts):  # refused, and not begun
                shutil.rmtree(folder)
            raise
    return finish(folder, settings, say)


def begin(source: str | Path, folder: Path, settings: Preparation, say: Callable[[str], None] = print) -> list[Entry]:
    """The listing that the folder keeps, made now if it has none."""
    said = {"source": str(source), **to_json(settings)}
    if (folder / SETTINGS).exists():
        found = json.loads((folder / SETTINGS).read_text())
        if wrong := [name for name in said if found.get(name) != said[name]]:
            old, new = found.get(wrong[0]), said[wrong[0]]
            raise ValueError(f"{folder} was made with {wrong[0]} {old}, not {new}: choose another folder")
    else:
        entries = listing(source, say)
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
        write_atomically(folder / LISTING, lambda path: path.write_text(lines))
        write_atomically(folder / SETTINGS, lambda path: path.write_text(json.dumps(said, indent=2)))
    (folder / CLIPS).mkdir(exist_ok=True)
    return kept_listing(folder)


def kept_listing(folder: Path) -> list[Entry]:
    """The videos that preparation of `folder` began with."""
    return [Entry(**json.loads(line)) for line in (folder / LISTING).read_text().splitlines()]


def kept_settings(folder: Path) -> Preparation:
    """What a folder was prepared with."""
    from sorajax.models.folder import from_json

    said = json.loads((folder / SETTINGS).read_text())
    said.pop("source")
    return from_json(said, Preparation, str(folder / SETTINGS))


def kept_source(folder: Path) -> str:
    """The folder, manifest, tar or dataset that a folder was prepared from."""
    return json.loads((folder / SETTINGS).read_text())["source"]


def done(folder: Path, part: int) -> bool:
    """Whether a part is complete."""
    return (folder / CLIPS / f"{part:05d}.json").exists()


def run_parts(folder: Path, parts: Sequence[int], runner: Sequence[str]) -> None:
    """Prepares these parts in an Apache Beam pipeline. What Beam and its workers log goes to FOLDER/workers.log."""
    try:
        with logged(folder / LOG):
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError('preparing videos needs Apache Beam and PySceneDetect: pip install "sorajax[data]"') from error
    said = list(runner) or [
        "--runner=DirectRunner",
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={min(os.cpu_count() or 1, len(parts))}",
        "--default_sdk_harness_log_level=WARNING",
    ]
    with logged(folder / LOG), beam.Pipeline(options=PipelineOptions(said)) as pipeline:
        _ = (
            pipeline
            | beam.Create(list(parts))
            | beam.Reshuffle()
            | beam.Map(lambda part, folder: prepare_part(Path(folder), part), str(folder))
        )


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Whatever this process and those it starts write to stderr goes to the end of a file."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def shown(folder: Path, parts: Mapping[int, int], say: Callable[[str], None]) -> Iterator[None]:
    """Shows how many videos are done while others work on them; `parts` has how many each part has. It is a bar with
    the time left where stderr is a terminal, else a line every `SECONDS`."""
    from tqdm import tqdm

    over, start, total = Event(), time.monotonic(), sum(parts.values())
    with os.fdopen(os.dup(2), "w") as terminal:  # stderr itself is taken away meanwhile, see `logged`
        bar = tqdm(total=total, desc=str(folder), unit=" videos", file=terminal, disable=None, leave=False)

        def watch() -> None:
            before = 0
            while not over.wait(SECONDS if bar.disable else 1.0):
                ready = sum(ready_in(folder, part, count) for part, count in parts.items())
                if bar.disable and ready > before:
                    left = (time.monotonic() - start) / ready * (total - ready)
                    say(f"{folder}: {ready} of {total} videos prepared, {left / 60:.0f} min left")
                bar.update(ready - before)
                before = ready

        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            bar.close()


def ready_in(folder: Path, part: int, count: int) -> int:
    """How many of a part's videos are done."""
    if done(folder, part):
        return count
    try:
        return int((folder / CLIPS / f"{part:05d}.{READY}").read_text() or 0)
    except FileNotFoundError:  # not begun, or done since
        return 0


def prepare_part(folder: Path, part: int) -> None:
    """Makes the clips of one part of the listing."""
    settings = kept_settings(folder)
    entries = kept_listing(folder)[part * settings.videos_per_part : (part + 1) * settings.videos_per_part]
    said: dict[str, list[dict[str, Any]]] = {"clips": [], "rejected": [], "broken": []}
    ready = folder / CLIPS / f"{part:05d}.{READY}"

    def records() -> Iterator[dict[str, Any]]:
        for number, entry in enumerate(entries, 1):
            try:
                yield from clips_of(entry, settings, said)
            except BrokenVideo as error:
                said["broken"].append({"path": entry.path, "reason": str(error)})
            ready.write_text(str(number))

    write_records(folder / CLIPS / f"{part:05d}.arrayrecord", records())
    text = json.dumps({"videos": len(entries), **said}, indent=1)
    write_atomically(folder / CLIPS / f"{part:05d}.json", lambda path: path.write_text(text))
    ready.unlink(missing_ok=True)


def clips_of(entry: Entry, settings: Preparation, said: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The records of one video's clips; what is kept and what is not is written into `said`. Raises BrokenVideo."""
    facts = probe(entry.path)
    start, end = entry.start or 0.0, min(entry.end or facts.seconds, facts.seconds)
    made: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for first, last in found_shots(entry.path, start, end, facts.still, settings.filters.cuts):
        span = {"path": entry.path, "start": round(first, 4), "end": round(last, 4)}
        chosen = least_waste(last - first, facts.height, facts.width, settings.buckets, settings.fps, facts.still)
        if chosen is None:
            shortest = min(bucket.frames for bucket in settings.buckets) / settings.fps
            said["rejected"].append({**span, "reason": f"too short: {last - first:.2f} s, limit {shortest:.2f} s"})
            continue
        bucket, count = chosen
        for number in range(count):
            at = first + number * bucket.frames / settings.fps
            try:
                frames = read_clip(entry.path, at, bucket.frames, settings.fps, (bucket.height, bucket.width))
            except EndsEarly as error:
                said["rejected"].append({**span, "start": round(at, 4), "reason": f"ends early: {error}"})
                break
            seen = looks(frames, settings.filters.text < 1)
            clip = {"path": entry.path, "start": round(at, 4), "bucket": stem(bucket)}
            if reason := rejected(seen, settings.filters):
                said["rejected"].append({**clip, "end": round(at + bucket.frames / settings.fps, 4), "reason": reason})
                continue
            made.append(
                (
                    {**clip, "hash": f"{seen.fingerprint:048x}"},
                    {**clip, "caption": entry.caption, "pixels": packed(frames)},
                )
            )
    # A file that breaks on the way gives nothing, so that a clip is either kept or told of.
    said["clips"] += [line for line, _ in made]
    for _, record in made:
        yield record


def found_shots(path: str, start: float, end: float, still: bool, threshold: float) -> list[tuple[float, float]]:
    """The shots of a video, or the whole of it where it is a picture. Raises BrokenVideo."""
    if still:
        return [(start, end)]
    from av.error import FFmpegError
    from scenedetect.video_stream import VideoOpenFailure

    logging.getLogger("pyscenedetect").setLevel(logging.WARNING)  # which importing it has set

    try:
        return shots(path, start, end, threshold)
    except (FFmpegError, VideoOpenFailure, OSError) as error:
        raise BrokenVideo(f"{path}: {' '.join(str(error).split())}") from error


def parts_of_clips(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The clips' files and what is said of each, in order."""
    found = sorted((folder / CLIPS).glob("*.json"))
    return [(path.with_suffix(".arrayrecord"), json.loads(path.read_text())) for path in found]


def finish(folder: Path, settings: Preparation, say: Callable[[str], None]) -> dict[str, Any]:
    """Looks for duplicates over all parts and writes the report."""
    parts = [said for _, said in parts_of_clips(folder)]
    clips = [clip for said in parts for clip in said["clips"]]
    same = duplicates([int(clip["hash"], 16) for clip in clips], settings.filters.duplicate)
    reasons = Counter(clip["reason"].split(":")[0] for said in parts for clip in said["rejected"])
    broken = [line for said in parts for line in said["broken"]]
    videos = sum(said["videos"] for said in parts)
    report = {
        "videos": videos,
        "clips": len(clips) - len(same),
        "rejected": {**reasons, **({"duplicate": len(same)} if same else {})},
        "broken": broken,
        "buckets": Counter(clip["bucket"] for number, clip in enumerate(clips) if number not in same),
    }
    doubled = {_name(clips[number]): _name(clips[first]) for number, first in same.items()}
    write_atomically(folder / DUPLICATES, lambda path: path.write_text(json.dumps(doubled, indent=1)))
    write_atomically(folder / REPORT, lambda path: path.write_text(json.dumps(report, indent=1)))
    reasons_said = "".join(f", {count} {reason}" for reason, count in report["rejected"].items())
    say(f"{folder}: {report['clips']} clips from {videos} videos{reasons_said}, {len(broken)} broken files")
    for line in broken[:3]:
        say(f"  broken: {line['reason']}")
    if len(broken) > settings.most_broken * videos:
        raise ValueError(
            f"{len(broken)} of {videos} videos are broken, more than the share {settings.most_broken:g} allowed; "
            f"{folder / REPORT} names them: mend the files, or allow more with --most-broken"
        )
    if not report["clips"]:
        raise ValueError(f"{folder} has no clip: {folder / REPORT} says why each was rejected")
    return report


def _name(clip: dict[str, Any]) -> str:
    return f"{clip['path']}@{clip['start']}"


def is_duplicate(clip: dict[str, Any], doubled: dict[str, str]) -> bool:
    """Whether a clip is one of those in duplicates.json."""
    return _name(clip) in doubled


def prepared_records(folder: Path, bucket: Bucket) -> tuple[Records, list[str]]:
    """The prepared clips of a bucket that are no duplicates, in pixels, and the file that each comes from.

    A bucket of single frames has, besides stills, every film of its size, whose first frame is meant.
    """
    doubled = json.loads((folder / DUPLICATES).read_text())
    found = parts_of_clips(folder)
    records = Records([path for path, _ in found], [len(said["clips"]) for _, said in found])
    clips = [clip for _, said in found for clip in said["clips"]]
    kept = [i for i, clip in enumerate(clips) if fits(clip["bucket"], bucket) and not is_duplicate(clip, doubled)]
    return records.only(kept), [clips[i]["path"] for i in kept]


def fits(name: str, bucket: Bucket) -> bool:
    """Whether clips whose bucket is called `name` can serve as `bucket`'s."""
    frames, height, width = (int(size) for size in name.split("x"))
    return (height, width) == (bucket.height, bucket.width) and (frames == bucket.frames or bucket.frames == 1)
