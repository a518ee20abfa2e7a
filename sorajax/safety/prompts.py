"""The prompt filter: words of ten languages by category, found in spite of common spelling tricks.

The files of `words/`, one for each script, have the words: a beginning (`porn*`), whole words, a part of a compound
(`*porno*`), or several that must come together (`cut* & wrist*`). Some count only with others: a minor with a sexual
word, a group with contempt. Topics count only without a context that makes them harmless: nudity without art, suicide
without prevention, atrocities without memorials or news. Harmless uses ("nude lipstick", "blood orange") are taken out
first. All languages of a text's scripts are searched.

It reads words, not meaning: it misses what is described without these words, and refuses some harmless uses of them.
"""

import json
import os
import urllib.request
from collections.abc import Iterator
from functools import lru_cache

from sorajax.errors import BadRequest, one_line
from sorajax.safety.spelling import joined, normal
from sorajax.safety.words import lists_in, without_ignored

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
TOPICS = (
    ("nudity", "sexual", "art"),
    ("suicide", "self_harm", "help"),
    ("atrocity", "violence", "memory"),
    ("ideology", "hate", "memory"),
)
"""Lists of words with the category that they mean, unless the third list is found, too."""
KEY = "SORAJAX_MODERATOR_KEY"
SECONDS = 10.0


@lru_cache(maxsize=4096)
def category_of(text: str) -> str | None:
    """The category of `CATEGORIES` that a text falls under, None if it falls under none."""
    spaced = normal(text)
    unspaced = without_ignored(spaced.replace(" ", ""), is_spaced=False)
    spaced = without_ignored(spaced, is_spaced=True)
    lists = lists_in(spaced + joined(spaced), unspaced)
    found = lists & CATEGORIES.keys() | {
        category for topic, category, context in TOPICS if topic in lists and context not in lists
    }
    if "minor" in lists and ("sexual" in found or lists & {"nudity", "sexualised"}):
        found.add("minors")
    if {"group", "contempt"} <= lists:
        found.add("hate")
    return next((name for name in CATEGORIES if name in found), None)


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
