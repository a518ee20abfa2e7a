"""Scores of a clip against the attributes that its prompt determines.

Besides the attributes: `binding`, two objects have the colours and shapes of the prompt, each its own; `left-right`, an
object that should move left does not move right, and the reverse; `permanence`, the object is the same before and after
the wall or the cut; `gravity`, `bounce height` and `momentum`, whether the relative error is below 15%, with the
`error`; `steady`, whether the still background changes by less than 1/255 from frame to frame. `prompt`: every word of
the prompt is right.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from sorajax.world.physics import BASE, GRAVITY
from sorajax.world.reader.instrument import Reading, Thing
from sorajax.world.reader.motions import fall_gravity, gravity_and_heights
from sorajax.world.scenes import PACE_SCALE, PACES, SHAPES

OBJECT_WORDS = ("colour", "shape", "size", "motion", "pace")
TOLERANCE = 0.15
STEADY = 1.0
OPPOSITES = {"moves left": "moves right", "moves right": "moves left", "left of": "right of", "right of": "left of"}


@dataclass(frozen=True)
class Score:
    """One attribute of one clip: whether it is right, and for a quantity its relative error or its size."""

    right: bool
    error: float | None = None


def match(expected: Sequence[dict], things: Sequence[Thing]) -> list[Thing | None]:
    """Assigns the video's objects to the prompt's, with as many equal attributes as possible; colours weigh most."""
    padded = [*things, *[None] * max(0, len(expected) - len(things))]

    def agreement(order):
        pairs = [(wish, thing) for wish, thing in zip(expected, order, strict=False) if thing]
        return sum(
            (1.5 if word == "colour" else 1) * (wish[word] == t.words[word])
            for wish, t in pairs
            for word in OBJECT_WORDS
        )

    return list(max(permutations(padded, len(expected)), key=agreement))


def score(wish: dict, reading: Reading) -> dict[str, Score]:
    """Scores of every attribute that the prompt determines; `wish` are its attributes (`scenes.attributes`)."""
    scores: dict[str, list[Score]] = defaultdict(list)
    shots = wish["shots"]
    padded = [*reading.things, *[[]] * max(0, len(shots) - len(reading.things))]
    scores["shots"].append(Score(len(reading.things) == len(shots)))
    for shot, things, words in zip(shots, padded, [*reading.words["shots"], *[{}] * len(shots)], strict=False):
        scores["background"].append(Score(words.get("background") == shot["background"]))
        meant = match(shot["objects"], things)
        scores["objects"].append(Score(len(things) == len(shot["objects"])))
        for expected, thing in zip(shot["objects"], meant, strict=True):
            for word in OBJECT_WORDS:
                scores[word].append(Score(thing is not None and thing.words[word] == expected[word]))
            if expected["motion"] in ("moves left", "moves right"):
                confused = thing is not None and thing.words["motion"] == OPPOSITES[expected["motion"]]
                scores["left-right"].append(Score(not confused))
        if len(shots) == 1 and len(shot["objects"]) == 1 and wish["camera"] == "static" and wish["event"] == "none":
            for name, value in _physics(shot["objects"][0], meant[0]).items():
                scores[name].append(value)
    for word in ("camera", "style", "event"):
        scores[word].append(Score(reading.words[word] == wish[word]))
    merged = {name: _merge(values) for name, values in scores.items()}
    words = [name for name in merged if name in (*OBJECT_WORDS, "background", "camera", "style", "event", "shots")]
    merged |= _together(wish, reading)
    if "relation" in merged:
        words.append("relation")
    merged["prompt"] = Score(all(merged[name].right for name in words))
    if wish["style"] == "flat" and wish["camera"] == "static":
        merged["steady"] = Score(reading.flicker < STEADY, reading.flicker)
    return merged


def _merge(values: Sequence[Score]) -> Score:
    errors = [value.error for value in values if value.error is not None]
    return Score(all(value.right for value in values), float(np.mean(errors)) if errors else None)


def _physics(wish: dict, thing: Thing | None) -> dict[str, Score]:
    """Gravity and bounce height of an object that falls or bounces; only if the reader finds that motion."""
    if thing is None or thing.motion is None:
        return {}
    if wish["motion"] not in ("bounces", "falls") or thing.words["motion"] != wish["motion"]:
        return {}
    expected = GRAVITY * float(PACE_SCALE[PACES.index(wish["pace"])]) ** 2
    if wish["motion"] == "falls":
        gravity, change = fall_gravity(thing.track), None
    else:
        reach = BASE[SHAPES.index(thing.words["shape"])] * thing.motion.radius
        gravity, change = gravity_and_heights(thing.track, thing.motion, thing.floor - reach)
    scores = {}
    if gravity is not None:
        error = abs(gravity - expected) / expected
        scores["gravity"] = Score(error < TOLERANCE, error)
    if change is not None:
        scores["bounce height"] = Score(change < TOLERANCE, change)
    return scores


def _together(wish: dict, reading: Reading) -> dict[str, Score]:
    """Scores that concern two objects, or one object at two times."""
    scores = {}
    things = reading.things[0]
    objects = wish["shots"][0]["objects"]
    if len(objects) == 2:
        pairs = sorted((thing["colour"], thing["shape"]) for thing in objects)
        scores["binding"] = Score(sorted((t.words["colour"], t.words["shape"]) for t in things) == pairs)
    if wish["relation"] != "none":
        true = reading.relations
        meant = match(objects, things)
        if len(things) == 2 and meant[0] is things[1]:
            flip = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
            true = frozenset(flip[name] for name in true)
        scores["relation"] = Score(wish["relation"] in true)
        if wish["relation"] in OPPOSITES:
            scores["left-right"] = Score(OPPOSITES[wish["relation"]] not in true)
    if wish["event"] == "collides" and reading.momentum is not None:
        scores["momentum"] = Score(reading.momentum < TOLERANCE, reading.momentum)
    if wish["event"] == "passes behind a wall":
        before, after = things[0].sides if things else (None, None)
        scores["permanence"] = Score(before is not None and before == after)
    if len(wish["shots"]) == 2:
        both = len(reading.things) == 2 and all(reading.things)
        same = both and all(
            reading.things[0][0].words[word] == reading.things[1][0].words[word] for word in ("colour", "shape")
        )
        scores["permanence"] = Score(bool(same))
    return scores
