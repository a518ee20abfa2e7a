"""Captions as a frozen text encoder sees them, encoded once, so that it need not stay in memory while others train.

    FOLDER/text/SIGNATURE/00003.arrayrecord     embeddings (float16, without padding) of the captions of part 3
    FOLDER/text/SIGNATURE/00003.json            those captions, in order; written last

SIGNATURE is the text encoder's. A part is done when its .json is there, and holds the captions that are asked for.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sorajax.data.records import Records, write_records
from sorajax.devices.distributed import barrier, print_once
from sorajax.files import write_atomically

TEXT = "text"
CAPTIONS_PER_PART = 1024
Embed = Callable[[Sequence[str]], list[Float[np.ndarray, "m e"]]]
"""Captions -> the embeddings of each one's tokens."""


def encode_captions(
    folder: Path,
    captions: Iterable[str],
    open_embed: Callable[[], Embed],
    made_by: str,
    say: Callable[[str], None] = print_once,
    batch: int = 8,
) -> Path:
    """Encodes captions, each once, and the empty one; returns where the embeddings are. Goes on where it was left.

    `open_embed` opens the encoder, and is not called where nothing is left to do. Of several processes all must call
    this together: they share the encoder, and the first one writes.
    """
    target = folder / TEXT / made_by
    target.mkdir(parents=True, exist_ok=True)
    distinct = ["", *sorted(set(captions) - {""})]
    parts = [distinct[start : start + CAPTIONS_PER_PART] for start in range(0, len(distinct), CAPTIONS_PER_PART)]
    left = [number for number, part in enumerate(parts) if _captions(_index(target, number)) != part]
    barrier(f"counted the captions of {folder}")
    embed = open_embed() if left else None
    for number in left:
        assert embed is not None
        found: list[np.ndarray] = []
        for start in range(0, len(parts[number]), batch):
            found += embed(parts[number][start : start + batch])
        if jax.process_index() == 0:
            write_records(_index(target, number).with_suffix(".arrayrecord"), _records(found))
            text = json.dumps(parts[number], ensure_ascii=False, indent=0)
            write_atomically(_index(target, number), lambda path, text=text: path.write_text(text, encoding="utf-8"))
        say(f"{target}: part {number + 1} of {len(parts)} encoded, {len(parts[number])} captions")
    barrier(f"encoded the captions of {folder}")
    return target


def _index(target: Path, number: int) -> Path:
    return target / f"{number:05d}.json"


def _captions(index: Path) -> list[str]:
    return json.loads(index.read_text(encoding="utf-8")) if index.exists() else []


def _records(found: list[np.ndarray]) -> list[dict[str, Any]]:
    return [{"context": context.astype(np.float16)} for context in found]


class Contexts:
    """The embeddings of captions in encoded folders. Called with captions it gives {"context": float16 [b m e]}, zero
    beyond each one's length. Raises ValueError for a caption that was not encoded or a damaged file."""

    def __init__(self, folders: Sequence[Path], made_by: str, tokens: int):
        """`tokens` is m. Raises FileNotFoundError where a folder is not encoded."""
        self.tokens = tokens
        files: list[Path] = []
        counts: list[int] = []
        self.places: dict[str, int] = {}
        for folder in folders:
            found = sorted((folder / TEXT / made_by).glob("*.json"))
            if not found:
                raise FileNotFoundError(f"{folder} has no captions of this text encoder: encode it again, with --text")
            for index in found:
                captions = _captions(index)
                for place, caption in enumerate(captions):
                    self.places.setdefault(caption, sum(counts) + place)
                files.append(index.with_suffix(".arrayrecord"))
                counts.append(len(captions))
        self.records = Records(files, counts)

    def __call__(self, captions: Sequence[str]) -> dict[str, np.ndarray]:
        found = [self.one(caption) for caption in captions]
        context = np.zeros((len(found), self.tokens, found[0].shape[1]), np.float16)
        for row, part in enumerate(found):
            context[row, : len(part)] = part
        return {"context": context}

    def one(self, caption: str) -> Float[np.ndarray, "m e"]:
        """The embedding of one caption, without padding."""
        if caption not in self.places:
            raise ValueError(f"caption {caption[:60]!r} was not encoded: prepare the videos again, in a new folder")
        return self.records[self.places[caption]]["context"]
