"""How well a model of the world does what it is asked: accuracy per attribute with Wilson's 95% intervals.

Every clip is asked for in the canonical words (`captions.describe`), made, and read back by the instrument
(`instrument.read`), which does not know the prompt. The splits:

- seen, held_out: one object, one shot, static camera, flat style, every attribute said; triples of colour, shape and
  motion that training has seen, and those it never has
- camera, style, relation, event, shots: the parts of the world that these prompts add, in training's triples

Beside the words: `binding`, two objects keep their own colours and shapes; `left-right`, whoever is to go left does
not go right and the reverse; `permanence`, the same object before and after the wall or the cut; `gravity`, `bounce
height` and `momentum`, the share of clips whose relative error is below 15%, with the median `error` beside; `steady`,
the share whose still background changes by less than 1/255 from frame to frame. `prompt` is everything said at once.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured, sampled_with
from sorajax.evaluation.options import CORE as CORE_SPLITS
from sorajax.evaluation.options import Instrument, World
from sorajax.sampling.loading import load
from sorajax.sampling.request import Request
from sorajax.world.captions import describe
from sorajax.world.draw import render
from sorajax.world.physics import BASE, GRAVITY
from sorajax.world.reader.instrument import Reading, Thing, read
from sorajax.world.reader.motions import fall_gravity, gravity_and_heights
from sorajax.world.scenes import CORE, PACE_SCALE, PACES, SHAPES, Scene, Split, WorldMix, attributes, sample_scenes

Clip = UInt8[np.ndarray, "t h w 3"]
Generate = Callable[[list[str]], Iterable[Clip]]
Results = dict[str, dict[str, dict[str, float]]]

OBJECT_WORDS = ("colour", "shape", "size", "motion", "pace")
BARS = {"colour": 95, "background": 95, "shape": 85, "motion": 85}
"""What the project set out to reach, in percent of the clips."""
TOLERANCE = 0.15
STEADY = 1.0
OPPOSITES = {"moves left": "moves right", "moves right": "moves left", "left of": "right of", "right of": "left of"}


@dataclass(frozen=True)
class Group:
    """Prompts of one kind: what they are drawn from and the share of `num` clips they get."""

    mix: WorldMix
    split: Split
    share: float = 0.25


def _only(**mix: float) -> WorldMix:
    return WorldMix(**{"two_objects": 0, "wall": 0, "two_shots": 0, "camera": 0, "style": 0, **mix})


GROUPS = {
    "seen": Group(CORE, "train", 1),
    "held_out": Group(CORE, "held_out", 1),
    "camera": Group(_only(camera=1), "train"),
    "style": Group(_only(style=1), "train"),
    "relation": Group(_only(two_objects=1, collides=0), "train"),
    "event": Group(_only(two_objects=0.5, collides=1, wall=1), "train"),
    "shots": Group(_only(two_shots=1), "train"),
}


@dataclass(frozen=True)
class Score:
    """One attribute of one clip: right or not, and where it is a quantity, its relative error or its size."""

    right: bool
    error: float | None = None


def wilson(right: int, num: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); the whole range where nothing was counted."""
    if num == 0:
        return 0.0, 1.0
    share, spread = right / num, z * z / num
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / num + spread / (4 * num)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def match(asked: Sequence[dict], seen: Sequence[Thing]) -> list[Thing | None]:
    """Who in the video was meant by whom in the prompt: the assignment with most words right, colours first."""
    padded = [*seen, *[None] * max(0, len(asked) - len(seen))]

    def agreement(order):
        pairs = [(wish, thing) for wish, thing in zip(asked, order, strict=False) if thing]
        return sum(
            (1.5 if word == "colour" else 1) * (wish[word] == t.words[word])
            for wish, t in pairs
            for word in OBJECT_WORDS
        )

    return list(max(permutations(padded, len(asked)), key=agreement))


def score(wish: dict, reading: Reading) -> dict[str, Score]:
    """Every attribute that the prompt's words (`scenes.attributes`) decide, read or missed."""
    scores: dict[str, list[Score]] = defaultdict(list)
    said = wish["shots"]
    seen = [*reading.things, *[[]] * max(0, len(said) - len(reading.things))]
    scores["shots"].append(Score(len(reading.things) == len(said)))
    for shot, things, words in zip(said, seen, [*reading.words["shots"], *[{}] * len(said)], strict=False):
        scores["background"].append(Score(words.get("background") == shot["background"]))
        meant = match(shot["objects"], things)
        scores["objects"].append(Score(len(things) == len(shot["objects"])))
        for asked, thing in zip(shot["objects"], meant, strict=True):
            for word in OBJECT_WORDS:
                scores[word].append(Score(thing is not None and thing.words[word] == asked[word]))
            if asked["motion"] in ("moves left", "moves right"):
                confused = thing is not None and thing.words["motion"] == OPPOSITES[asked["motion"]]
                scores["left-right"].append(Score(not confused))
        if len(said) == 1 and len(shot["objects"]) == 1 and wish["camera"] == "static" and wish["event"] == "none":
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


def _physics(asked: dict, thing: Thing | None) -> dict[str, Score]:
    """Gravity and bounce height of what falls or bounces; counted only where that motion was seen at all."""
    if thing is None or thing.motion is None:
        return {}
    if asked["motion"] not in ("bounces", "falls") or thing.words["motion"] != asked["motion"]:
        return {}
    expected = GRAVITY * float(PACE_SCALE[PACES.index(asked["pace"])]) ** 2
    if asked["motion"] == "falls":
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
    """What concerns two objects, or one object at two times."""
    scores = {}
    things = reading.things[0]
    asked = wish["shots"][0]["objects"]
    if len(asked) == 2:
        wanted = sorted((thing["colour"], thing["shape"]) for thing in asked)
        scores["binding"] = Score(sorted((t.words["colour"], t.words["shape"]) for t in things) == wanted)
    if wish["relation"] != "none":
        true = reading.relations
        meant = match(asked, things)
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
        kept = both and all(
            reading.things[0][0].words[word] == reading.things[1][0].words[word] for word in ("colour", "shape")
        )
        scores["permanence"] = Score(bool(kept))
    return scores


def summarise(scores: Iterable[dict[str, Score]]) -> dict[str, dict[str, float]]:
    """{attribute: accuracy, low, high, num, and the median error of quantities}."""
    by_name: dict[str, list[Score]] = defaultdict(list)
    for clip in scores:
        for name, value in clip.items():
            by_name[name].append(value)
    summary = {}
    for name, values in by_name.items():
        right, num = sum(value.right for value in values), len(values)
        low, high = wilson(right, num)
        summary[name] = {"accuracy": right / num, "low": low, "high": high, "num": num}
        errors = [value.error for value in values if value.error is not None]
        if errors:
            summary[name]["error"] = float(np.median(errors))
    return summary


def prompts(split: str, num: int, seed: int = 0) -> tuple[Scene, list[dict], list[str]]:
    """Scenes, their attributes and their canonical prompts for one split: the same for the same seed."""
    if split not in GROUPS:
        raise ValueError(f"unknown split {split!r}: choose from {', '.join(GROUPS)}")
    group = GROUPS[split]
    count = max(1, round(num * group.share))
    rng = np.random.default_rng([seed, list(GROUPS).index(split), 20240215])
    scene = sample_scenes(rng, count, group.split, group.mix)
    wishes = attributes(scene)
    return scene, wishes, [describe(wish) for wish in wishes]


def evaluate_world(
    generate: Generate, num: int = 256, seed: int = 0, splits: Sequence[str] = tuple(GROUPS), fps: float = 8.0
) -> Results:
    """Scores a function from prompts to clips. `seen` and `held_out` get `num` clips each, the others a quarter."""
    if num < 1:
        raise ValueError(f"{num} clips cannot be evaluated: ask for at least 1, e.g. 256")
    results = {}
    for split in splits:
        _, wishes, texts = prompts(split, num, seed)
        clips = generate(texts)
        results[split] = summarise(score(wish, read(clip, fps)) for wish, clip in zip(wishes, clips, strict=True))
    return results


def evaluate_truth(
    through: Callable[[Float[np.ndarray, "b t h w c"]], np.ndarray] | None = None,
    num: int = 256,
    seed: int = 0,
    splits: Sequence[str] = tuple(GROUPS),
    frames: int = 17,
    size: tuple[int, int] = (64, 64),
    fps: float = 8.0,
) -> Results:
    """The instrument's own accuracy on rendered clips, or on what `through` (an autoencoder) makes of them."""
    results = {}
    for split in splits:
        scene, wishes, _ = prompts(split, num, seed)
        video = np.asarray(render(scene, frames, *size, fps=fps)[0])
        video = video if through is None else np.asarray(through(video))
        clips = np.clip(np.round((video + 1) * 127.5), 0, 255).astype(np.uint8)
        results[split] = summarise(score(wish, read(clip, fps)) for wish, clip in zip(wishes, clips, strict=True))
    return results


def table(results: Results) -> str:
    """The results as text: a line per split and attribute, with interval, number of clips and median error."""
    lines = [f"{'split':10} {'attribute':14} {'accuracy':>8}  {'95% interval':15} {'clips':>5}  median error"]
    for split, summary in results.items():
        for name, value in summary.items():
            interval = f"{100 * value['low']:5.1f} to {100 * value['high']:5.1f}"
            error = f"{value['error']:.3f}" if "error" in value else ""
            line = f"{split:10} {name:14} {100 * value['accuracy']:7.1f}%  {interval:15} {value['num']:5d}  {error}"
            lines.append(line.rstrip())
    return "\n".join(lines)


def measure(options: World) -> Measured:
    """Asks a model for clips, reads them back and prints the accuracies."""
    pipeline = load(options.model)
    batch = options.batch or (1 if jax.default_backend() == "cpu" else 8)

    def request(prompts: Sequence[str], seed: int) -> Request:
        return Request(
            tuple(prompts),
            seed=seed,
            frames=options.frames,
            width=options.size[0],
            height=options.size[1],
            steps=options.steps,
            guidance_scale=options.guidance_scale,
            temperature=options.temperature,
        )

    def generate(prompts: list[str]) -> Iterator[Clip]:
        # A request gives all its prompts the same noise: each batch is a request with a seed of its own.
        for start in range(0, len(prompts), batch):
            one = request(prompts[start : start + batch], options.seed + start)
            for video in pipeline.stream(one, pipeline.plan(one), batch):
                yield video.frames

    results = evaluate_world(generate, options.num, options.seed, options.splits, pipeline.config.fps)
    print(table(results))
    plan = pipeline.plan(request(["a red ball"], options.seed))
    settings = f"num {options.num}, seed {options.seed}, {sampled_with(plan)}"
    return Measured(results, tables(results, options.tables), settings, markdown.folder_of(options.model))


def measure_truth(options: Instrument) -> Measured:
    """Renders clips, reads them and prints the accuracies."""
    results = evaluate_truth(None, options.num, options.seed, options.splits)
    print(table(results))
    return Measured(results, instrument_table(results), f"num {options.num}, seed {options.seed}")


def percent(value: dict[str, float] | None, interval: bool = True) -> str:
    """An accuracy, with its interval in brackets."""
    if value is None:
        return "-"
    between = f" ({100 * value['low']:.1f} to {100 * value['high']:.1f})" if interval else ""
    return f"{100 * value['accuracy']:.1f}%{between}"


def tables(results: Results, names: Sequence[str]) -> dict[str, str]:
    """The tables of these names for pages."""
    return {name: TABLES[name](results) for name in names}


def core_table(results: Results) -> str:
    """Every attribute of the splits seen and held out, with intervals."""
    seen, held_out = results["seen"], results["held_out"]
    rows = [[name, percent(value), percent(held_out.get(name))] for name, value in seen.items()]
    return markdown.table(["attribute", "seen", "held out"], rows)


def short_table(results: Results) -> str:
    """Those that have a bar."""
    rows = [
        [name, *(percent(results[split][name], interval=False) for split in ("seen", "held_out")), f"at least {bar}%"]
        for name, bar in BARS.items()
    ]
    return markdown.table(["read back from clips", "seen", "held out", "bar"], rows)


def parts_table(results: Results) -> str:
    """The other splits: the attribute that each is named after, the number of objects, and the whole prompt."""
    rows = [
        [split, *(percent(summary.get(name)) for name in (split, "objects", "prompt"))]
        for split, summary in results.items()
        if split not in CORE_SPLITS
    ]
    return markdown.table(["split", "what it is named after", "objects", "whole prompt"], rows)


def instrument_table(results: Results) -> dict[str, str]:
    """The lowest accuracy of any attribute in any split."""
    lowest, split, name = min(
        (value["accuracy"], split, name) for split, summary in results.items() for name, value in summary.items()
    )
    label = "every attribute" if lowest == 1 else f"lowest attribute: {name}, split {split.replace('_', ' ')}"
    row = [label, f"{100 * lowest:.1f}%", "at least 99%"]
    return {"instrument": markdown.table(["the reader on rendered clips", "measured", "bar"], [row])}


TABLES: dict[str, Callable[[Results], str]] = {
    "world": core_table,
    "world-short": short_table,
    "world-parts": parts_table,
}
"""The tables of `sorajax.evaluate world`, by the name of their marks."""
