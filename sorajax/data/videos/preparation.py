"""Preparation of clips from raw videos: shot detection, filters and resizing; files are independent and run in
parallel.

    FOLDER/settings.json        the settings; other settings need another folder
    FOLDER/listing.jsonl        the list of videos, fixed when preparation starts
    FOLDER/clips/00003.json     of part 3: its clips, and every rejected clip and broken file with the reason
    FOLDER/clips/00003.arrayrecord      pixels and captions of the clips
    FOLDER/captions/            captions that a captioner wrote, see `captioning`
    FOLDER/duplicates.json      clips that duplicate an earlier one
    FOLDER/report.json          numbers of accepted and rejected clips, by reason
    FOLDER/workers.log          the logs of Apache Beam and its workers

A part is complete when its .json exists, which is written last. A run that is killed at any time and started again
repeats the incomplete parts from the same listing, so no clip is lost or duplicated. Apache Beam runs the parts: on
this machine by default, on a cluster with Beam's options.
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
from sorajax.data.records import Records, encode_frames, write_records
from sorajax.data.videos.decode import BrokenVideo, EndsEarly, least_waste, probe, read_clip
from sorajax.data.videos.entry import Entry
from sorajax.data.videos.filters import Filters, duplicates, measure, rejection_reason, shots
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
"""Interval between two lines of progress."""


@dataclass(frozen=True)
class Preparation:
    """Settings of the preparation of clips. Raises ValueError for values out of range."""

    buckets: tuple[Bucket, ...] = (Bucket(),)
    """Shapes of the clips."""
    fps: float = 8.0
    """Frames per second of every clip."""
    filters: Filters = Filters()
    videos_per_part: int = 64
    """Number of files in a part, which is the unit of work and of repetition after a failure."""
    most_broken: float = 0.1
    """Largest share of broken files; above it the run stops."""

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
    """Prepares all videos of `source` into `folder` and returns the report; resumes an earlier call.

    `runner`: options of Apache Beam, e.g. ("--runner=FlinkRunner", ...); none runs on this machine, one process per
    core. Raises ValueError where the folder was made with other settings, where more files are broken than allowed, and
    where no clip is accepted.
    """
    folder = Path(folder)
    existed = folder.exists()
    entries = begin(source, folder, settings, say)
    size = settings.videos_per_part
    parts = {part: len(entries[part * size : (part + 1) * size]) for part in range(-(-len(entries) // size))}
    if pending := {part: count for part, count in parts.items() if not is_done(folder, part)}:
        if len(pending) < len(parts):
            say(f"{folder}: {len(parts) - len(pending)} of {len(parts)} parts are there already")
        try:
            with show_progress(folder, pending, say):
                run_parts(folder, list(pending), runner)
        except Exception:
            if not existed and not any(is_done(folder, part) for part in parts):  # nothing was prepared
                shutil.rmtree(folder)
            raise
    return finish(folder, settings, say)


def begin(source: str | Path, folder: Path, settings: Preparation, say: Callable[[str], None] = print) -> list[Entry]:
    """The listing of the folder, which is created on the first call. Raises ValueError for other settings than then."""
    requested = {"source": str(source), **to_json(settings)}
    if (folder / SETTINGS).exists():
        recorded = json.loads((folder / SETTINGS).read_text())
        if changed := [name for name in requested if recorded.get(name) != requested[name]]:
            old, new = recorded.get(changed[0]), requested[changed[0]]
            raise ValueError(f"{folder} was made with {changed[0]} {old}, not {new}: choose another folder")
    else:
        entries = listing(source, say)
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
        write_atomically(folder / LISTING, lambda path: path.write_text(lines))
        write_atomically(folder / SETTINGS, lambda path: path.write_text(json.dumps(requested, indent=2)))
    (folder / CLIPS).mkdir(exist_ok=True)
    return read_listing(folder)


def read_listing(folder: Path) -> list[Entry]:
    """The listing of a prepared folder."""
    return [Entry(**json.loads(line)) for line in (folder / LISTING).read_text().splitlines()]


def read_settings(folder: Path) -> Preparation:
    """The settings of a prepared folder."""
    from sorajax.models.folder import from_json

    settings = json.loads((folder / SETTINGS).read_text())
    settings.pop("source")
    return from_json(settings, Preparation, str(folder / SETTINGS))


def read_source(folder: Path) -> str:
    """The source (folder, manifest, tar or dataset) of a prepared folder."""
    return json.loads((folder / SETTINGS).read_text())["source"]


def is_done(folder: Path, part: int) -> bool:
    """Whether a part is complete."""
    return (folder / CLIPS / f"{part:05d}.json").exists()


def run_parts(folder: Path, parts: Sequence[int], runner: Sequence[str]) -> None:
    """Prepares these parts in an Apache Beam pipeline, with the logs of Beam and its workers in FOLDER/workers.log."""
    try:
        with stderr_to_file(folder / LOG):
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError('preparing videos needs Apache Beam and PySceneDetect: pip install "sorajax[data]"') from error
    options = list(runner) or [
        "--runner=DirectRunner",
        "--direct_running_mode=multi_processing",
        f"--direct_num_workers={min(os.cpu_count() or 1, len(parts))}",
        "--default_sdk_harness_log_level=WARNING",
    ]
    with stderr_to_file(folder / LOG), beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        _ = (
            pipeline
            | beam.Create(list(parts))
            | beam.Reshuffle()
            | beam.Map(lambda part, folder: prepare_part(Path(folder), part), str(folder))
        )


@contextmanager
def stderr_to_file(path: Path) -> Iterator[None]:
    """Appends to a file what this process and its child processes write to stderr."""
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
def show_progress(folder: Path, parts: Mapping[int, int], say: Callable[[str], None]) -> Iterator[None]:
    """Shows the number of finished videos while the parts run; `parts` maps each part to its number of videos.

    A bar with the remaining time where stderr is a terminal, else a line every `SECONDS`.
    """
    from tqdm import tqdm

    over, start, total = Event(), time.monotonic(), sum(parts.values())
    with os.fdopen(os.dup(2), "w") as terminal:  # stderr itself is redirected, see `stderr_to_file`
        bar = tqdm(total=total, desc=str(folder), unit=" videos", file=terminal, disable=None, leave=False)

        def watch() -> None:
            before = 0
            while not over.wait(SECONDS if bar.disable else 1.0):
                ready = sum(count_finished(folder, part, count) for part, count in parts.items())
                if bar.disable and ready > before:
                    remaining = (time.monotonic() - start) / ready * (total - ready)
                    say(f"{folder}: {ready} of {total} videos prepared, {remaining / 60:.0f} min left")
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


def count_finished(folder: Path, part: int, count: int) -> int:
    """Number of finished videos of a part."""
    if is_done(folder, part):
        return count
    try:
        return int((folder / CLIPS / f"{part:05d}.{READY}").read_text() or 0)
    except FileNotFoundError:  # not started, or completed just now
        return 0


def prepare_part(folder: Path, part: int) -> None:
    """Prepares the clips of one part of the listing."""
    settings = read_settings(folder)
    entries = read_listing(folder)[part * settings.videos_per_part : (part + 1) * settings.videos_per_part]
    outcome: dict[str, list[dict[str, Any]]] = {"clips": [], "rejected": [], "broken": []}
    ready = folder / CLIPS / f"{part:05d}.{READY}"

    def records() -> Iterator[dict[str, Any]]:
        for number, entry in enumerate(entries, 1):
            try:
                yield from clips_of(entry, settings, outcome)
            except BrokenVideo as error:
                outcome["broken"].append({"path": entry.path, "reason": str(error)})
            ready.write_text(str(number))

    write_records(folder / CLIPS / f"{part:05d}.arrayrecord", records())
    text = json.dumps({"videos": len(entries), **outcome}, indent=1)
    write_atomically(folder / CLIPS / f"{part:05d}.json", lambda path: path.write_text(text))
    ready.unlink(missing_ok=True)


def clips_of(entry: Entry, settings: Preparation, outcome: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The records of one video's clips; adds accepted and rejected clips to `outcome`. Raises BrokenVideo."""
    facts = probe(entry.path)
    start, end = entry.start or 0.0, min(entry.end or facts.seconds, facts.seconds)
    written = entry.written._asdict() if entry.written else {}
    accepted: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for first, last in find_shots(entry.path, start, end, facts.still, settings.filters.cuts):
        span = {"path": entry.path, "start": round(first, 4), "end": round(last, 4)}
        chosen = least_waste(last - first, facts.height, facts.width, settings.buckets, settings.fps, facts.still)
        if chosen is None:
            shortest = min(bucket.frames for bucket in settings.buckets) / settings.fps
            outcome["rejected"].append({**span, "reason": f"too short: {last - first:.2f} s, limit {shortest:.2f} s"})
            continue
        bucket, count = chosen
        for number in range(count):
            at = first + number * bucket.frames / settings.fps
            try:
                frames = read_clip(entry.path, at, bucket.frames, settings.fps, (bucket.height, bucket.width))
            except EndsEarly as error:
                outcome["rejected"].append({**span, "start": round(at, 4), "reason": f"ends early: {error}"})
                break
            measurements = measure(frames, settings.filters.text < 1)
            clip = {"path": entry.path, "start": round(at, 4), "bucket": stem(bucket)}
            if reason := rejection_reason(measurements, settings.filters):
                end_of_clip = round(at + bucket.frames / settings.fps, 4)
                outcome["rejected"].append({**clip, "end": end_of_clip, "reason": reason})
                continue
            accepted.append(
                (
                    {**clip, "hash": f"{measurements.fingerprint:048x}"},
                    {**clip, "caption": entry.caption, **written, "pixels": encode_frames(frames)},
                )
            )
    # Only now, so that a file that turns out to be broken contributes no clips.
    outcome["clips"] += [line for line, _ in accepted]
    for _, record in accepted:
        yield record


def find_shots(path: str, start: float, end: float, still: bool, threshold: float) -> list[tuple[float, float]]:
    """The shots of a video as (start, end) in seconds; a still image is one shot. Raises BrokenVideo."""
    if still:
        return [(start, end)]
    from av.error import FFmpegError
    from scenedetect.video_stream import VideoOpenFailure

    logging.getLogger("pyscenedetect").setLevel(logging.WARNING)  # the import sets another level

    try:
        return shots(path, start, end, threshold)
    except (FFmpegError, VideoOpenFailure, OSError) as error:
        raise BrokenVideo(f"{path}: {' '.join(str(error).split())}") from error


def parts_of_clips(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """(file of records, content of its .json) of all complete parts, in order."""
    indices = sorted((folder / CLIPS).glob("*.json"))
    return [(path.with_suffix(".arrayrecord"), json.loads(path.read_text())) for path in indices]


def finish(folder: Path, settings: Preparation, say: Callable[[str], None]) -> dict[str, Any]:
    """Finds duplicates over all parts, and writes and returns the report. Raises ValueError for too many broken files
    and for no clip."""
    parts = [part for _, part in parts_of_clips(folder)]
    clips = [clip for part in parts for clip in part["clips"]]
    same = duplicates([int(clip["hash"], 16) for clip in clips], settings.filters.duplicate)
    reasons = Counter(clip["reason"].split(":")[0] for part in parts for clip in part["rejected"])
    broken = [line for part in parts for line in part["broken"]]
    videos = sum(part["videos"] for part in parts)
    report = {
        "videos": videos,
        "clips": len(clips) - len(same),
        "rejected": {**reasons, **({"duplicate": len(same)} if same else {})},
        "broken": broken,
        "buckets": Counter(clip["bucket"] for number, clip in enumerate(clips) if number not in same),
    }
    duplicate_names = {clip_name(clips[number]): clip_name(clips[first]) for number, first in same.items()}
    write_atomically(folder / DUPLICATES, lambda path: path.write_text(json.dumps(duplicate_names, indent=1)))
    write_atomically(folder / REPORT, lambda path: path.write_text(json.dumps(report, indent=1)))
    rejections = "".join(f", {count} {reason}" for reason, count in report["rejected"].items())
    say(f"{folder}: {report['clips']} clips from {videos} videos{rejections}, {len(broken)} broken files")
    for line in broken[:3]:
        say(f"  broken: {line['reason']}")
    if len(broken) > settings.most_broken * videos:
        raise ValueError(
            f"{len(broken)} of {videos} videos are broken, more than the share {settings.most_broken:g} allowed; "
            f"{folder / REPORT} names them: repair the files, or allow more with --most-broken"
        )
    if not report["clips"]:
        raise ValueError(f"{folder} has no clip: {folder / REPORT} gives the reason of each rejection")
    return report


def clip_name(clip: Mapping[str, Any]) -> str:
    """The name of a clip, or of its record: its source file and the time at which it begins."""
    return f"{clip['path']}@{clip['start']}"


def is_duplicate(clip: dict[str, Any], duplicate_names: dict[str, str]) -> bool:
    """Whether a clip is listed in duplicates.json."""
    return clip_name(clip) in duplicate_names


def prepared_records(folder: Path, bucket: Bucket) -> tuple[Records, list[str]]:
    """The prepared clips of a bucket without duplicates, in pixels, and the source file of each.

    A bucket of single frames also has all videos of its size, of which the first frame is used.
    """
    duplicate_names = json.loads((folder / DUPLICATES).read_text())
    parts = parts_of_clips(folder)
    records = Records([path for path, _ in parts], [len(part["clips"]) for _, part in parts])
    clips = [clip for _, part in parts for clip in part["clips"]]
    selected = [
        i for i, clip in enumerate(clips) if fits(clip["bucket"], bucket) and not is_duplicate(clip, duplicate_names)
    ]
    return records.only(selected), [clips[i]["path"] for i in selected]


def fits(name: str, bucket: Bucket) -> bool:
    """Whether clips of the bucket called `name` can be used for `bucket`: equal size, and equal length or one frame."""
    frames, height, width = (int(size) for size in name.split("x"))
    return (height, width) == (bucket.height, bucket.width) and (frames == bucket.frames or bucket.frames == 1)
