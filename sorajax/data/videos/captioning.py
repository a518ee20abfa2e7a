"""Captions that a captioner writes for prepared clips, beside the original ones, and how training draws from both
(DALL-E 3, Betker et al. 2023: 95 % written captions, 5 % original ones).

    FOLDER/captions/00003.json      of part 3: the captioner, and for each clip its original caption with the short and
                                    the detailed one, or the reason why it has none
    FOLDER/report.json              how many clips have which captions

Clips that have captions are not captioned again, so a call continues an earlier one and tries those again that failed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from sorajax.data.records import Records, decode_frames
from sorajax.data.videos.entry import Written
from sorajax.data.videos.preparation import (
    DUPLICATES,
    REPORT,
    clip_name,
    is_duplicate,
    parts_of_clips,
    read_listing,
    read_settings,
)
from sorajax.errors import one_line
from sorajax.files import write_atomically
from sorajax.media.video import Video

CAPTIONS = "captions"
MOST_IN_A_ROW = 16
"""Clips that may fail one after another."""
NAMED = 3
"""Clips without a caption that are named on the screen."""


class Captioner(Protocol):
    """Describes a clip (see `sorajax.language`); a ValueError is about this clip alone, an OSError about all."""

    def __call__(self, video: Video, seed: int = 0) -> tuple[str, str]: ...


@dataclass(frozen=True)
class CaptionShares:
    """How often each caption of a clip is drawn."""

    captioned: float = 0.95
    """Share of captions that a captioner wrote; the others are original ones."""
    detailed: float = 0.5
    """Share of detailed captions among those; the others are short."""

    def draw(self, original: str, written: Written | None, rng: np.random.Generator) -> str:
        """The caption of a clip. A clip with one kind of caption always has that, except that a share of 0 leaves
        written ones out."""
        if written is None or not self.captioned or (original and rng.random() >= self.captioned):
            return original
        return written.detailed if rng.random() < self.detailed else written.short


def caption_clips(
    folder: Path,
    captioner: Captioner,
    made_by: str,
    parallel: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Captions all prepared clips that are no duplicates and have no captions yet; `parallel` clips at a time.

    `made_by` is the captioner's name. The processes of a multi-host run share the parts. Raises ValueError where
    another captioner captioned the folder, and RuntimeError for many failures in a row.
    """
    (folder / CAPTIONS).mkdir(exist_ok=True)
    doubled = json.loads((folder / DUPLICATES).read_text())
    parts = parts_of_clips(folder)
    for number in range(jax.process_index(), len(parts), jax.process_count()):
        path, summary = parts[number]
        captions = read_part(folder, path.stem, made_by)
        chosen = [
            i
            for i, clip in enumerate(summary["clips"])
            if not is_duplicate(clip, doubled) and "short" not in captions.get(clip_name(clip), {})
        ]
        if not chosen:
            continue
        try:
            for name, line in captioned(Records([path], [len(summary["clips"])]), chosen, captioner, folder, parallel):
                captions[name] = line
        finally:  # an interruption leaves what is there
            text = json.dumps({"captioner": made_by, "clips": captions}, ensure_ascii=False, indent=1)
            index = folder / CAPTIONS / f"{path.stem}.json"
            write_atomically(index, lambda file, text=text: file.write_text(text, encoding="utf-8"))
        say(f"{folder / CAPTIONS}: part {number + 1} of {len(parts)} captioned, {len(chosen)} clips")


def captioned(
    records: Records, chosen: Sequence[int], captioner: Captioner, folder: Path, parallel: int
) -> Iterator[tuple[str, dict[str, str]]]:
    """(name, captions) of these clips. Raises RuntimeError for many failures in a row."""
    fps = read_settings(folder).fps

    def caption(index: int) -> tuple[str, dict[str, str]]:
        record = records[index]
        known = {"original": record["caption"]}
        try:
            short, detailed = captioner(Video(decode_frames(record["pixels"]), fps))
        except ValueError as error:
            return clip_name(record), {**known, "failed": one_line(error)}
        return clip_name(record), {**known, "short": short, "detailed": detailed}

    failures, pool = 0, ThreadPoolExecutor(parallel)
    try:
        for name, line in pool.map(caption, chosen):
            yield name, line
            failures = failures + 1 if "failed" in line else 0
            if failures == MOST_IN_A_ROW:
                raise RuntimeError(
                    f"{failures} clips in a row have no caption, the last {name} ({line['failed']}): repair the "
                    "captioner and run the same command again"
                )
    finally:  # without waiting for questions that a server has not answered
        pool.shutdown(wait=False, cancel_futures=True)


def read_part(folder: Path, part: str, made_by: str | None = None) -> dict[str, dict[str, str]]:
    """The captions of a part by the names of its clips. Raises ValueError where they are not `made_by`'s."""
    index = folder / CAPTIONS / f"{part}.json"
    if not index.exists():
        return {}
    content: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    if made_by not in (None, content["captioner"]):
        raise ValueError(
            f"{folder} was captioned by {content['captioner']}, not by {made_by}: to caption it again, remove "
            f"{folder / CAPTIONS}"
        )
    return content["clips"]


def written_captions(folder: Path) -> dict[str, Written]:
    """The written captions of a prepared folder, by the names of its clips; empty where it has none."""
    lines = {name: line for part in parts_in(folder) for name, line in read_part(folder, part).items()}
    return {name: Written(line["short"], line["detailed"]) for name, line in lines.items() if "short" in line}


def parts_in(folder: Path) -> list[str]:
    """The parts that have captions."""
    return sorted(path.stem for path in (folder / CAPTIONS).glob("*.json"))


def count_captions(folder: Path) -> dict[str, Any]:
    """How many clips of a prepared folder have which captions, and which clips failed; how many of its videos, where
    the captions are those of a manifest."""
    if not parts_in(folder):
        entries = read_listing(folder)
        written = sum(entry.written is not None for entry in entries)
        original, failed = sum(bool(entry.caption) for entry in entries), []
    else:
        lines = {name: line for part in parts_in(folder) for name, line in read_part(folder, part).items()}
        failed = [{"clip": name, "reason": line["failed"]} for name, line in lines.items() if "failed" in line]
        original, written = sum(bool(line["original"]) for line in lines.values()), len(lines) - len(failed)
    return {"original": original, "short": written, "detailed": written, "failed": failed}


def report_captions(folder: Path, say: Callable[[str], None] = print) -> None:
    """Adds the numbers of captions to the report of a folder that has written ones. Raises ValueError where a captioner
    wrote none."""
    counts = count_captions(folder)
    if not (counts["short"] or counts["failed"]):
        return
    report = {**json.loads((folder / REPORT).read_text()), "captions": counts}
    write_atomically(folder / REPORT, lambda path: path.write_text(json.dumps(report, indent=1)))
    say(f"{folder}: {caption_line(counts)}")
    for line in counts["failed"][:NAMED]:
        say(f"  no caption: {line['clip']}: {line['reason']}")
    if counts["failed"]:
        say(f"  run the same command again for these {len(counts['failed'])}; {folder / REPORT} names all")
    if not counts["short"]:
        raise ValueError(f"{folder}: the captioner wrote no caption; {folder / REPORT} gives the reason of each clip")


def caption_line(counts: dict[str, Any]) -> str:
    """The numbers of captions in words."""
    return f"{counts['original']} original captions, {counts['short']} short and {counts['detailed']} detailed ones"
