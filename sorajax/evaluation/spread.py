"""Diversity of a model's clips of one prompt, relative to the world's own.

A prompt leaves much open, and training from a reward narrows what a model makes of it. Each prompt gets several clips,
which differ in their noise, and the reader of the world (`instrument.read`) reads them; so does it rendered scenes that
the prompt describes as well.

- start, speed: canonical prompts. The standard deviation of the place in the first frame, and of the speed relative to
  the nominal one, over the clips of a prompt that have its motion and pace; the root mean square over prompts
- colour, background: prompts that leave them open. The effective number of values, exp(entropy), averaged over prompts
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured, sampling_text
from sorajax.evaluation.options import Spread
from sorajax.sampling.loading import load
from sorajax.sampling.request import Request
from sorajax.world.captions import describe, with_article
from sorajax.world.draw import render
from sorajax.world.prompts import attributes_of
from sorajax.world.reader.instrument import Reading, read
from sorajax.world.scenes import CORE, MOTIONS, SHAPES, STILL, Scene, attributes, sample_scenes

BAR = 0.8
"""Least spread, as a share of the world's own."""
FRAMES, SIZE, FPS = 17, (64, 64), 8.0
DRAWN = 40
"""Scenes to draw for each that is kept: one in 66 has a given motion, size and pace, and some are commoner."""
Clips = Callable[[str, int], list[np.ndarray]]
"""A prompt and its number -> clips, uint8 [t h w 3]."""


class Prompts(NamedTuple):
    """Prompts of one kind, and for each the scenes of the world that it describes."""

    texts: list[str]
    scenes: list[Scene]


def canonical(num: int, clips: int, seed: int) -> Prompts:
    """Prompts in canonical words, which leave place and exact speed open."""
    rng = np.random.default_rng([seed, 37])
    scene = sample_scenes(rng, num, "train", CORE)
    scenes = []
    for number in range(num):
        wanted = tuple(values_of(scene, number))
        found: list[Scene] = []
        while sum(len(one.size) for one in found) < clips:
            others = sample_scenes(rng, DRAWN * clips, "all", CORE)
            same = [row for row in range(len(others.size)) if tuple(values_of(others, row)) == wanted]
            found.append(jax.tree.map(lambda leaf, same=same: leaf[same], others))
        scenes.append(jax.tree.map(lambda *leaves: np.concatenate(leaves)[:clips], *found))
    return Prompts(list(map(describe, attributes(scene))), scenes)


def values_of(scene: Scene, row: int) -> list[int]:
    """The attributes that an object's places and speeds depend on: motion, size and pace."""
    return [int(scene.motion[row, 0, 0]), int(scene.size[row, 0]), int(scene.pace[row, 0, 0])]


def open_ended(num: int, clips: int, seed: int) -> Prompts:
    """Prompts of a shape and a motion alone."""
    rng = np.random.default_rng([seed, 38])
    pairs, scenes = list[tuple[int, int]](), []
    while len(pairs) < num:
        scene = sample_scenes(rng, 1, "all", CORE)
        pair = int(scene.shape[0, 0]), int(scene.motion[0, 0, 0])
        if pair not in pairs:
            pairs.append(pair)
    for shape, motion in pairs:
        others = sample_scenes(rng, DRAWN * 4 * clips, "all", CORE)
        same = np.flatnonzero((others.shape[:, 0] == shape) & (others.motion[:, 0, 0] == motion))[:clips]
        scenes.append(jax.tree.map(lambda leaf, same=same: leaf[same], others))
    return Prompts([f"{with_article(SHAPES[shape])} {MOTIONS[motion]}" for shape, motion in pairs], scenes)


def measure(options: Spread) -> Measured:
    """Samples clips of each prompt, reads them, and prints their spread beside the world's."""
    pipeline = load(options.model, mesh=options.mesh)
    places = canonical(options.prompts, options.num, options.seed)
    words = open_ended(options.prompts, options.num, options.seed)

    def sampled(prompt: str, number: int) -> list[np.ndarray]:
        first = options.seed + number * options.num
        return [pipeline(prompt, seed=first + clip)[0].frames for clip in range(options.num)]

    def rendered(kind: Prompts) -> Clips:
        def clips(prompt: str, number: int) -> list[np.ndarray]:
            video = np.asarray(render(kind.scenes[number], FRAMES, *SIZE, fps=FPS)[0])
            return list(np.clip(np.round((video + 1) * 127.5), 0, 255).astype(np.uint8))

        return clips

    world = spread_of(places.texts, rendered(places), "places") | spread_of(words.texts, rendered(words), "words")
    model = spread_of(places.texts, sampled, "places") | spread_of(words.texts, sampled, "words")
    text = table(world, model)
    print(text)
    plan = pipeline.plan(Request(("a red ball",), seed=options.seed))
    settings = f"{options.prompts} prompts of each kind, num {options.num}, seed {options.seed}, {sampling_text(plan)}"
    return Measured(
        {"world": world, "model": model}, {options.tables[0]: text}, settings, markdown.folder_of(options.model)
    )


def spread_of(texts: Sequence[str], clips: Clips, kind: str) -> dict[str, float]:
    """The spreads over the clips of each prompt, of the prompts together."""
    readings = [[read(clip, FPS) for clip in clips(text, number)] for number, text in enumerate(texts)]
    if kind == "words":
        return {
            "colour": float(np.mean([effective(map(colour_of, one)) for one in readings])),
            "background": float(np.mean([effective(map(background_of, one)) for one in readings])),
        }
    wishes = [attributes_of(text)["shots"][0]["objects"][0] for text in texts]
    readings = [[one for one in each if moves(one, wish)] for each, wish in zip(readings, wishes, strict=True)]
    found = {
        "start, across": [[place[0] for place in starts(one)] for one in readings],
        "start, up and down": [[place[1] for place in starts(one)] for one in readings],
        "speed": [speeds(one) for one in readings],
    }
    return {
        name: float(np.sqrt(np.mean([np.var(values, ddof=1) for values in each if len(values) > 2])))
        for name, each in found.items()
    }


def moves(reading: Reading, wish: dict[str, str]) -> bool:
    """Whether a clip has one object, which moves as it should: an error would count as variety."""
    if len(reading.things[0]) != 1:
        return False
    words = reading.things[0][0].words
    return all(words[name] == wish[name] for name in ("motion", "pace"))


def starts(readings: Sequence[Reading]) -> list[Any]:
    """The object's first visible position, in units."""
    things = (reading.things[0][0] for reading in readings)
    return [thing.track.centre[np.flatnonzero(thing.track.trusted)[0]] for thing in things if thing.track.trusted.any()]


def speeds(readings: Sequence[Reading]) -> list[float]:
    """The rates of motions relative to the nominal speed; an object that stands still has none."""
    motions = (reading.things[0][0].motion for reading in readings)
    return [motion.rate for motion in motions if motion is not None and motion.motion != STILL]


def colour_of(reading: Reading) -> str | None:
    """The object's colour."""
    return reading.things[0][0].words["colour"] if reading.things[0] else None


def background_of(reading: Reading) -> str | None:
    """The background's colour."""
    found: str | None = reading.words["shots"][0]["background"]
    return found


def effective(values: Any) -> float:
    """The effective number of values that occur, exp(entropy); those that were not read do not count."""
    found = [value for value in values if value is not None]
    if not found:
        return 0.0
    _, counts = np.unique(found, return_counts=True)
    shares = counts / counts.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def table(world: dict[str, float], model: dict[str, float]) -> str:
    """The spreads, and the model's as a share of the world's."""
    rows = [
        [name, f"{value:.3g}", f"{model[name]:.3g}", f"{100 * model[name] / value:.0f}%", f"at least {100 * BAR:.0f}%"]
        for name, value in world.items()
    ]
    return markdown.table(["spread, given a prompt", "world", "model", "share", "bar"], rows)
