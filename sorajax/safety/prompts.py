"""The prompt filter: words of ten languages by category, found in spite of common spelling tricks.

`words.toml` has the words: a beginning (`porn*`), whole words, a part of a compound (`*porno*`), or two that must come
together (`cut* & wrist*`). Some count only with others: a minor with a sexual word, a group with contempt. Harmless
uses ("nude lipstick", "blood orange") are taken out first. All languages are searched in every text.

It reads words, not meaning: it misses what is described without these words, and refuses some harmless uses of them.
"""

import json
import os
import re
import tomllib
import unicodedata
import urllib.request
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from sorajax.errors import BadRequest, one_line

WORDS = Path(__file__).parent / "words.toml"
CATEGORIES = {
    "minors": "sexual content with minors",
    "sexual": "sexual content",
    "self_harm": "self-harm",
    "hate": "hate",
    "violence": "extreme violence",
    "likeness": "likeness of a real person",
    "third_party": "third-party characters",
}
"""Categories in the order in which they are named, and their names for people."""
UNSPACED = ("zh", "ja")
"""Languages without spaces between words."""
LATIN = str.maketrans("013457@$!", "oieastasi")  # digits and signs in place of letters
LOOKALIKES = str.maketrans("аеорсухкіјѕԁһոαεορτυνικ", "aeopcyxkijsdhnaeoptuvik")  # Cyrillic, Greek, Armenian to Latin
SPELLINGS = str.maketrans({"ँ": "ं", "œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "ى": "ي", "ة": "ه"})
MARKS = re.compile("[\u0300-\u036f\u064b-\u065f\u0670\u093c]")
TRICK = re.compile(r"(?<=[a-z])[013457@$!]+(?=[a-z])|(?<!\w)[013457@$]+(?=[a-z]{2})|(?<=[a-z]{2})[013457@$]+(?!\w)")
REPEATED = re.compile(r"([^\W\d])\1{2,}")
SPELT = re.compile(r"(?<= )(?:[^\W\d_] ){3,}")
KEY = "SORAJAX_MODERATOR_KEY"
SECONDS = 10.0


class Terms(NamedTuple):
    """Words of one list: a pattern for texts with spaces, one for texts without, and pairs that both must be found."""

    spaced: re.Pattern[str] | None
    unspaced: re.Pattern[str] | None
    pairs: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]

    def found(self, spaced: str, unspaced: str) -> bool:
        """Whether a text has one of the words."""
        if self.spaced is not None and self.spaced.search(spaced):
            return True
        if self.unspaced is not None and self.unspaced.search(unspaced):
            return True
        return any(first.search(spaced) and second.search(spaced) for first, second in self.pairs)


@lru_cache(maxsize=4096)
def category_of(text: str) -> str | None:
    """The category of `CATEGORIES` that a text falls under, None if it falls under none."""
    terms, spaced = lists(), normal(text)
    unspaced = spaced.replace(" ", "")
    ignored = terms["ignored"]
    spaced = ignored.spaced.sub("", spaced) if ignored.spaced else spaced
    unspaced = ignored.unspaced.sub("", unspaced) if ignored.unspaced else unspaced

    def has(name: str) -> bool:
        return terms[name].found(spaced, unspaced)

    found = {name for name in CATEGORIES if has(name)}
    if has("minor") and ("sexual" in found or has("sexualised")):
        found.add("minors")
    if has("group") and has("contempt"):
        found.add("hate")
    return next((name for name in CATEGORIES if name in found), None)


def normal(text: str) -> str:
    """A text in lower case, without accents and punctuation, between spaces; spelling tricks are undone: invisible
    letters, letters of other scripts, digits for letters, repeated and separated letters."""
    text = unicodedata.normalize("NFKD", text).casefold()
    text = unicodedata.normalize("NFC", MARKS.sub("", text)).translate(SPELLINGS)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = " ".join(one_script(word) for word in text.split())
    text = TRICK.sub(lambda trick: trick[0].translate(LATIN), text)
    text = "".join(" " if unicodedata.category(letter)[0] in "PSZC" else letter for letter in text)
    text = REPEATED.sub(r"\1", f" {' '.join(text.split())} ")
    return SPELT.sub(lambda run: f"{run[0]}{run[0].replace(' ', '')} ", text)


def one_script(word: str) -> str:
    """A word in Latin letters where it mixes them with others that look the same."""
    if any("a" <= letter <= "z" for letter in word) and not word.isascii():
        return word.translate(LOOKALIKES)
    return word


@cache
def lists() -> dict[str, Terms]:
    """The lists of `words.toml` by name, compiled."""
    values = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    return {name: compiled(by_language) for name, by_language in values.items()}


def compiled(by_language: dict[str, list[str]]) -> Terms:
    """One list, of all languages."""
    entries = [(language, entry) for language, words in by_language.items() for entry in words]
    unspaced = [cleaned(entry).replace(" ", "") for language, entry in entries if is_unspaced(language, entry)]
    others = [entry for language, entry in entries if not is_unspaced(language, entry)]
    pairs = [[re.compile(pattern(part)) for part in entry.split("&")] for entry in others if "&" in entry]
    spaced = [pattern(entry) for entry in others if "&" not in entry]
    return Terms(
        re.compile("|".join(spaced)) if spaced else None,
        re.compile("|".join(unspaced)) if unspaced else None,
        tuple((first, second) for first, second in pairs),
    )


def is_unspaced(language: str, entry: str) -> bool:
    """Whether an entry is written without spaces."""
    return language in UNSPACED or any("\u3040" <= letter <= "\u9fff" for letter in entry)


def cleaned(entry: str) -> str:
    """An entry as texts are after `normal`."""
    text = unicodedata.normalize("NFKD", entry).casefold()
    return unicodedata.normalize("NFC", MARKS.sub("", text)).translate(SPELLINGS).strip()


def pattern(entry: str) -> str:
    """The regular expression of an entry of a language with spaces."""
    text = cleaned(entry)
    if text.startswith("*"):
        return text.strip("*")
    return f" {text.replace('*', '[^ ]*')}(?= )"


def ask_moderator(address: str, model: str, texts: list[str]) -> Iterator[str]:
    """Categories that an OpenAI-compatible server flags. Raises BadRequest if it does not answer: then nothing is made.

    The key is in the environment variable SORAJAX_MODERATOR_KEY.
    """
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    body = json.dumps({"model": model, "input": texts}).encode()
    request = urllib.request.Request(f"{address.rstrip('/')}/moderations", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            results = json.load(answer)["results"]
            flagged = [[name for name, is_true in one["categories"].items() if is_true] for one in results]
            yield from (
                name for names, one in zip(flagged, results, strict=True) if one["flagged"] for name in names[:1]
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(
            f"the moderator at {address} does not answer ({one_line(error)}): start it, or leave moderator out of the "
            "policy"
        ) from error
