"""Videos in a TensorFlow Datasets dataset, read through `tfds.data_source`: random access, without TensorFlow.

    tfds:NAME[/CONFIG][:SPLIT][@FOLDER]     e.g. tfds:my_clips:train@/data/tfds

FOLDER is TFDS's data_dir, or a folder that a builder wrote (`builder_from_directory`). The feature `video` of an
example is the bytes of a video file, or frames uint8 [t, h, w, 3] with their frame rate in `fps`; its caption is
`caption`, `text` or `label`. The dataset must be stored as ArrayRecord (`file_format="array_record"`).
"""

import io
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from sorajax.data.videos.entry import Entry
from sorajax.data.videos.plaintext import decode_text

TFDS = "tfds:"
VIDEO, CAPTIONS, RATE = "video", ("caption", "text", "label"), "fps"


def dataset_entries(source: str) -> list[Entry]:
    """An entry for each example of `source`. Raises ValueError where `source` is malformed or has no video feature."""
    examples, features = _dataset(source)
    if VIDEO not in features:
        raise ValueError(f"{source} has no feature '{VIDEO}', it has {', '.join(features)}")
    return [Entry(f"{source}#{index}", _caption(examples[index], features)) for index in range(len(examples))]


def open_record(path: str) -> IO[bytes]:
    """The video of an entry's path (`SOURCE#INDEX`) as a file; frames are encoded losslessly."""
    source, _, index = path.rpartition("#")
    example = _dataset(source)[0][int(index)]
    value = example[VIDEO]
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return io.BytesIO(value.item())
    return io.BytesIO(encode_lossless(np.asarray(value), float(example.get(RATE, 0) or 8.0)))


@lru_cache(maxsize=8)
def _dataset(source: str) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
    """The examples of a source, and its features by name. Raises ValueError where they cannot be read."""
    import tensorflow_datasets as tfds

    match = re.fullmatch(r"tfds:([\w/.]*)(?::([^@]+))?(?:@(.+))?", source)
    if not match or not (match[1] or match[3]):
        raise ValueError(f"{source!r} is no dataset: write tfds:NAME:SPLIT@FOLDER, e.g. tfds:my_clips:train@/data/tfds")
    name, split, folder = match[1], match[2] or "train", match[3]
    try:
        if folder and (Path(folder) / "dataset_info.json").exists():
            builder = tfds.builder_from_directory(folder)
        else:
            builder = tfds.builder(name, data_dir=folder)
        return builder.as_data_source(split=split), dict(builder.info.features)
    except (ImportError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{source} cannot be read without TensorFlow ({reason}): store it as ArrayRecord, with its "
            "videos as encoded bytes"
        ) from error
    except (tfds.core.DatasetNotFoundError, ValueError, KeyError, FileNotFoundError, AssertionError) as error:
        raise ValueError(f"{source}: {' '.join(str(error).split())[:300]}") from error


def _caption(example: dict[str, Any], features: dict[str, Any]) -> str:
    name = next((name for name in CAPTIONS if name in features), None)
    value = example[name] if name else ""
    if hasattr(features.get(name or ""), "int2str"):  # a class label
        return features[str(name)].int2str(int(value)).replace("_", " ")
    value = value.item() if isinstance(value, np.ndarray) else value
    return decode_text(value) if isinstance(value, bytes) else str(value)


def encode_lossless(frames: np.ndarray, fps: float) -> bytes:
    """Frames uint8 [t, h, w, 3] as the bytes of a lossless H.264 video."""
    import av

    file, rate = io.BytesIO(), Fraction(fps).limit_denominator(1000)
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
