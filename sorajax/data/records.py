"""Records on disk: one clip each, pixels or latents, in ArrayRecord files that are whole or not there.

A record is a msgpack map of strings, numbers and arrays. Pixels are kept as H.264 with all its colour (4:4:4) at a
quality where the eye sees no loss, a single frame as PNG. ArrayRecord checks a hash on each read, so a flipped byte or
a cut file is an error and no wrong data.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.serialization import msgpack_restore, msgpack_serialize
from jaxtyping import UInt8

from sorajax.files import write_atomically

QUALITY = {"crf": "8", "preset": "veryfast", "x264-params": "mbtree=0"}
"""Of films on disk. With x264's macroblock tree the same frames do not always give the same bytes."""


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> int:
    """Writes all records into one file, which appears when it is complete; returns how many there are."""
    from array_record.python.array_record_module import ArrayRecordWriter

    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        writer = ArrayRecordWriter(str(temporary), "group_size:1")  # one record a group: random access
        for record in records:
            writer.write(msgpack_serialize(record))
            count += 1
        writer.close()

    write_atomically(path, write)
    return count


class Records:
    """The records of several files, one after another. Reading a damaged one raises ValueError with the file's name."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], chosen: np.ndarray | None = None):
        self.paths, self.counts = list(paths), list(counts)
        self.ends = np.cumsum(counts, dtype=np.int64)
        self.chosen = np.arange(self.ends[-1] if self.counts else 0) if chosen is None else chosen
        self.sources: dict[Path, Any] = {}

    def only(self, chosen: Sequence[int]) -> "Records":
        """Some of these records, in this order."""
        return Records(self.paths, self.counts, self.chosen[np.asarray(chosen, np.int64)])

    def __len__(self) -> int:
        return len(self.chosen)

    def where(self, index: int) -> tuple[Path, int]:
        """The file of a record, and its place in it."""
        number = int(self.chosen[index])
        file = int(np.searchsorted(self.ends, number, side="right"))
        return self.paths[file], number - (int(self.ends[file - 1]) if file else 0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        path, place = self.where(index)
        try:
            if path not in self.sources:
                self.sources[path] = ArrayRecordDataSource([str(path)])
            return msgpack_restore(self.sources[path][place])
        except Exception as error:  # array_record raises RuntimeError, ValueError and IndexError for damaged files
            raise ValueError(f"{path}, record {place}: {' '.join(str(error).split())[:200]}") from error


def packed(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """Frames as a film or, where there is one only, a PNG."""
    import av
    from PIL import Image

    file = io.BytesIO()
    if len(frames) == 1:
        Image.fromarray(frames[0]).save(file, "PNG")
        return file.getvalue()
    with av.open(file, "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=8, options=QUALITY)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.thread_count = 1  # clips are many: threads belong to them
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def unpacked(content: bytes) -> UInt8[np.ndarray, "t h w 3"]:
    """What `packed` was given, but for the film's small loss."""
    import av
    from PIL import Image

    if content.startswith(b"\x89PNG"):
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[None]
    with av.open(io.BytesIO(content), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
