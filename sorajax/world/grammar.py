"""Parses captions of the world, in any of the grammar's words: the inverse of `captions.captions`.

A caption is read from left to right in phrases of `captions.py`, the longest first, each of which sets one attribute of
the object, the shot or the clip that is being described. `stated` reads any caption of any register; what is not said
is None. `prompts.attributes_of` is stricter and reads canonical prompts alone.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sorajax.world.captions import CAMERA, STYLE, VERBS, WORDS
from sorajax.world.scenes import BACKGROUNDS, COLOURS, EVENTS, PACES, RELATIONS, SHAPES, SIZES

OBJECT = ("size", "colour", "shape", "motion", "pace")
"""Attributes of an object."""
CLIP = ("camera", "style", "relation", "event")
"""Attributes of a whole clip."""
DEFAULTS = {"pace": "normally", "camera": "static", "style": "flat", "relation": "none", "event": "none"}
"""Values that a detailed caption implies by omission."""


class Phrase(NamedTuple):
    """The value of an attribute that a phrase states."""

    slot: str
    value: str = ""


def _phrases() -> dict[str, Phrase]:
    """Every phrase of the grammar, in lower case."""
    found: dict[str, Phrase] = {}
    named: dict[str, Sequence[str]] = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "background": BACKGROUNDS}
    for slot, values in (named | {"pace": (PACES[0], PACES[2]), "relation": RELATIONS[1:]}).items():
        found |= {text: Phrase(slot, value) for value in values for text in WORDS[value]}
    for name, event in (("hides", EVENTS[2]), ("hiding", EVENTS[2]), ("collides", EVENTS[1]), ("collide", EVENTS[1])):
        found |= {text: Phrase("event", event) for text in WORDS[name]}
    for motion, pairs in VERBS.items():
        found |= {text: Phrase("motion", motion) for pair in pairs for text in pair}
    for slot, table in (("camera", CAMERA), ("style", STYLE)):
        found |= {text.lower().rstrip("."): Phrase(slot, value) for value, texts in table.items() for text in texts}
    found |= {f"{style} style:": Phrase("style", style) for style in STYLE}
    found |= {text.lower(): Phrase("cut") for text in WORDS["cut"]}
    found |= {text: Phrase("filler") for text in (*WORDS["backdrop"], "a", "an", "on", "against", "in front of", "and")}
    found |= {text: Phrase("filler") for text in ("that", "which", "there is", "an image of", "a picture of")}
    return found | {"the same": Phrase("same"), "the": Phrase("again")}


PHRASES = _phrases()
PHRASE = re.compile("|".join(re.escape(text) for text in sorted(PHRASES, key=len, reverse=True)))


def stated(caption: str) -> dict[str, Any] | None:
    """The attributes that a caption states, in the form of `scenes.attributes`; None for those that it leaves open.
    None where a word or the order of words is not the grammar's."""
    phrases = _split(caption)
    return None if phrases is None else _read(phrases)


def _split(caption: str) -> list[Phrase] | None:
    """The phrases of a caption; None where it has others."""
    text, found = " ".join(caption.lower().split()), []
    while text := text.lstrip(" ,."):
        match = PHRASE.match(text)
        if match is None or (match.end() < len(text) and text[match.end()] not in " ,." and match[0][-1] != ":"):
            match = _shorter(text)
        if match is None:
            return None
        found.append(PHRASES[match[0]])
        text = text[match.end() :]
    return found


def _shorter(text: str) -> re.Match[str] | None:
    """The longest phrase that `text` begins with and that ends with a word."""
    fits = [name for name in PHRASES if re.match(rf"{re.escape(name)}(?![\w-])", text)]
    return re.match(re.escape(max(fits, key=len)), text) if fits else None


def _object() -> dict[str, str | None]:
    return dict.fromkeys(OBJECT)


def _read(phrases: list[Phrase]) -> dict[str, Any] | None:
    """The attributes of a clip, from its phrases; None where they contradict each other."""
    clip: dict[str, Any] = {"shots": [{"background": None, "objects": []}], **dict.fromkeys(CLIP)}
    described: dict[str, Any] | None = None  # the object that the next word describes
    is_open = references = 0  # whether its noun is still to come; how many objects were named again
    for slot, value in phrases:
        shot = clip["shots"][-1]
        objects = shot["objects"]
        if slot == "cut":
            clip["shots"].append({"background": None, "objects": []})
            described, is_open, references = None, 0, 0
        elif slot == "same":
            described, is_open = {**_object(), "size": clip["shots"][0]["objects"][0]["size"]}, 1
            objects.append(described)
        elif slot == "again" and objects:
            if references >= len(objects):
                return None
            described, is_open = objects[references], 1
            references += 1
        elif slot in ("size", "colour", "shape"):
            if not is_open:
                if len(objects) == 2:
                    return None
                described, is_open = _object(), 1
                objects.append(described)
            assert described is not None
            if described[slot] not in (None, value):
                return None
            described[slot], is_open = value, int(slot != "shape")
        elif slot in ("motion", "pace"):
            if described is None or is_open or (slot == "motion" and described[slot] not in (None, value)):
                return None
            described[slot] = value
        elif slot == "background":
            shot["background"] = value
        elif slot in CLIP:
            if clip[slot] not in (None, value):
                return None
            clip[slot] = value
    complete = all(thing["shape"] for shot in clip["shots"] for thing in shot["objects"])
    return clip if complete and all(shot["objects"] for shot in clip["shots"]) else None


def completed(said: Mapping[str, Any]) -> dict[str, Any]:
    """The meaning of a detailed caption: its attributes, completed with the defaults that it may omit."""
    clip = {name: said[name] or DEFAULTS[name] for name in CLIP}
    shots = [dict(shot, objects=[dict(thing) for thing in shot["objects"]]) for shot in said["shots"]]
    pace = shots[0]["objects"][0]["pace"] or "normally"
    for shot in shots:
        for thing in shot["objects"]:
            still = thing["motion"] == "stands still"
            shared = pace if clip["event"] == EVENTS[1] and not still else "normally"
            thing["pace"] = thing["pace"] or shared
    return {"shots": shots, **clip}


def facts(words: Mapping[str, Any]) -> dict[tuple[Any, ...], str]:
    """Attributes as a flat dict, {(shot, object, name) or (shot, name) or (name,): value}, without those left open."""
    found: dict[tuple[Any, ...], str | None] = {(name,): words[name] for name in CLIP}
    for number, shot in enumerate(words["shots"]):
        found[number, "background"] = shot["background"]
        for order, thing in enumerate(shot["objects"]):
            found |= {(number, order, name): thing[name] for name in OBJECT}
    return {name: value for name, value in found.items() if value is not None}
