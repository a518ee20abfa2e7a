"""Captions that lie beside their films, in a folder or a tar.

    a.mp4    a.txt, a.caption, a.json, or these after its whole name: a.mp4.txt, ..., in small or capital letters

A .json says the caption under one of the names that columns of manifests have. What sorajax writes beside its videos
(`a.mp4.json`, with their prompt) is such a file. In a tar members whose names are the same up to the first dot are one
sample (WebDataset), e.g. 01.video.mp4 and 01.caption.txt.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from sorajax.data.videos.manifest import caption_in
from sorajax.data.videos.plaintext import decoded

ENDINGS = (".txt", ".caption", ".captions", ".json")


class Captions:
    """The captions among the names of a folder or tar, each read when it is asked for."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes], films: Iterable[str] = ()):
        """`films`: those of a tar, whose names are one sample where they are the same up to the first dot."""
        texts = [name for name in names if suffix(name) in ENDINGS]
        self.read, self.texts = read, {name.lower(): name for name in texts} | {name: name for name in texts}
        alone = {sample for sample, count in Counter(map(sample_of, films)).items() if count == 1}
        self.samples: dict[str, list[str]] = {}
        for name in texts if alone else ():
            if sample_of(name) in alone:
                self.samples.setdefault(sample_of(name), []).append(name)
        self.unread: list[str] = []
        """Files that cannot be read, and why."""

    def of(self, film: str) -> str:
        """The caption of a film, empty where there is none."""
        return next((caption for name in self._candidates(film) if (caption := self._caption(name))), "")

    def _candidates(self, film: str) -> Iterator[str]:
        stem = film.removesuffix(PurePath(film).suffix)
        for ending in ENDINGS:
            for name in (f"{film}{ending}", f"{stem}{ending}"):
                if found := self.texts.get(name) or self.texts.get(name.lower()):
                    yield found
        yield from sorted(self.samples.get(sample_of(film), ()), key=lambda name: ENDINGS.index(suffix(name)))

    def _caption(self, name: str) -> str:
        content = self.read(name)
        if suffix(name) != ".json":
            return decoded(content).strip()
        try:
            return caption_in(json.loads(decoded(content)))
        except ValueError as error:
            self.unread.append(f"{name} is no JSON ({error})")
            return ""


def suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def sample_of(name: str) -> str:
    """What the members of a WebDataset sample have in common: the name up to the first dot, with its folder."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"
