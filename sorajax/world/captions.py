"""Captions of scenes, as a user types them or a captioner writes them, and the canonical prompt of a scene.

Every word has a canonical form, used with probability 0.6, and synonyms that share the other 0.4. Two registers:

- short:    "red ball bouncing", "a blue star moving left on grey". Size, background, pace and others may be omitted;
            an omitted attribute is unconstrained.
- detailed: "A large red ball bounces up and down on a brown floor. The camera pans to the right. The style is flat."
            All attributes, except that defaults (normal pace, static camera, flat style) are mentioned only sometimes.

`describe` writes the canonical prompt of a clip's attributes, in the most common words of both registers. It is the
register "canonical", and `world.prompts` reads it back.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from sorajax.world.scenes import FULL, Scene, attributes, sample_scenes

Register = Literal["short", "detailed", "mixed", "canonical"]
REGISTERS = get_args(Register)
CANONICAL = 0.6

WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet", "bright red"),
    "orange": ("orange", "bright orange", "tangerine"),
    "yellow": ("yellow", "golden", "lemon yellow"),
    "green": ("green", "emerald", "grass green"),
    "cyan": ("cyan", "turquoise", "aqua", "light blue"),
    "blue": ("blue", "cobalt", "royal blue"),
    "purple": ("purple", "violet"),
    "white": ("white", "snow white"),
    "ball": ("ball", "sphere", "disc"),
    "box": ("box", "square", "block", "cube"),
    "triangle": ("triangle", "pyramid"),
    "star": ("star", "five-pointed star"),
    "ring": ("ring", "hoop", "donut"),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
    "black": ("black", "dark", "pitch black"),
    "grey": ("grey", "gray"),
    "navy": ("navy", "dark blue", "navy blue", "midnight blue"),
    "brown": ("brown", "chocolate brown"),
    "forest": ("forest", "dark green", "forest green"),
    "slowly": ("slowly", "gently", "at a slow pace"),
    "quickly": ("quickly", "fast", "rapidly"),
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "cut": ("Cut to:", "Then cut to:", "Next shot:"),
    "backdrop": ("floor", "background", "backdrop"),
    "hides": (
        "passes behind a wall",
        "goes behind a wall",
        "disappears behind a wall and comes out again",
        "moves past behind a wall",
    ),
    "hiding": (
        "passing behind a wall",
        "going behind a wall",
        "disappearing behind a wall and coming out again",
        "moving past behind a wall",
    ),
    "collides": ("collides with", "hits", "bumps into", "crashes into"),
    "collide": ("collide", "bump into each other", "crash into each other", "hit each other"),
}
# Finite form and gerund, the canonical pair first.
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "moves left": (
        ("moves left", "moving left"),
        ("moves to the left", "moving to the left"),
        ("slides left", "sliding left"),
        ("travels leftwards", "travelling leftwards"),
        ("goes left", "going left"),
    ),
    "moves right": (
        ("moves right", "moving right"),
        ("moves to the right", "moving to the right"),
        ("slides right", "sliding right"),
        ("travels rightwards", "travelling rightwards"),
        ("goes right", "going right"),
    ),
    "moves up": (
        ("moves up", "moving up"),
        ("rises", "rising"),
        ("floats upwards", "floating upwards"),
        ("goes up", "going up"),
    ),
    "moves down": (
        ("moves down", "moving down"),
        ("sinks", "sinking"),
        ("floats downwards", "floating downwards"),
        ("goes down", "going down"),
    ),
    "bounces": (
        ("bounces", "bouncing"),
        ("bounces up and down", "bouncing up and down"),
        ("hops", "hopping"),
    ),
    "falls": (
        ("falls", "falling"),
        ("falls to the ground", "falling to the ground"),
        ("drops", "dropping"),
        ("falls and comes to rest", "falling and coming to rest"),
    ),
    "spins": (
        ("spins", "spinning"),
        ("rotates", "rotating"),
        ("turns around itself", "turning around itself"),
        ("twirls", "twirling"),
    ),
    "grows": (
        ("grows", "growing"),
        ("gets bigger", "getting bigger"),
        ("expands", "expanding"),
    ),
    "shrinks": (
        ("shrinks", "shrinking"),
        ("gets smaller", "getting smaller"),
        ("contracts", "contracting"),
    ),
    "circles": (
        ("circles", "circling"),
        ("circles around", "circling around"),
        ("moves in a circle", "moving in a circle"),
        ("goes round and round", "going round and round"),
    ),
    "stands still": (
        ("stands still", "standing still"),
        ("does not move", "not moving"),
        ("stays still", "staying still"),
        ("stays in place", "staying in place"),
    ),
}
CAMERA: dict[str, tuple[str, ...]] = {
    "static": ("The camera is static.", "The camera does not move.", "Static camera."),
    "pans left": ("The camera pans left.", "The camera pans to the left.", "Pan left."),
    "pans right": ("The camera pans right.", "The camera pans to the right.", "Pan right."),
    "zooms in": ("The camera zooms in.", "The camera moves closer.", "Zoom in."),
    "zooms out": ("The camera zooms out.", "The camera moves away.", "Zoom out."),
}
STYLE: dict[str, tuple[str, ...]] = {
    "flat": ("The style is flat.", "Flat style.", "Drawn in flat colours."),
    "sketch": ("The style is sketch.", "Sketch style.", "Drawn as an outline sketch."),
    "neon": ("The style is neon.", "Neon style.", "It glows like neon."),
    "film": ("The style is film.", "Film style.", "Shot on grainy film with muted colours."),
}


def with_article(phrase: str) -> str:
    """A phrase with its indefinite article."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


class _Writer:
    """Writes the caption of one clip, with its random generator and register."""

    def __init__(self, rng: np.random.Generator, detailed: bool, motion: float | None):
        self.rng = rng
        self.detailed = detailed
        self.mentions_motion = self.chance((1.0 if detailed else 0.9) if motion is None else motion)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Sequence):
        """The first option with probability `CANONICAL`, otherwise one of the others."""
        if len(options) == 1 or self.chance(CANONICAL):
            return options[0]
        return options[1 + int(self.rng.random() * (len(options) - 1))]

    def word(self, name: str) -> str:
        return self.pick(WORDS[name])

    def noun(self, thing: Mapping[str, str], sized: bool = True) -> str:
        """Adjectives and noun, e.g. "large red ball"."""
        with_size = sized and (self.detailed or self.chance(0.5))
        with_colour = self.detailed or self.chance(0.95)
        words = [self.word(thing["size"])] * with_size + [self.word(thing["colour"])] * with_colour
        return " ".join([*words, self.word(thing["shape"])])

    def verb(self, thing: Mapping[str, str], gerund: bool) -> str:
        """The motion with its pace, e.g. "slowly moves left" or "moving left slowly"."""
        verb = self.pick(VERBS[thing["motion"]])[gerund]
        if thing["pace"] == "normally" or not (self.detailed or self.chance(0.85)):
            return verb
        pace = self.word(thing["pace"])
        return f"{pace} {verb}" if pace.endswith("ly") and self.chance(0.4) else f"{verb} {pace}"

    def place(self, background: str) -> str:
        """The background phrase, e.g. "on a grey floor"."""
        colour = self.word(background)
        if not self.detailed and self.chance(0.3):
            return f"on {colour}"
        backdrop = self.word("backdrop")
        before = "on" if backdrop == "floor" or self.chance(0.6) else self.pick(("against", "in front of"))
        return f"{before} {with_article(colour)} {backdrop}"

    def clause(self, subject: str, verb: str, place: str) -> str:
        """Subject, verb and place, without empty ones; a clause without a verb is a noun phrase."""
        return " ".join(part for part in (subject, verb, place) if part)

    def shot(self, words: Mapping, shot: Mapping, first: bool) -> str:
        """One shot as a clause without full stop."""
        things = shot["objects"]
        finite = self.chance(0.75 if self.detailed else 0.5)
        place = self.place(shot["background"]) if self.detailed or self.chance(0.6) else ""
        if not first:
            subject = "the same " + self.noun(things[0], sized=False)
            return self.clause(subject, self.verb(things[0], not finite), place)
        noun = self.noun(things[0])
        subject = noun if not self.detailed and self.chance(0.4) else with_article(noun)
        if len(things) == 2:
            return self.pair(words, things, subject, place, finite)
        if words["event"] == "passes behind a wall" and (self.detailed or self.mentions_motion):
            both = self.detailed or self.chance(0.5)
            verb = self.verb(things[0], not finite) + " and " if both else ""
            return self.clause(subject, verb + self.word("hides" if finite else "hiding"), place)
        verb = self.verb(things[0], not finite) if self.mentions_motion else ""
        if not verb and self.detailed and self.chance(0.3):
            subject = self.pick(("there is ", "an image of ", "a picture of ")) + subject
        return self.clause(subject, verb, place)

    def pair(self, words: Mapping, things: Sequence[Mapping], subject: str, place: str, finite: bool) -> str:
        """Two objects: a collision, or a spatial relation."""
        other = with_article(self.noun(things[1]))
        if words["event"] == "collides" and self.mentions_motion:
            if not self.detailed and self.chance(0.5):
                return self.clause(f"{subject} and {other}", self.word("collide"), place)
            rest = f"that {self.pick(VERBS['stands still'])[0]}"
            if things[1]["motion"] != "stands still":
                rest = self.pick(VERBS[things[1]["motion"]])[1]
            with_motions = self.detailed or self.chance(0.4)
            verb = self.verb(things[0], False) + " and " if with_motions else ""
            return self.clause(subject, f"{verb}{self.word('collides')} {other}" + f" {rest}" * with_motions, place)
        if words["relation"] == "none":
            return self.clause(f"{subject} and {other}", "", place)
        relation = self.word(words["relation"])
        if not self.mentions_motion or (not self.detailed and self.chance(0.4)):
            return self.clause(f"{subject} {relation} {other}", "", place)
        verb, other_verb = self.verb(things[0], not finite), self.pick(VERBS[things[1]["motion"]])
        if self.detailed and finite and self.chance(0.5):
            after = " the ".join(("", f"{things[0]['shape']} {verb},", f"{things[1]['shape']} {other_verb[0]}"))
            return f"{subject} {relation} {other} {place}. {after.strip().capitalize()}"
        joined = f", which {other_verb[0]}," if self.chance(0.3) else f" {other_verb[1]}"
        return self.clause(subject, f"{verb} {relation} {other}{joined if self.detailed else ''}", place)

    def extras(self, words: Mapping) -> list[str]:
        """Sentences about camera and style."""
        sentences = []
        for name, table, default in (("camera", CAMERA, "static"), ("style", STYLE, "flat")):
            share = (0.2 if self.detailed else 0.03) if words[name] == default else (1.0 if self.detailed else 0.75)
            if (name != "camera" or self.mentions_motion) and self.chance(share):
                sentences.append(self.pick(table[words[name]]))
        return sentences

    def caption(self, words: Mapping) -> str:
        """The whole caption of one clip."""
        shots = [self.shot(words, shot, i == 0) for i, shot in enumerate(words["shots"])]
        extras = self.extras(words)
        if self.detailed:
            text = " ".join([_sentence(shots[0]), *(f"{self.word('cut')} {shot}." for shot in shots[1:]), *extras])
            return text[0].lower() + text[1:].rstrip(".") if self.chance(0.3) else text
        text = shots[0] + "".join(f". {self.word('cut')} {shot}" for shot in shots[1:])
        style = words["style"]
        if extras and style != "flat" and self.chance(0.3):
            return f"{style} style: {text}"
        return ", ".join([text, *(extra[0].lower() + extra[1:-1] for extra in extras)])


def captions(
    scene: Scene, rng: np.random.Generator, register: Register = "mixed", motion: float | None = None
) -> list[str]:
    """Captions of a batch of scenes.

    `motion` is the probability that a caption mentions the motion, and with it events and the camera (default: that of
    the register). Use about 0.1 for images, which do not show motion. Raises ValueError for an unknown register.
    """
    if register not in REGISTERS:
        raise ValueError(f"unknown register {register!r}: choose from {', '.join(REGISTERS)}")
    texts = []
    for words in attributes(scene):
        if register == "canonical":
            texts.append(describe(words))
            continue
        detailed = register == "detailed" or (register == "mixed" and rng.random() < 0.5)
        texts.append(_Writer(rng, detailed, motion).caption(words))
    return texts


def corpus(rng: np.random.Generator, n: int) -> list[str]:
    """n captions of scenes of the full mix in both registers, to train a tokenizer; a tenth omit the motion."""
    return captions(sample_scenes(rng, n - n // 10, "all", FULL), rng) + captions(
        sample_scenes(rng, n // 10, "all", FULL), rng, motion=0.0
    )


def describe(words: Mapping) -> str:
    """The canonical prompt of a clip's attributes (`scenes.attributes`): all of them except defaults."""
    sentences = []
    for i, shot in enumerate(words["shots"]):
        nouns = [f"{thing['size']} {thing['colour']} {thing['shape']}" for thing in shot["objects"]]
        verbs = [
            thing["motion"] + ("" if thing["pace"] == "normally" else f" {thing['pace']}") for thing in shot["objects"]
        ]
        place = f"on {with_article(shot['background'])} floor"
        if i:
            sentences.append(f"Cut to: the same {nouns[0].split(' ', 1)[1]} {verbs[0]} {place}")
        elif words["event"] == "collides":
            still = shot["objects"][1]["motion"] == "stands still"
            rest = "that stands still" if still else VERBS[shot["objects"][1]["motion"]][0][1]
            meets = f"collides with {with_article(nouns[1])} {rest}"
            sentences.append(f"{with_article(nouns[0])} {verbs[0]} and {meets} {place}")
        elif words["event"] == "passes behind a wall":
            sentences.append(f"{with_article(nouns[0])} {verbs[0]} and passes behind a wall {place}")
        elif len(nouns) == 2:
            relation = WORDS[words["relation"]][0]
            other = f"{with_article(nouns[1])} {VERBS[shot['objects'][1]['motion']][0][1]}"
            sentences.append(f"{with_article(nouns[0])} {verbs[0]} {relation} {other} {place}")
        else:
            sentences.append(f"{with_article(nouns[0])} {verbs[0]} {place}")
    extras = [CAMERA[words["camera"]][0]] * (words["camera"] != "static")
    extras += [STYLE[words["style"]][0]] * (words["style"] != "flat")
    prompt = ". ".join(sentences)
    return f"{prompt}. {' '.join(extras)}" if extras else prompt
