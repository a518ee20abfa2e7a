"""Caption files beside videos, in a folder or a tar.

    a.mp4    a.txt, a.caption, a.json, or these suffixes after the full name: a.mp4.txt, ...; upper or lower case

A .json has the caption under one of the column names of manifests; the `a.mp4.json` that sorajax writes beside its
videos, with their prompt, is such a file. In a tar, members whose names agree up to the first dot form one sample
(WebDataset), e.g. 01.video.mp4 and 01.caption.txt.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from sorajax.data.videos.manifest import caption_in
from sorajax.data.videos.plaintext import decode_text

ENDINGS = (".txt", ".caption", ".captions", ".json")


class Captions:
    """The caption files among the names of a folder or tar; each is read on demand."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes], films: Iterable[str] = ()):
        """`read` returns the bytes of a file. `films`: the videos of a tar, for WebDataset's samples."""
        texts = [name for name in names if suffix(name) in ENDINGS]
        self.read, self.texts = read, {name.lower(): name for name in texts} | {name: name for name in texts}
        unique = {sample for sample, count in Counter(map(sample_of, films)).items() if count == 1}
        self.samples: dict[str, list[str]] = {}
        for name in texts if unique else ():
            if sample_of(name) in unique:
                self.samples.setdefault(sample_of(name), []).append(name)
        self.unread: list[str] = []
        """Caption files that cannot be read, with the reason."""

    def of(self, film: str) -> str:
        """The caption of a video, empty where there is none."""
        return next((caption for name in self._candidates(film) if (caption := self._caption(name))), "")

    def _candidates(self, film: str) -> Iterator[str]:
        stem = film.removesuffix(PurePath(film).suffix)
        for ending in ENDINGS:
            for name in (f"{film}{ending}", f"{stem}{ending}"):
                if text := self.texts.get(name) or self.texts.get(name.lower()):
                    yield text
        yield from sorted(self.samples.get(sample_of(film), ()), key=lambda name: ENDINGS.index(suffix(name)))

    def _caption(self, name: str) -> str:
        content = self.read(name)
        if suffix(name) != ".json":
            return decode_text(content).strip()
        try:
            return caption_in(json.loads(decode_text(content)))
        except ValueError as error:
            self.unread.append(f"{name} is no JSON ({error})")
            return ""


def suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def sample_of(name: str) -> str:
    """The key of a member's WebDataset sample: its folder, and its name up to the first dot."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"
