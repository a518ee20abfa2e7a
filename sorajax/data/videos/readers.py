"""Readers of one clip and its caption: from a raw video, or from the records of a prepared folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.records import Records, decode_frames
from sorajax.data.videos.captioning import CaptionShares
from sorajax.data.videos.decode import Facts, read_clip
from sorajax.data.videos.entry import Entry, Written
from sorajax.data.videos.preparation import clip_name

Row = dict[str, np.ndarray]
"""One clip: {"pixels": uint8 [t h w 3]}, or {"latent": [t h w c]} with the fields of `FIRST_FRAME_INPUTS`, if any."""
FIRST_FRAME_INPUTS = ("channels", "image")
"""Inputs of some models that encode the first frame, see `WorldBatch`."""


class Clips(Protocol):
    """Clips of one bucket from one folder."""

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """The source file of a clip."""
        ...

    def read(self, number: int, rng: np.random.Generator) -> tuple[Row, str]:
        """A clip and its caption. Raises ValueError where it cannot be read."""
        ...


@dataclass(frozen=True)
class RawClips:
    """Clips at random times of raw videos."""

    videos: Sequence[tuple[Entry, Facts]]
    bucket: Bucket
    fps: float
    shares: CaptionShares = CaptionShares()

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
        row = {"pixels": read_clip(entry.path, start, self.bucket.frames, self.fps, size)}
        return row, self.shares.draw(entry.caption, entry.written, rng)


@dataclass(frozen=True)
class StoredClips:
    """Clips from records: latents where the records have them, else pixels."""

    records: Records
    frames: int
    written: Mapping[str, Written] = field(default_factory=dict)
    """Captions by the names of clips, see `captioning`; they replace those that a manifest had."""
    shares: CaptionShares = CaptionShares()

    def __len__(self) -> int:
        return len(self.records)

    def name(self, number: int) -> str:
        return str(self.records.where(number)[0])

    def read(self, number: int, rng: np.random.Generator) -> tuple[Row, str]:
        record = self.records[number]
        name, clip = ("latent", record["latent"]) if "latent" in record else ("pixels", decode_frames(record["pixels"]))
        first_frame_inputs = {other: record[other] for other in FIRST_FRAME_INPUTS if other in record}
        listed = Written(record["short"], record["detailed"]) if "short" in record else None
        caption = self.shares.draw(record["caption"], self.written.get(clip_name(record), listed), rng)
        return {name: clip[:1] if self.frames == 1 else clip, **first_frame_inputs}, caption


def span(entry: Entry, facts: Facts) -> tuple[float, float]:
    """(start, end) in seconds of the part of a video that its entry names."""
    return entry.start or 0.0, min(entry.end or facts.seconds, facts.seconds)
