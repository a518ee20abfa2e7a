"""The word lists of the prompt filter, and the search for their words in a text.

Each script has a file in `words/`, which is read when a text has letters of that script.

An entry is found by its first letters, so that the time of a search hardly depends on the number of entries. Most are
plain words or beginnings of words; the regular expressions among them are compiled where their first letters appear.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from sorajax.safety.spelling import cleaned

WORDS = Path(__file__).parent / "words"
SCRIPTS = {
    "latin": re.compile("[a-z0-9]"),
    "cyrillic": re.compile("[\u0400-\u04ff]"),
    "arabic": re.compile("[\u0600-\u06ff]"),
    "devanagari": re.compile("[\u0900-\u097f]"),
    "han": re.compile("[\u3040-\u9fff]"),
}
"""Files of `WORDS`, and the letters of their entries; han has kana, too."""
UNSPACED = ("zh", "ja")
"""Languages without spaces between words."""
IGNORED = "ignored"
"""The list of harmless uses."""
HEAD = 3
"""First letters by which an entry is found, at most."""
NEAR = (10, 40)
"""Most letters between words that are near: in a text without spaces, and with."""
SPECIAL = re.compile(r"[][(){}?*+|\\^$.]")
OPTIONS = re.compile(r"\(([^()?]*)\)(?!\?)")
BEHIND = re.compile(r"\(\?<![^)]*\)")
BEGINNING = re.compile(r"(?<= )[^ ]")
ARABIC = ("\u0620", "\u064a")
CONJUNCTIONS = ("و", "ف")
ARTICLES = ("ال", "بال", "كال", "لل", "ب", "ل", "ك")
"""Both are written before an Arabic noun without a space: and, so; the, in the, like the, for the, in, for, like."""


class Part(NamedTuple):
    """A word, a beginning of one, or a regular expression."""

    plain: str
    """Empty for a regular expression."""
    expression: str
    is_inside: bool
    """Whether it may begin inside a word."""

    def end(self, text: str, start: int) -> int:
        """The end of a match that begins here, otherwise -1."""
        if self.plain:
            return start + len(self.plain.rstrip()) if text.startswith(self.plain, start) else -1
        found = compiled(self.expression).match(text, start)
        return found.end() if found else -1

    def found(self, text: str) -> bool:
        """Whether a text with spaces has it."""
        return any(self.end(text, start) >= 0 for start in (range(len(text)) if self.is_inside else beginnings(text)))


class Entry(NamedTuple):
    """An entry of a list: a part, and others that must be in the same text."""

    list: str
    first: Part
    others: tuple[Part, ...]


class Place(NamedTuple):
    """Where a word is in a text: with spaces, or without."""

    start: int
    end: int
    is_spaced: bool


Places = dict[str, list[Place]]
"""Places by list."""
Heads = dict[str, list[Entry]]
"""Entries by their first letters: "" where these vary."""


class Index(NamedTuple):
    """Entries by the text that they are searched in."""

    words: Heads
    """Words of a text with spaces."""
    inside: Heads
    """Parts of these words."""
    unspaced: Heads
    """Anywhere in a text without spaces."""


def places_in(spaced: str, unspaced: str) -> Places:
    """The lists that have words in a text, which is given with and without spaces, and where."""
    found: Places = {}
    for script in scripts_of(spaced):
        index = indices(script)[1]
        for heads, text, starts in (
            (index.words, spaced, beginnings(spaced)),
            (index.inside, spaced, range(len(spaced))),
            (index.unspaced, unspaced, range(len(unspaced))),
        ):
            for entry, start, end in matches(heads, text, starts):
                if all(part.found(spaced) for part in entry.others):
                    found.setdefault(entry.list, []).append(Place(start, end, heads is not index.unspaced))
    return found


def are_near(places: Places, lists: tuple[str, ...]) -> bool:
    """Whether a word of the first list has words of all others near, before or after it."""
    return any(
        all(any(is_near(place, other) for other in places.get(name, ())) for name in lists[1:])
        for place in places.get(lists[0], ())
    )


def is_near(one: Place, other: Place) -> bool:
    """Whether at most `NEAR` letters are between two words."""
    between = max(one.start, other.start) - min(one.end, other.end)
    return one.is_spaced == other.is_spaced and between <= NEAR[one.is_spaced]


def scripts_of(text: str) -> list[str]:
    """The scripts of `SCRIPTS` that a text has letters of."""
    return [script for script, letters in SCRIPTS.items() if letters.search(text)]


def without_ignored(text: str, is_spaced: bool) -> str:
    """A text, with or without spaces, without harmless uses of words."""
    found = []
    for script in scripts_of(text):
        index = indices(script)[0]
        heads, starts = (index.words, beginnings(text)) if is_spaced else (index.unspaced, range(len(text)))
        found += [(start, end) for _, start, end in matches(heads, text, starts)]
    kept, last = [], 0
    for start, end in sorted(found):
        kept.append(text[last:start])
        last = max(last, end)
    return "".join([*kept, text[last:]])


def matches(heads: Heads, text: str, starts: Iterable[int]) -> Iterator[tuple[Entry, int, int]]:
    """Entries whose first part is in a text, with its beginning and end."""
    varying = heads.get("", [])
    for start in starts:
        for size in range(1, HEAD + 1):
            for entry in heads.get(text[start : start + size], ()):
                if (end := entry.first.end(text, start)) >= 0:
                    yield entry, start, end
        for entry in varying:
            if (end := entry.first.end(text, start)) >= 0:
                yield entry, start, end


@lru_cache(maxsize=16)
def beginnings(text: str) -> list[int]:
    """Positions at which words begin in a text with spaces; in Arabic also after conjunctions and articles."""
    found = []
    for word in BEGINNING.finditer(text):
        starts = [word.start()]
        if ARABIC[0] <= word[0] <= ARABIC[1]:
            starts += [starts[0] + 1] * (word[0] in CONJUNCTIONS)
            starts += [start + len(one) for start in starts for one in ARTICLES if text.startswith(one, start)]
        found += starts
    return found


@cache
def indices(script: str) -> tuple[Index, Index]:
    """The harmless uses, and all other lists, of a script."""
    found = Index({}, {}, {}), Index({}, {}, {})
    for name, by_language in tomllib.loads((WORDS / f"{script}.toml").read_text(encoding="utf-8")).items():
        for language, entries in by_language.items():
            for entry in entries.split(";")[:-1]:
                add(found[name != IGNORED], name, language, cleaned(" ".join(entry.split())))
    return found


def add(index: Index, name: str, language: str, entry: str) -> None:
    """Adds an entry of a list to an index."""
    if language in UNSPACED or SCRIPTS["han"].search(entry):
        for text in options_of(entry.replace(" ", "")):
            insert(index.unspaced, Entry(name, unspaced_part(text), ()))
        return
    first, *others = entry.split("&")
    parts = tuple(part_of(other.strip()) for other in others)
    for text in options_of(first.strip()):
        part = part_of(text)
        insert(index.inside if part.is_inside else index.words, Entry(name, part, parts))


def options_of(text: str) -> list[str]:
    """A text that begins with options, "(a|b) c", once with each of them."""
    found = OPTIONS.match(text)
    return [f"{option}{text[found.end() :]}" for option in found[1].split("|")] if found else [text]


def part_of(text: str) -> Part:
    """A part of an entry: `word`, `beginning*`, `*inside*` or a regular expression, in which * stands for letters."""
    is_inside = text.startswith("*")
    word = text.strip("*") if is_inside else text.removesuffix("*")
    if SPECIAL.search(word):
        return Part("", word if is_inside else f"{text.replace('*', '[^ ]*')}(?= )", is_inside)
    return Part(word if is_inside or text.endswith("*") else f"{word} ", "", is_inside)


def unspaced_part(text: str) -> Part:
    """An entry of a language without spaces: letters or a regular expression."""
    return Part("", text, True) if SPECIAL.search(text) else Part(text, "", True)


def insert(heads: Heads, entry: Entry) -> None:
    """Adds an entry under its first letters."""
    head = entry.first.plain[:HEAD]
    if not head:
        expression = BEHIND.sub("", entry.first.expression, count=1)
        literal = SPECIAL.split(expression, maxsplit=1)[0]
        is_optional = expression[len(literal) : len(literal) + 1] in ("?", "*", "{")
        head = literal[: len(literal) - is_optional][:HEAD]
    heads.setdefault(head, []).append(entry)


@cache
def compiled(expression: str) -> re.Pattern[str]:
    """A regular expression, compiled once."""
    return re.compile(expression)
