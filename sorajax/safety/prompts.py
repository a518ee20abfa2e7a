"""The prompt filter: words of ten languages by category, found in spite of common spelling tricks.

The files of `words/`, one for each script, have the words: a beginning (`porn*`), whole words, a part of a compound
(`*porno*`), or several that must come together (`cut* & wrist*`). `RULES` combines lists: words of some count only with
words of others, anywhere in the text or near one another in any order (a group and a slight, a blade and wrists), or
only without a context that makes them harmless (nudity without art, suicide without prevention). Harmless uses ("nude
lipstick", "blood orange") are taken out first. All languages of a text's scripts are searched.

It reads words, not meaning: it misses what is described without these words, and refuses some harmless uses of them.
"""

import json
import os
import urllib.request
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from sorajax.errors import BadRequest, one_line
from sorajax.safety.spelling import joined, normal
from sorajax.safety.words import Places, are_near, places_in, without_ignored

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


class Rule(NamedTuple):
    """A category that a text falls under if it has words of all lists, unless it has one of another list."""

    category: str
    lists: tuple[str, ...]
    unless: str = ""
    are_near: bool = False
    """Whether the words must be near one another, in any order."""


RULES = (
    Rule("sexual", ("nudity",), "art"),
    Rule("sexual", ("baring", "intimate"), "care", True),
    Rule("minors", ("minor", "nudity")),
    Rule("minors", ("minor", "sexualised")),
    Rule("minors", ("minor", "elder", "bedroom"), "care", True),
    Rule("self_harm", ("suicide",), "help"),
    Rule("self_harm", ("harm", "self"), "help", True),
    Rule("self_harm", ("means", "dying"), "help", True),
    Rule("self_harm", ("fasting", "wasting"), "help", True),
    Rule("violence", ("atrocity",), "memory"),
    Rule("violence", ("maim", "flesh"), "care", True),
    Rule("hate", ("ideology",), "memory"),
    Rule("hate", ("group", "contempt")),
    Rule("hate", ("group", "slight"), "memory", True),
)
KEY = "SORAJAX_MODERATOR_KEY"
SECONDS = 10.0


@lru_cache(maxsize=4096)
def category_of(text: str) -> str | None:
    """The category of `CATEGORIES` that a text falls under, None if it falls under none."""
    spaced = normal(text)
    unspaced = without_ignored(spaced.replace(" ", ""), is_spaced=False)
    spaced = without_ignored(spaced, is_spaced=True)
    places = places_in(spaced + joined(spaced), unspaced)
    found = places.keys() & CATEGORIES.keys() | {rule.category for rule in RULES if applies(rule, places)}
    if "minor" in places and "sexual" in found:
        found.add("minors")
    return next((name for name in CATEGORIES if name in found), None)


def applies(rule: Rule, places: Places) -> bool:
    """Whether a rule holds for a text with words at these places."""
    return (
        places.keys() >= set(rule.lists)
        and rule.unless not in places
        and (not rule.are_near or are_near(places, rule.lists))
    )


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
