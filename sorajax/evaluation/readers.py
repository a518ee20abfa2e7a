"""Compares two readers of different methods on the same clips: `instrument.read`, whose scores are in all tables and
gave the reward of reinforcement learning, and `fitting.read_by_fitting`.

A model that has learned to please the first reader, and not to do what prompts say, is less often right for the second.
Both read rendered clips too: what they get wrong there is their own error.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Readers
from sorajax.evaluation.world import Clip, of_all_processes, prompts, sampling
from sorajax.world.draw import render
from sorajax.world.reader.fitting import ATTRIBUTES, read_by_fitting
from sorajax.world.reader.instrument import read
from sorajax.world.reader.scores import OBJECT_WORDS, match

Words = dict[str, str | None]
Comparison = dict[str, dict[str, float]]
"""{attribute: {reader, fitting, same, num}}: two accuracies, and the share of clips on which both readers agree."""
RENDERED = "rendered"


class Pair(NamedTuple):
    """The words of a prompt, and those that each reader finds in its clip."""

    wish: Words
    reader: Words
    fitting: Words


def wished(wish: dict) -> Words:
    """The words of a prompt with one object, from its attributes (`scenes.attributes`)."""
    shot = wish["shots"][0]
    return {"background": shot["background"], **shot["objects"][0]}


def read_words(clip: Clip, wish: dict, fps: float) -> Words:
    """The words of the first reader; of several objects, those of the one that is most like the prompt's."""
    reading = read(clip, fps)
    shot = wish["shots"][0]
    thing = match(shot["objects"], reading.things[0] if reading.things else [])[0]
    background = reading.words["shots"][0].get("background") if reading.words["shots"] else None
    return {"background": background, **{word: thing.words[word] if thing else None for word in OBJECT_WORDS}}


def pairs(wishes: Sequence[dict], clips: Iterable[Clip | None], fps: float) -> list[Pair]:
    """Both readers' words for each clip."""
    found = [
        None if clip is None else Pair(wished(wish), read_words(clip, wish, fps), read_by_fitting(clip, fps))
        for wish, clip in zip(wishes, clips, strict=True)
    ]
    return [pair for pair in of_all_processes(found) if pair is not None]


def compare(found: Sequence[Pair]) -> Comparison:
    """Both accuracies, and the share of clips on which the readers agree: on the word, and for `prompt`, on whether all
    words are right."""
    result, all_right = {}, []
    for name in ATTRIBUTES:
        wish, reader, fitting = (np.array([words[name] for words in column], object) for column in zip(*found))
        all_right.append((reader == wish, fitting == wish))
        result[name] = _shares(*all_right[-1], reader == fitting)
    reader, fitting = np.all(all_right, axis=0)
    return result | {"prompt": _shares(reader, fitting, reader == fitting)}


def _shares(reader, fitting, same) -> dict[str, float]:
    shares = {"reader": reader, "fitting": fitting, "same": same}
    return {name: float(values.mean()) for name, values in shares.items()} | {"num": len(same)}


def differences(found: Sequence[Pair]) -> list[dict]:
    """The clips on which the readers disagree, by number, with the words in which they do."""
    return [
        {"clip": number, "wish": pair.wish, "reader": pair.reader, "fitting": pair.fitting, "words": words}
        for number, pair in enumerate(found)
        if (words := [name for name in ATTRIBUTES if pair.reader[name] != pair.fitting[name]])
    ]


def measure(options: Readers) -> Measured:
    """Samples clips of a model, renders as many, and prints both readers' accuracies."""
    generate, fps, settings = sampling(options)
    width, height = options.size
    results: dict[str, Comparison] = {}
    apart: dict[str, list[dict]] = {}
    for split in options.splits:
        scene, wishes, texts = prompts(split, options.num, options.seed)
        clips = {split: generate(texts)}
        if split == options.splits[0]:
            video = np.asarray(render(scene, options.frames, height, width, fps)[0])
            clips[RENDERED] = np.round((video + 1) * 127.5).astype(np.uint8)
        for name, some in clips.items():
            found = pairs(wishes, some, fps)
            results[name], apart[name] = compare(found), differences(found)
    print(text(results, apart))
    table = markdown.table(*columns(results))
    figures = {"accuracy": results, "differences": apart}
    return Measured(figures, {options.tables[0]: table}, settings, markdown.folder_of(options.model))


def columns(results: dict[str, Comparison]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: three columns for each split, a row for each attribute."""
    names = sorted(results, key=lambda split: split == RENDERED)
    header = [f"{split.replace('_', ' ')}: {what}" for split in names for what in ("reader", "fitting", "agreement")]
    rows = [
        [
            name,
            *(f"{100 * results[split][name][what]:.1f}%" for split in names for what in ("reader", "fitting", "same")),
        ]
        for name in (*ATTRIBUTES, "prompt")
    ]
    return ["attribute", *header], rows


def text(results: dict[str, Comparison], apart: dict[str, list[dict]]) -> str:
    """The table as text, and a line for each clip on which the readers disagree."""
    header, rows = columns(results)
    lines = ["  ".join(f"{cell:>{len(title)}}" for cell, title in zip(row, header)) for row in (header, *rows)]
    for split, found in apart.items():
        for one in found:
            said = ", ".join(f"{one['reader'][name]} or {one['fitting'][name]}" for name in one["words"])
            lines.append(f"{split} {one['clip']}: {said} (asked: {' '.join(map(str, one['wish'].values()))})")
    return "\n".join(lines)
