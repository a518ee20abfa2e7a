"""Evaluates every task in the world: inputs are rendered clips, and results are read back by the reader.

held       input frames in the result: PSNR in dB, or the largest difference of a pixel value
seam       the change from the last input frame to the first new one is at most a quarter larger than the largest
           of its neighbours, more than aliasing of even motion causes
drift      largest difference of the channels' means and standard deviations between the four frames before and
           after a seam, in percent of the range
velocity   of objects that move left or right and do not turn at the frame's edge, before and after a seam: the two
           differ by at most 20%
monotone   objects that move left or right never move back
words      as in `sorajax.evaluation.world`: the share of clips in which the reader finds the prompt's words
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Float, UInt8

from sorajax.evaluation.reconstruction import psnr
from sorajax.evaluation.world import prompts
from sorajax.tasks.table import TASKS
from sorajax.world.captions import describe
from sorajax.world.draw import render
from sorajax.world.reader.instrument import Reading, read
from sorajax.world.scenes import COLOURS, CORE, Scene, attributes, sample_scenes

Clip = UInt8[np.ndarray, "t h w 3"]
SEAM = 4  # frames on either side
GIVEN = 9  # frames of an input clip
LENGTH = 17
SIDEWAYS = ("moves left", "moves right")
SAME_SPEED = 0.2
RANGE = 1.25


class Ask(Protocol):
    """Samples one clip: `ask("extend", prompt, seed, clip, direction="forward", frames=8)`; see `sorajax.tasks`."""

    def __call__(self, task: str, prompt: str, seed: int, *inputs: Any, **settings: Any) -> Clip: ...


class Figure(NamedTuple):
    """One measured value; `bar` is the project's target, `least` whether it is a lower bound."""

    value: float
    unit: str
    num: int
    bar: float | None = None
    least: bool = True

    @property
    def met(self) -> bool | None:
        return None if self.bar is None else self.value >= self.bar if self.least else self.value <= self.bar


Row = dict[str, Figure]


class RenderedClip(NamedTuple):
    """A rendered clip with its attributes and its prompt."""

    words: dict
    prompt: str
    clip: Clip


def rendered_clips(num: int, seed: int, frames: int = LENGTH, motions: tuple[str, ...] = ()) -> list[RenderedClip]:
    """Rendered clips [t 64 64 3] of one object; with `motions` only of these motions."""
    scene = sample_scenes(np.random.default_rng([seed, 7]), 16 * num if motions else num, "train", CORE)
    words = attributes(scene)
    chosen = [i for i, one in enumerate(words) if not motions or object_words(one)["motion"] in motions][:num]
    scene = Scene(*jax.tree.map(lambda leaf: leaf[np.array(chosen)], tuple(scene)))
    clips = np.clip(np.round((np.asarray(render(scene, frames, 64, 64)[0]) + 1) * 127.5), 0, 255).astype(np.uint8)
    return [RenderedClip(words[i], describe(words[i]), clip) for i, clip in zip(chosen, clips, strict=True)]


def object_words(words: dict) -> dict:
    """The attributes of the only object."""
    return words["shots"][0]["objects"][0]


def read_word(reading: Reading, word: str, shot: int = 0) -> str | None:
    """The reader's word for an attribute of a shot's first object or of its background; None if it saw none."""
    shots = reading.words["shots"]
    if len(shots) <= shot:
        return None
    if word == "background":
        return shots[shot]["background"]
    return shots[shot]["objects"][0][word] if shots[shot]["objects"] else None


def strength_of(task: str) -> dict[str, float]:
    """The default strength of an edit or a blend."""
    return {"strength": TASKS[task].options["strength"]}


def share(values: Iterable[bool], bar: float = 100) -> Figure:
    """The percentage of true values."""
    values = list(values)
    return Figure(100 * float(np.mean(values or [False])), "%", len(values), bar)


def median(values: Iterable[float], unit: str, bar: float | None = None, least: bool = True) -> Figure:
    values = list(values)
    return Figure(float(np.median(values)), unit, len(values), bar, least)


def decibels(given: Clip, made: Clip) -> float:
    return float(psnr(given[None] / 127.5 - 1.0, made[None] / 127.5 - 1.0)[0])


def changes(clip: Clip) -> Float[np.ndarray, " t-1"]:
    """The mean change of a pixel value from each frame to the next."""
    return np.abs(np.diff(clip.astype(np.float32), axis=0)).mean((1, 2, 3))


def no_jump(clip: Clip, seam: int) -> bool:
    """Whether the change from frame seam - 1 to frame seam is at most `RANGE` times the largest change near it."""
    change = changes(clip)
    neighbours = [*change[max(0, seam - 1 - SEAM) : seam - 1], *change[seam : seam + SEAM]]
    return bool(change[seam - 1] <= RANGE * max(neighbours))


def drift(clip: Clip, seam: int) -> float:
    """Largest difference of a channel's mean or standard deviation between the sides of a seam, in percent of the
    range."""
    sides = [clip[seam - SEAM : seam].astype(np.float32), clip[seam : seam + SEAM].astype(np.float32)]
    figures = [np.concatenate([side.mean((0, 1, 2)), side.std((0, 1, 2))]) for side in sides]
    return float(np.abs(figures[0] - figures[1]).max() / 2.55)


def speed(clip: Clip, fps: float) -> float | None:
    """Velocity along x of the only object, in the world's units per second; None if the reader does not find it."""
    things = read(clip, fps).things[0]
    if not things or things[0].track.trusted.sum() < 3:
        return None
    track = things[0].track
    return float(np.polyfit(track.times[track.trusted], track.centre[track.trusted, 0], 1)[0])


def same_speed(clip: Clip, seam: int, fps: float) -> bool:
    """Whether the object's velocity after the seam is within 20% of that before it."""
    before, after = speed(clip[:seam], fps), speed(clip[seam:], fps)
    return before is not None and after is not None and abs(after - before) <= SAME_SPEED * abs(before)


def one_way(clip: Clip, motion: str, fps: float) -> bool:
    """Whether the only object moves in the direction of `motion`, and never back."""
    things = read(clip, fps).things[0]
    way = -1 if motion == "moves left" else 1
    steps = np.diff(things[0].track.centre[things[0].track.trusted, 0]) if things else np.zeros(0)
    return len(steps) >= 4 and bool((way * steps > -0.01).all())


def animate(ask: Ask, num: int, seed: int, fps: float) -> Row:
    pairs = [
        (rendered, ask("animate", rendered.prompt, seed + i, rendered.clip[:1]))
        for i, rendered in enumerate(rendered_clips(num, seed))
    ]
    readings = [(rendered, read(clip, fps)) for rendered, clip in pairs]
    row = {
        "picture against the first frame": median(
            (decibels(rendered.clip[:1], clip[:1]) for rendered, clip in pairs), "dB", 30
        )
    }
    for word in ("colour", "shape", "motion"):
        row[word] = share(
            read_word(reading, word) == object_words(rendered.words)[word] for rendered, reading in readings
        )
    return row


def extend(ask: Ask, num: int, seed: int, fps: float, direction: str = "forward") -> Row:
    forward, found = direction == "forward", []
    for i, rendered in enumerate(rendered_clips(num, seed, GIVEN + 8, SIDEWAYS)):
        given = rendered.clip[:GIVEN] if forward else rendered.clip[-GIVEN:]
        clip = ask("extend", rendered.prompt, seed + i, given, direction=direction, frames=8)
        kept = clip[:GIVEN] if forward else clip[-GIVEN:]
        found.append(
            (clip, GIVEN if forward else len(clip) - GIVEN, np.abs(kept.astype(int) - given).max(), rendered.clip)
        )
    return {
        "change of the input frames": Figure(
            float(max(change for _, _, change, _ in found)), "of 255", len(found), 0, False
        ),
        "no jump at the seam": share(no_jump(clip, seam) for clip, seam, *_ in found),
        "colour drift at the seam": median((drift(clip, seam) for clip, seam, *_ in found), "% of range", 1, False),
        "same velocity": share(
            same_speed(clip, seam, fps) for clip, seam, _, truth in found if same_speed(truth, seam, fps)
        ),
    }


def extend_backward(ask: Ask, num: int, seed: int, fps: float) -> Row:
    return extend(ask, num, seed, fps, "backward")


def remix(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """A part of a clip, extended on both sides."""
    new, found, change = 8, [], 0
    for i, rendered in enumerate(rendered_clips(num, seed, GIVEN + 2 * new, SIDEWAYS)):
        part = rendered.clip[new : new + GIVEN]
        clip = ask("extend", rendered.prompt, seed + i, part, direction="both", frames=new)
        change = max(change, int(np.abs(clip[new : new + GIVEN].astype(int) - part).max()))
        found.append(clip)
    return {"change of the input frames": Figure(float(change), "of 255", len(found), 0, False)} | seams(
        (clip, seam) for clip in found for seam in (new, new + GIVEN)
    )


def seams(where: Iterable[tuple[Clip, int]]) -> Row:
    """Figures of the seams of clips, each a (clip, seam)."""
    where = list(where)
    return {
        "no jump at the seams": share(no_jump(clip, seam) for clip, seam in where),
        "colour drift at the seams": median((drift(clip, seam) for clip, seam in where), "% of range", 1, False),
    }


def between(ask: Ask, num: int, seed: int, fps: float) -> Row:
    held, monotone = [], []
    for i, rendered in enumerate(rendered_clips(num, seed, 14, SIDEWAYS)):
        ends = rendered.clip[:1], rendered.clip[-1:]
        clip = ask("between", rendered.prompt, seed + i, *ends, frames=14)
        held.append(min(decibels(ends[0], clip[:1]), decibels(ends[1], clip[-1:])))
        monotone.append(one_way(clip, object_words(rendered.words)["motion"], fps))
    return {"both end frames kept": median(held, "dB", 30), "monotone motion": share(monotone)}


def fill(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """A gap of eight frames in a clip; the object must move on through it (unless it turns at the frame's edge)."""
    found, change, around = [], 0, slice(GIVEN - 2, GIVEN + 10)
    for i, rendered in enumerate(rendered_clips(num, seed, 2 * GIVEN + 8, SIDEWAYS)):
        gapped = rendered.clip.copy()
        gapped[GIVEN:-GIVEN] = 0
        clip = ask("fill", rendered.prompt, seed + i, gapped, gap=(GIVEN / fps, (GIVEN + 8) / fps))
        known = np.r_[:GIVEN, len(clip) - GIVEN : len(clip)]
        change = max(change, int(np.abs(clip[known].astype(int) - rendered.clip[known]).max()))
        found.append((clip, rendered))
    return {
        "change of the input frames": Figure(float(change), "of 255", len(found), 0, False),
        **seams((clip, seam) for clip, _ in found for seam in (GIVEN, len(clip) - GIVEN)),
        "monotone motion": share(
            one_way(clip[around], object_words(rendered.words)["motion"], fps)
            for clip, rendered in found
            if one_way(rendered.clip[around], object_words(rendered.words)["motion"], fps)
        ),
    }


def connect(ask: Ask, num: int, seed: int, fps: float) -> Row:
    found, change = [], 0
    for i, rendered in enumerate(rendered_clips(num, seed, 2 * GIVEN + 8, SIDEWAYS)):
        first, second = rendered.clip[:GIVEN], rendered.clip[-GIVEN:]
        clip = ask("connect", rendered.prompt, seed + i, first, second, frames=8)
        kept = np.concatenate([clip[:GIVEN], clip[-GIVEN:]])
        change = max(change, int(np.abs(kept.astype(int) - np.concatenate([first, second])).max()))
        found.append(clip)
    return {"change of the input frames": Figure(float(change), "of 255", len(found), 0, False)} | seams(
        (clip, seam) for clip in found for seam in (GIVEN, len(clip) - GIVEN)
    )


def blend(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """One clip turns into another: it begins with the first one's background, ends with the other's, without a jump."""
    ends, smooth = [], []
    for i, (first, second) in enumerate(zip(rendered_clips(num, seed), rendered_clips(num, seed + 1), strict=True)):
        clip = ask("blend", second.prompt, seed + i, first.clip, second.clip, **strength_of("blend"))
        for rendered, part in (first, clip[:SEAM]), (second, clip[-SEAM:]):
            ends.append(read_word(read(part, fps), "background") == rendered.words["shots"][0]["background"])
        smooth.append(all(no_jump(clip, seam) for seam in range(SEAM, len(clip) - SEAM)))
    return {"each end keeps its clip's background": share(ends), "no jump inside the clip": share(smooth)}


def loop(ask: Ask, num: int, seed: int, fps: float) -> Row:
    pairs = [(rendered, ask("loop", rendered.prompt, seed + i)) for i, rendered in enumerate(rendered_clips(num, seed))]
    twice = [np.concatenate([clip, clip]) for _, clip in pairs]
    return {
        "no jump from the last frame to the first": share(no_jump(both, len(both) // 2) for both in twice),
        "colour": share(
            read_word(read(clip, fps), "colour") == object_words(rendered.words)["colour"] for rendered, clip in pairs
        ),
    }


def edit(ask: Ask, num: int, seed: int, fps: float) -> Row:
    wanted, readings, same, outside, free = [], [], [], 0, []
    for i, rendered in enumerate(rendered_clips(num, seed)):
        words = object_words(rendered.words)
        colour = COLOURS[(COLOURS.index(words["colour"]) + 1 + i % (len(COLOURS) - 1)) % len(COLOURS)]
        prompt = rendered.prompt.replace(f" {words['colour']} ", f" {colour} ", 1)
        wanted.append((rendered, colour))
        readings.append(read(ask("edit", prompt, seed + i, rendered.clip, **strength_of("edit")), fps))
        if i < max(1, num // 4):
            same.append(decibels(rendered.clip, ask("edit", prompt, seed + i, rendered.clip, strength=0.0)))
            alone = ask("text", prompt, seed + i)
            free.append(
                np.abs(ask("edit", prompt, seed + i, rendered.clip, strength=1.0).astype(int) - alone).max() <= 1
            )
            mask = np.zeros((64, 64), bool)
            mask[:, 32:] = True
            masked = ask("edit", prompt, seed + i, rendered.clip, strength=0.9, mask=mask)
            outside = max(outside, int(np.abs(masked.astype(int) - rendered.clip)[:, ~mask].max()))
    pairs = list(zip(wanted, readings, strict=True))
    return {
        "colour as prompted": share(read_word(reading, "colour") == colour for (_, colour), reading in pairs),
        "motion kept": share(
            read_word(reading, "motion") == object_words(rendered.words)["motion"] for (rendered, _), reading in pairs
        ),
        "background kept": share(
            read_word(reading, "background") == rendered.words["shots"][0]["background"]
            for (rendered, _), reading in pairs
        ),
        "strength 0 keeps the clip": median(same, "dB", 30),
        "strength 1 ignores the clip": share(free),
        "changed outside the mask": Figure(float(outside), "of 255", len(same), 0, False),
    }


def storyboard(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """Two scenes of 2 s without a cut between them, and a cut to a third one with the same object."""
    followed, seams, drifts, same = [], [], [], []
    for i, rendered in enumerate(rendered_clips(num, seed, motions=SIDEWAYS)):
        words = object_words(rendered.words)
        noun, place = f"{words['size']} {words['colour']} {words['shape']}", rendered.words["shots"][0]["background"]
        motions = words["motion"], "stands still", "bounces"
        board = [(f"a {noun} {motions[0]} on a {place} floor", 17), (f"a {noun} {motions[1]} on a {place} floor", 16)]
        board.append((f"the same {noun} {motions[2]} on a {place} floor", 17))
        scenes = [(prompt, frames / fps, number == 2) for number, (prompt, frames) in enumerate(board)]
        clip = ask("storyboard", "", seed + i, scenes=scenes)
        parts = clip[:17], clip[17:33], clip[33:]
        readings = [read(part, fps) for part in parts]
        followed += [read_word(reading, "motion") == motion for reading, motion in zip(readings, motions, strict=True)]
        seams.append(no_jump(clip, 17))
        drifts.append(drift(clip, 17))
        same.append(all(read_word(readings[2], word) == read_word(readings[0], word) for word in ("colour", "shape")))
    return {
        "each scene moves as prompted": share(followed),
        "no jump where a scene continues": share(seams),
        "colour drift where a scene continues": median(drifts, "% of range", 1, False),
        "the same object after the cut": share(same),
    }


def cut_to(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """Two shots from one prompt with "Cut to:"."""
    readings = [read(ask("text", text, seed + i), fps) for i, text in enumerate(prompts("shots", 4 * num, seed)[2])]
    two = [len(reading.words["shots"]) == 2 for reading in readings]
    same = [
        both and read_word(reading, "colour") == read_word(reading, "colour", 1) for both, reading in zip(two, readings)
    ]
    return {"two shots": share(two), "the same colour in both": share(same)}


def style(ask: Ask, num: int, seed: int, fps: float) -> Row:
    names = ("flat", "sketch", "neon", "film")
    found = [
        read(ask("text", f"{rendered.prompt}. The style is {names[i % 4]}.", seed + i), fps).words["style"]
        == names[i % 4]
        for i, rendered in enumerate(rendered_clips(num, seed))
    ]
    return {"style as prompted": share(found)}


def image(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """Still images in four sizes."""
    sizes, found = ((64, 64), (96, 64), (64, 96), (96, 96)), []
    for i, rendered in enumerate(rendered_clips(num, seed)):
        words, (width, height) = object_words(rendered.words) | rendered.words["shots"][0], sizes[i % len(sizes)]
        prompt = f"a {words['size']} {words['colour']} {words['shape']} on a {words['background']} floor"
        picture = ask("text", prompt, seed + i, frames=1, width=width, height=height)
        found.append((words, read(picture, fps)))
    return {
        word: share(read_word(reading, word) == words[word] for words, reading in found)
        for word in ("colour", "shape", "background")
    }


def negative(ask: Ask, num: int, seed: int, fps: float) -> Row:
    """A prompt that leaves the colour open is made once, and again with the colour that came in the negative prompt."""
    other = []
    for i, rendered in enumerate(rendered_clips(num, seed)):
        shape = object_words(rendered.words)["shape"]
        prompt = f"a {shape} {object_words(rendered.words)['motion']}"
        colour = read_word(read(ask("text", prompt, seed + i), fps), "colour")
        again = ask("text", prompt, seed + i, negative=f"a {colour} {shape}")
        other.append(read_word(read(again, fps), "colour") not in (colour, None))
    return {"another colour than the one named": share(other)}


def minute(ask: Ask, num: int, seed: int, fps: float, seconds: float = 60) -> Row:
    """One film of a bouncing ball: attributes in each stretch of `LENGTH` frames, drift of the background's colour, and
    the time relative to a film of half the length."""

    def film(length: float) -> tuple[Clip, float]:
        started = time.perf_counter()
        return ask("text", "a red ball bounces on a grey floor", seed, seconds=length), time.perf_counter() - started

    film(seconds / 2)  # compiles the programs of the other two
    clip, spent = film(seconds)
    half = film(seconds / 2)[1]
    parts = [clip[start : start + LENGTH] for start in range(0, len(clip) - LENGTH + 1, LENGTH - 1)]
    readings = [read(part, fps) for part in parts]
    ground = np.median(clip.astype(np.float32), (1, 2))
    first = ground[: round(fps)].mean(0)
    return {
        "colour kept": share((read_word(reading, "colour") == "red" for reading in readings), 95),
        "shape kept": share((read_word(reading, "shape") == "ball" for reading in readings), 95),
        "still bouncing": share(read_word(reading, "motion") == "bounces" for reading in readings),
        "background drift": Figure(float(np.abs(ground - first).max() / 2.55), "% of range", len(clip), 3, False),
        "time of the film / of half of it": Figure(spent / half, "x", 1, 2.2, False),
    }


ROWS: dict[str, Callable[..., Row]] = {
    "animate": animate,
    "extend forward": extend,
    "extend backward": extend_backward,
    "remix": remix,
    "between": between,
    "fill": fill,
    "connect": connect,
    "blend": blend,
    "loop": loop,
    "edit": edit,
    "storyboard": storyboard,
    "cut to": cut_to,
    "image": image,
    "negative": negative,
    "style": style,
    "minute": minute,
}


def evaluate_tasks(
    ask: Ask, num: int, seed: int, fps: float, names: Iterable[str] = tuple(ROWS), seconds: float = 60
) -> Iterator[tuple[str, Row]]:
    """Yields (name, row) as they are measured. Each row has `num` clips; `minute` has one film of `seconds` seconds."""
    for name in names:
        yield name, minute(ask, num, seed, fps, seconds) if name == "minute" else ROWS[name](ask, num, seed, fps)


def lines(name: str, row: Row) -> Iterator[str]:
    """A row as text, one line per figure."""
    for what, figure in row.items():
        bar = "" if figure.bar is None else f"bar {figure.bar:g}, {'met' if figure.met else 'NOT MET'}"
        yield f"{name:16} {what:40} {figure.value:8.2f} {figure.unit:10} {figure.num:4d}  {bar}".rstrip()
