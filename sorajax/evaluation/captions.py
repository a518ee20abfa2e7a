"""Accuracy of captions, of expansions and of the score's retrieval, in the world.

A caption is read by the world's grammar (`world.grammar`) and compared with the clip's attributes: its precision is the
share of the attributes it states that are right, its recall the share of the clip's attributes that it states. A
detailed caption implies the defaults of attributes that it omits; a short one leaves them open. The clips:

- seen, held_out: rendered clips of the whole mix, of triples of colour, shape and motion that occur in training, and of
  those that never do; the captioner reads each through the autoencoder's encoder
- decoded: the same as `seen`, decoded by the autoencoder and read again; also what the reader (`world.reader`) finds
  there, without a captioner
- generated: clips of the model for canonical prompts; their truth is what the reader reads there, not the prompt, so no
  captioner can be expected to do better than the reader does on decoded clips

The part `sampling` measures how expansion changes accuracy: the model makes a clip of a short prompt and, from the same
noise, one of its expansion. A clip is right where it has all that the short prompt says.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sorajax.errors import note
from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured
from sorajax.evaluation.options import Captions
from sorajax.evaluation.world import wilson
from sorajax.language.captioner import VideoCaptioner, open_captioner, seen, shots
from sorajax.language.expander import Expander, keeps
from sorajax.language.score import open_score
from sorajax.media.video import Frames, Video
from sorajax.sampling.loading import load
from sorajax.world.captions import Register, captions, describe
from sorajax.world.draw import render
from sorajax.world.grammar import completed, facts, stated
from sorajax.world.reader.instrument import Reading, read
from sorajax.world.scenes import RELATIONS, Scene, attributes, sample_scenes

BATCH = 32
SWAPPED = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
BARS = {"precision": 97, "recall": 97, "whole": 85}
"""Targets, in percent."""
RETRIEVED = 100
"""Captions among which the score finds a clip's own."""
Facts = dict[tuple[Any, ...], str]


def measure(options: Captions) -> Measured:
    """Measures what the options choose, and prints the tables."""
    captioner = open_captioner(options.captioner)
    results: dict[str, Any] = {}
    scene, clips = rendered(options.num, options.seed, "train")
    if "seen" in options.parts:
        results["seen"] = judged(captioner, clips, list(map(facts, attributes(scene))))
    if "held_out" in options.parts:
        other, unseen = rendered(options.num, options.seed, "held_out")
        results["held_out"] = judged(captioner, unseen, list(map(facts, attributes(other))))
    pipeline = load(options.model) if {"decoded", "generated", "sampling"} & set(options.parts) else None
    if pipeline is not None and "decoded" in options.parts:
        again = [pipeline.codec.decode(captioner.latents([clip]), *clip.shape[1:3])[0] for clip in clips]
        truths = list(map(facts, attributes(scene)))
        readings = [facts_of(read(clip, 8.0)) for clip in again]
        results["decoded"] = judged(captioner, again, truths) | {"read by the instrument": counted(readings, truths)}
    if pipeline is not None and "generated" in options.parts:
        made = generated(pipeline, options.generated, options.seed)
        results["generated"] = judged(captioner, made, [facts_of(read(clip, 8.0)) for clip in made])
    tables = {"captions": captions_table(results)} if results else {}
    if "expansion" in options.parts:
        results["expansion"] = expanded(Expander(captioner.writer), options.num, options.seed)
        tables["expansion"] = expansion_table(results["expansion"])
    if pipeline is not None and "sampling" in options.parts:
        results["sampling"] = sampled(pipeline, Expander(captioner.writer), options.num, options.seed)
        tables["expansion-clips"] = sampling_table(results["sampling"])
    if "score" in options.parts:
        results["score"] = retrieved(clips, scene, options.seed)
        tables["retrieval"] = retrieval_table(results["score"])
    print(*tables.values(), sep="\n")
    settings = f"num {options.num}, seed {options.seed}"
    folder = captioner.folder if tables else markdown.NO_WEIGHTS
    return Measured(results, tables, settings, folder)


def rendered(num: int, seed: int, split: Any) -> tuple[Scene, list[Frames]]:
    """Scenes and their clips."""
    scene = sample_scenes(np.random.default_rng([seed, 32, split == "train"]), num, split)
    video = np.asarray(render(scene, 17, 64, 64)[0])
    return scene, list(np.clip(np.round((video + 1) * 127.5), 0, 255).astype(np.uint8))


def generated(pipeline: Any, num: int, seed: int) -> list[Frames]:
    """Clips that a model makes of canonical prompts."""
    scene = sample_scenes(np.random.default_rng([seed, 33]), num, "train")
    prompts = [describe(words) for words in attributes(scene)]
    return [pipeline(prompt, seed=seed + number)[0].frames for number, prompt in enumerate(prompts)]


def facts_of(reading: Reading) -> Facts:
    """The attributes that the reader found. All relations that hold between two objects are in one value."""
    words = facts(reading.words)
    if len(reading.things[0]) == 2 and words["event",] == "none":
        words["relation",] = " ".join(name for name in RELATIONS if name in reading.relations) or "none"
    return words


def judged(captioner: VideoCaptioner, clips: Sequence[Frames], truths: Sequence[Facts]) -> dict[str, dict[str, Any]]:
    """Per register, counts of attributes and captions that are right."""
    ready, writer = [shots(seen(Video(clip, 8.0)))[0] for clip in clips], captioner.writer
    parts = [captioner.latents(ready[start : start + BATCH]) for start in range(0, len(ready), BATCH)]
    memories = [writer.read_clip(latents) for latents in parts]
    registers: tuple[Register, ...] = "short", "detailed", "canonical"
    return {
        register: summary(register, [text for memory in memories for text in writer.write(memory, register)[0]], truths)
        for register in registers
    }


def summary(register: str, texts: Sequence[str], truths: Sequence[Facts]) -> dict[str, Any]:
    """Counts of attributes that captions state, see `counted`."""
    read = map(stated, texts)
    is_short = register == "short"
    found = [{} if words is None else facts(words if is_short else completed(words)) for words in read]
    return counted(found, truths, is_short)


def counted(found: Sequence[Facts], truths: Sequence[Facts], is_short: bool = False) -> dict[str, Any]:
    """Counts of attributes that are stated, true and both, and of clips whose attributes are all right; where it
    `is_short`, of those that are stated."""
    counts = {"right": 0, "stated": 0, "true": 0, "whole": 0, "captions": len(found)}
    wrong: dict[str, int] = {}
    for said, truth in zip(found, truths, strict=True):
        right, truth = max(
            ((agreement(said, one), one) for one in (truth, swapped(truth))), key=lambda pair: len(pair[0])
        )
        counts["right"] += len(right)
        counts["stated"] += len(said)
        counts["true"] += len(truth)
        is_whole = bool(said) and len(right) == len(said) and (is_short or len(right) == len(truth))
        counts["whole"] += is_whole
        for name in {*said, *truth} - right if not is_whole else ():
            if not is_short or name in said:
                wrong[str(name[-1])] = wrong.get(str(name[-1]), 0) + 1
    return {**counts, "wrong": dict(sorted(wrong.items(), key=lambda item: -item[1]))}


def agreement(said: Facts, truth: Facts) -> set[tuple[Any, ...]]:
    """The names of attributes on which a caption and a clip agree; one of several relations suffices."""
    return {
        name
        for name, value in said.items()
        if name in truth and (value == truth[name] or (name == ("relation",) and value in relations(truth[name])))
    }


def relations(value: str) -> list[str]:
    """The relations in a value of `facts_of`."""
    return [name for name in RELATIONS[1:] if name in value]


def swapped(truth: Facts) -> Facts:
    """The same clip with its two objects in the other order."""
    if (0, 1, "shape") not in truth:
        return truth
    other = {(name[0], 1 - name[1], name[2]) if len(name) == 3 else name: value for name, value in truth.items()}
    if names := relations(truth["relation",]):
        other["relation",] = " ".join(SWAPPED[name] for name in names)
    return other


def expanded(expand: Callable[[str, int], str], num: int, seed: int) -> dict[str, int]:
    """How many short prompts are expanded, and how many expansions keep all that the prompt states."""
    rng = np.random.default_rng([seed, 34])
    prompts = captions(sample_scenes(rng, num, "all"), rng, "short")
    texts = [expand(prompt, seed + number) for number, prompt in enumerate(prompts)]
    lengthened = [(prompt, text) for prompt, text in zip(prompts, texts, strict=True) if text != prompt]
    kept = sum(keeps(text.lower(), stated(prompt) or {}) for prompt, text in lengthened)
    return {"prompts": num, "expanded": len(lengthened), "kept": kept}


def sampled(pipeline: Any, expand: Callable[[str, int], str], num: int, seed: int) -> dict[str, dict[str, Any]]:
    """For short prompts and for their expansions, counts of attributes of the short prompt that the model's clips have,
    and of clips that have all."""
    rng = np.random.default_rng([seed, 36])
    prompts = captions(sample_scenes(rng, num, "train"), rng, "short")
    expansions = [expand(prompt, seed + number) for number, prompt in enumerate(prompts)]
    found = {}
    for name, texts in (("as typed", prompts), ("expanded", expansions)):
        clips = (pipeline(text, seed=seed + number)[0] for number, text in enumerate(texts))
        found[name] = summary("short", prompts, [facts_of(read(clip.frames, clip.fps)) for clip in clips])
    return found


def retrieved(clips: Sequence[Frames], scene: Scene, seed: int) -> dict[str, dict[str, int]]:
    """How often the caption of a clip has the highest score among `RETRIEVED`."""
    score, rng = open_score(), np.random.default_rng([seed, 35])
    ready = [shots(seen(Video(clip, 8.0)))[0] for clip in clips]
    if len(ready) < RETRIEVED:
        note(f"{len(ready)} clips are fewer than {RETRIEVED}: say --num {RETRIEVED} or more")
    latents = np.concatenate([score.captioner.latents(ready[i : i + BATCH]) for i in range(0, len(ready), BATCH)])
    found = {}
    for register in ("short", "detailed"):
        texts, right, total = captions(scene, rng, register), 0, 0  # type: ignore[arg-type]
        for start in range(0, len(ready) - RETRIEVED + 1, RETRIEVED):
            part = slice(start, start + RETRIEVED)
            right += int(np.sum(score.matrix(latents[part], texts[part]).argmax(1) == np.arange(RETRIEVED)))
            total += RETRIEVED
        found[register] = {"right": right, "total": total}
    return found


def percent(count: int, total: int) -> str:
    """A share with its interval."""
    low, high = wilson(count, total)
    return f"{100 * count / max(1, total):.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def captions_table(results: dict[str, Any]) -> str:
    """Precision, recall and whole captions, per kind of clips and register."""
    rows = []
    for clips, registers in results.items():
        for register, counts in registers.items():
            recall = "-" if register == "short" else percent(counts["right"], counts["true"])
            precision = percent(counts["right"], counts["stated"])
            whole = percent(counts["whole"], counts["captions"])
            rows.append([clips.replace("_", " "), register, precision, recall, whole])
    rows.append(["bar", "", *(f"at least {bar}%" for bar in BARS.values())])
    return markdown.table(["clips", "register", "precision", "recall", "whole caption"], rows)


def expansion_table(counts: dict[str, int]) -> str:
    """Table of the expansions that keep what the prompt states."""
    rows = [
        ["short prompts expanded", percent(counts["expanded"], counts["prompts"]), "-"],
        ["expansions that keep every attribute", percent(counts["kept"], counts["expanded"]), "100%"],
    ]
    return markdown.table(["expander", "measured", "bar"], rows)


def sampling_table(results: dict[str, dict[str, Any]]) -> str:
    """Clips of short prompts and of their expansions."""
    rows = [
        [name, percent(counts["right"], counts["stated"]), percent(counts["whole"], counts["captions"])]
        for name, counts in results.items()
    ]
    return markdown.table(["short prompts", "attributes right", "whole prompt right"], rows)


def retrieval_table(results: dict[str, dict[str, int]]) -> str:
    """Retrieval, per register."""
    rows = [
        [
            f"{register} caption of a clip found among {RETRIEVED}",
            percent(found["right"], found["total"]),
            "at least 95%",
        ]
        for register, found in results.items()
    ]
    return markdown.table(["score", "measured", "bar"], rows)
