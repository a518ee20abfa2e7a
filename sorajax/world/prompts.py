"""The inverse of `captions.describe`: the attributes that a canonical prompt states."""

import re
from typing import Any

from sorajax.world.captions import CAMERA, STYLE, VERBS, WORDS
from sorajax.world.scenes import BACKGROUNDS, COLOURS, MOTIONS, PACES, RELATIONS, SHAPES, SIZES


def _one_of(words: Any) -> str:
    return "(?:" + "|".join(map(re.escape, words)) + ")"


def _noun(number: int) -> str:
    return rf"an? (?P<size{number}>{_one_of(SIZES)}) (?P<colour{number}>{COLOUR}) (?P<shape{number}>{SHAPE})"


COLOUR, SHAPE = _one_of(COLOURS), _one_of(SHAPES)
GERUNDS = {VERBS[motion][0][1]: motion for motion in MOTIONS} | {"that stands still": "stands still"}
MEANS = {WORDS[relation][0]: relation for relation in RELATIONS[1:]}
VERB = rf"(?P<motion>{_one_of(MOTIONS)})(?: (?P<pace>{_one_of(PACES)}))?"
PLACE = rf"on an? (?P<background>{_one_of(BACKGROUNDS)}) floor"
HIDES, COLLIDES = "passes behind a wall", "collides"
FIRST = re.compile(
    rf"{_noun(0)} {VERB}(?P<wall> and {HIDES})?"
    rf"(?: (?:and (?P<collides>collides with)|(?P<relation>{_one_of(MEANS)})) {_noun(1)} "
    rf"(?P<gerund>{_one_of(GERUNDS)}))? {PLACE}"
)
SECOND = re.compile(rf"cut to: the same {COLOUR} {SHAPE} {VERB} {PLACE}")
CAMERAS = {sentences[0].lower().rstrip("."): name for name, sentences in CAMERA.items()}
STYLES = {sentences[0].lower().rstrip("."): name for name, sentences in STYLE.items()}


def attributes_of(prompt: str) -> dict[str, Any]:
    """The attributes of a canonical prompt, in upper or lower case, as `scenes.attributes` gives those of a scene.

    Both objects of a collision move at the pace that is stated, as `scenes.sample_scenes` makes them. Raises ValueError
    for other prompts.
    """
    sentences = [sentence for sentence in prompt.strip().lower().rstrip(".").split(". ") if sentence]
    first = FIRST.fullmatch(sentences[0]) if sentences else None
    if first is None:
        raise ValueError(f"{prompt!r} is no canonical prompt of the world: write it as `world.captions.describe` does")
    found: dict[str, Any] = {"shots": [], "camera": "static", "style": "flat", "relation": "none", "event": "none"}
    found["shots"].append({"background": first["background"], "objects": _objects(first)})
    if first["relation"]:
        found["relation"] = MEANS[first["relation"]]
    if first["wall"] or first["collides"]:
        found["event"] = HIDES if first["wall"] else COLLIDES
    for sentence in sentences[1:]:
        if sentence in CAMERAS or sentence in STYLES:
            found["camera"] = CAMERAS.get(sentence, found["camera"])
            found["style"] = STYLES.get(sentence, found["style"])
        elif shot := SECOND.fullmatch(sentence):
            same = found["shots"][0]["objects"][0] | {"motion": shot["motion"], "pace": shot["pace"] or "normally"}
            found["shots"].append({"background": shot["background"], "objects": [same]})
        else:
            raise ValueError(f"{prompt!r}: the sentence {sentence!r} is none that `world.captions.describe` writes")
    return found


def _objects(match: re.Match) -> list[dict[str, str]]:
    """The objects of the first shot."""
    names = ("size", "colour", "shape")
    objects = [{name: match[f"{name}0"] for name in names}]
    objects[0] |= {"motion": match["motion"], "pace": match["pace"] or "normally"}
    if match["gerund"]:
        motion = GERUNDS[match["gerund"]]
        pace = "normally" if motion == "stands still" else objects[0]["pace"]
        objects.append({name: match[f"{name}1"] for name in names} | {"motion": motion, "pace": pace})
    return objects
