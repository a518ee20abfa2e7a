"""Text embeddings of captions by a frozen text encoder, computed once, so that training does not need the encoder in
memory.

    FOLDER/text/SIGNATURE/00003.arrayrecord     embeddings (float16, without padding) of the captions of part 3
    FOLDER/text/SIGNATURE/00003.json            those captions, in order; written last

SIGNATURE is a hash of the text encoder. A part is complete when its .json exists and lists the requested captions.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sorajax.copies import fetched
from sorajax.data.records import Records, write_records
from sorajax.devices.distributed import barrier, print_once
from sorajax.files import write_atomically

TEXT = "text"
CAPTIONS_PER_PART = 1024
Embed = Callable[[Sequence[str]], list[Float[np.ndarray, "m e"]]]
"""Captions -> the token embeddings of each one, without padding."""


def encode_captions(
    folder: Path,
    captions: Iterable[str],
    open_embed: Callable[[], Embed],
    made_by: str,
    say: Callable[[str], None] = print_once,
    batch: int = 8,
) -> Path:
    """Encodes the distinct captions and the empty one; returns the folder of the embeddings. Resumes an earlier call.

    `open_embed` opens the encoder, and is not called where all captions are encoded already. In a multi-process run all
    processes must call this function: they share the encoder, and process 0 writes.
    """
    target = folder / TEXT / made_by
    target.mkdir(parents=True, exist_ok=True)
    distinct = ["", *sorted(set(captions) - {""})]
    parts = [distinct[start : start + CAPTIONS_PER_PART] for start in range(0, len(distinct), CAPTIONS_PER_PART)]
    missing = [number for number, part in enumerate(parts) if _captions(_index(target, number)) != part]
    barrier(f"counted the captions of {folder}")
    embed = open_embed() if missing else None
    for number in missing:
        assert embed is not None
        embeddings: list[np.ndarray] = []
        for start in range(0, len(parts[number]), batch):
            embeddings += embed(parts[number][start : start + batch])
        if jax.process_index() == 0:
            write_records(_index(target, number).with_suffix(".arrayrecord"), _records(embeddings))
            text = json.dumps(parts[number], ensure_ascii=False, indent=0)
            write_atomically(_index(target, number), lambda path, text=text: path.write_text(text, encoding="utf-8"))
        say(f"{target}: part {number + 1} of {len(parts)} encoded, {len(parts[number])} captions")
    barrier(f"encoded the captions of {folder}")
    return target


def _index(target: Path, number: int) -> Path:
    return target / f"{number:05d}.json"


def _captions(index: Path) -> list[str]:
    return json.loads(index.read_text(encoding="utf-8")) if index.exists() else []


def _records(embeddings: list[np.ndarray]) -> list[dict[str, Any]]:
    return [{"context": context.astype(np.float16)} for context in embeddings]


class Contexts:
    """Reads text embeddings from encoded folders: captions -> {"context": float16 [b m e]}, zero beyond each caption's
    length. Raises ValueError for a caption that was not encoded, and for a damaged file."""

    def __init__(self, folders: Sequence[Path], made_by: str, tokens: int):
        """`tokens` is the padded length m. Raises FileNotFoundError where a folder is not encoded."""
        self.tokens = tokens
        files: list[Path] = []
        counts: list[int] = []
        self.places: dict[str, int] = {}
        for folder in folders:
            encoded = folder / TEXT / made_by
            indices = sorted(fetched(encoded).glob("*.json")) if encoded.is_dir() else []
            if not indices:
                raise FileNotFoundError(f"{folder} has no captions of this text encoder: encode it again, with --text")
            for index in indices:
                captions = _captions(index)
                for place, caption in enumerate(captions):
                    self.places.setdefault(caption, sum(counts) + place)
                files.append(index.with_suffix(".arrayrecord"))
                counts.append(len(captions))
        self.records = Records(files, counts)

    def __call__(self, captions: Sequence[str]) -> dict[str, np.ndarray]:
        embeddings = [self.one(caption) for caption in captions]
        context = np.zeros((len(embeddings), self.tokens, embeddings[0].shape[1]), np.float16)
        for row, embedding in enumerate(embeddings):
            context[row, : len(embedding)] = embedding
        return {"context": context}

    def one(self, caption: str) -> Float[np.ndarray, "m e"]:
        """The embedding of one caption, without padding."""
        if caption not in self.places:
            raise ValueError(f"caption {caption[:60]!r} was not encoded: prepare the videos again, in a new folder")
        return self.records[self.places[caption]]["context"]
