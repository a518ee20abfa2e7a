"""Records on disk: one clip each, pixels or latents, in ArrayRecord files that are written atomically.

A record is a msgpack map of strings, numbers and arrays. Pixels are stored as visually lossless H.264 without chroma
subsampling (4:4:4), a single frame as PNG. ArrayRecord verifies a hash on each read, so that a flipped byte or a
truncated file raises an error instead of returning wrong data.
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
"""Options of x264. Its macroblock tree is off, because with it equal frames do not always give equal bytes."""


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> int:
    """Writes all records into one file, atomically; returns their number."""
    from array_record.python.array_record_module import ArrayRecordWriter

    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        writer = ArrayRecordWriter(str(temporary), "group_size:1")  # one record per group, for random access
        for record in records:
            writer.write(msgpack_serialize(record))
            count += 1
        writer.close()

    write_atomically(path, write)
    return count


class Records:
    """The records of several files, concatenated. Reading a damaged one raises ValueError with the name of its file."""

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], selected: np.ndarray | None = None):
        self.paths, self.counts = list(paths), list(counts)
        self.ends = np.cumsum(counts, dtype=np.int64)
        self.selected = np.arange(self.ends[-1] if self.counts else 0) if selected is None else selected
        self.sources: dict[Path, Any] = {}

    def only(self, selected: Sequence[int]) -> "Records":
        """A subset of the records, in the order of these indices."""
        return Records(self.paths, self.counts, self.selected[np.asarray(selected, np.int64)])

    def __len__(self) -> int:
        return len(self.selected)

    def where(self, index: int) -> tuple[Path, int]:
        """The file of a record, and its index in it."""
        number = int(self.selected[index])
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


def encode_frames(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """Frames as an H.264 video in Matroska; a single frame as PNG."""
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
        stream.codec_context.thread_count = 1  # clips are encoded in parallel
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def decode_frames(content: bytes) -> UInt8[np.ndarray, "t h w 3"]:
    """The inverse of `encode_frames`, up to the loss of H.264."""
    import av
    from PIL import Image

    if content.startswith(b"\x89PNG"):
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[None]
    with av.open(io.BytesIO(content), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
