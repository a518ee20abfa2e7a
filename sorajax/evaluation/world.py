"""Evaluates how well a model of the world follows prompts: accuracy per attribute with Wilson's 95% intervals.

Each prompt is in canonical words (`captions.describe`). Its clip is sampled and read back by the reader
(`instrument.read`), which does not see the prompt. The splits:

- seen, held_out: one object, one shot, static camera, flat style, every attribute in the prompt; triples of colour,
  shape and motion that occur in training, and those that never do
- camera, style, relation, event, shots: prompts that add this part of the world, with triples of training

What is scored, `world.reader.scores` says. `prompt` is the share of clips in which every word of the prompt is right; a
quantity's `error` is the median.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.devices.distributed import sharing
from sorajax.devices.exchange import gather_objects
from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured, sampling_text
from sorajax.evaluation.options import CORE as CORE_SPLITS
from sorajax.evaluation.options import Instrument, World
from sorajax.sampling.loading import load
from sorajax.sampling.request import Request
from sorajax.world.captions import describe
from sorajax.world.draw import render
from sorajax.world.reader.instrument import read
from sorajax.world.reader.scores import Score, score
from sorajax.world.scenes import CORE, Scene, Split, WorldMix, attributes, sample_scenes

Clip = UInt8[np.ndarray, "t h w 3"]
Generate = Callable[[list[str]], Iterable[Clip | None]]
"""Prompts -> their clips, in order; None for a clip that another process makes."""
Found = TypeVar("Found")
Results = dict[str, dict[str, dict[str, float]]]

BARS = {"colour": 95, "background": 95, "shape": 85, "motion": 85}
"""Targets of the project, in percent of the clips."""


@dataclass(frozen=True)
class Group:
    """Prompts of one split: the distribution of their scenes, and the share of `num` clips."""

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


def wilson(right: int, num: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); (0, 1) for `num` 0."""
    if num == 0:
        return 0.0, 1.0
    share, spread = right / num, z * z / num
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / num + spread / (4 * num)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def summarise(scores: Iterable[dict[str, Score]]) -> dict[str, dict[str, float]]:
    """Returns {attribute: {accuracy, low, high, num}}, with the median `error` for quantities."""
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
    """Scenes of one split, their attributes and their canonical prompts; the seed determines them. Raises ValueError
    for an unknown split."""
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
    """Scores a function from prompts to clips (uint8 [t h w 3], at `fps`). The splits `seen` and `held_out` have `num`
    clips each, the others a quarter. Raises ValueError for `num` below 1."""
    if num < 1:
        raise ValueError(f"{num} clips cannot be evaluated: use at least 1, e.g. 256")
    results = {}
    for split in splits:
        _, wishes, texts = prompts(split, num, seed)
        clips = generate(texts)
        pairs = zip(wishes, clips, strict=True)
        scores = [None if clip is None else score(wish, read(clip, fps)) for wish, clip in pairs]
        results[split] = summarise(found for found in of_all_processes(scores) if found is not None)
    return results


def of_all_processes(scores: list[Found | None]) -> list[Found | None]:
    """The results of all clips, gathered from the processes that made them."""
    return [next((found for found in each if found is not None), None) for each in zip(*gather_objects(scores))]


def evaluate_truth(
    through: Callable[[Float[np.ndarray, "b t h w c"]], np.ndarray] | None = None,
    num: int = 256,
    seed: int = 0,
    splits: Sequence[str] = tuple(GROUPS),
    frames: int = 17,
    size: tuple[int, int] = (64, 64),
    fps: float = 8.0,
) -> Results:
    """The reader's accuracy on rendered clips, or on their reconstructions by `through`, an autoencoder. `size` is
    (height, width)."""
    results = {}
    for split in splits:
        scene, wishes, _ = prompts(split, num, seed)
        video = np.asarray(render(scene, frames, *size, fps=fps)[0])
        video = video if through is None else np.asarray(through(video))
        clips = np.clip(np.round((video + 1) * 127.5), 0, 255).astype(np.uint8)
        results[split] = summarise(score(wish, read(clip, fps)) for wish, clip in zip(wishes, clips, strict=True))
    return results


def table(results: Results) -> str:
    """The results as text: one line per split and attribute, with interval, number of clips and median error."""
    lines = [f"{'split':10} {'attribute':14} {'accuracy':>8}  {'95% interval':15} {'clips':>5}  median error"]
    for split, summary in results.items():
        for name, value in summary.items():
            interval = f"{100 * value['low']:5.1f} to {100 * value['high']:5.1f}"
            error = f"{value['error']:.3f}" if "error" in value else ""
            line = f"{split:10} {name:14} {100 * value['accuracy']:7.1f}%  {interval:15} {value['num']:5d}  {error}"
            lines.append(line.rstrip())
    return "\n".join(lines)


class Sampling(NamedTuple):
    """A model's clips for prompts, their rate, and the settings in words."""

    generate: Generate
    fps: float
    settings: str


def sampling(options: World) -> Sampling:
    """Opens a model to sample clips with these options."""
    pipeline = load(options.model, mesh=options.mesh)
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
            guidance_interval=options.guidance_interval,
            temperature=options.temperature,
        )

    processes = sharing(options.mesh)

    def generate(prompts: list[str]) -> Iterator[Clip | None]:
        # All prompts of a request have the same noise, so each batch is a request with its own seed.
        for number, start in enumerate(range(0, len(prompts), batch)):
            if number % processes.count != processes.index:
                yield from [None] * len(prompts[start : start + batch])
                continue
            one = request(prompts[start : start + batch], options.seed + start)
            for video in pipeline.stream(one, pipeline.plan(one), batch):
                yield video.frames

    plan = pipeline.plan(request(["a red ball"], options.seed))
    settings = f"num {options.num}, seed {options.seed}, {sampling_text(plan)}"
    return Sampling(generate, pipeline.config.fps, settings)


def measure(options: World) -> Measured:
    """Samples clips of a model, reads them back and prints the accuracies."""
    generate, fps, settings = sampling(options)
    results = evaluate_world(generate, options.num, options.seed, options.splits, fps)
    print(table(results))
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
    return {name: TABLES[name.replace("-fast", "")](results) for name in names}


def core_table(results: Results) -> str:
    """Every attribute of the splits seen and held out, with intervals."""
    seen, held_out = results["seen"], results["held_out"]
    rows = [[name, percent(value), percent(held_out.get(name))] for name, value in seen.items()]
    return markdown.table(["attribute", "seen", "held out"], rows)


def short_table(results: Results) -> str:
    """The attributes that have a bar."""
    rows = [
        [name, *(percent(results[split][name], interval=False) for split in ("seen", "held_out")), f"at least {bar}%"]
        for name, bar in BARS.items()
    ]
    return markdown.table(["read back from clips", "seen", "held out", "bar"], rows)


def parts_table(results: Results) -> str:
    """The other splits: accuracy of the attribute that names the split, of the number of objects, and of the prompt."""
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
