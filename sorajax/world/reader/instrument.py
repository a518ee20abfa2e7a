"""Reads a video of the world back into words: what `scenes.attributes` says of a scene, seen from the pixels alone.

`segmentation.py` takes the video apart, `shapes.py` looks at silhouettes, `motions.py` at tracks. Nothing is learned,
nothing knows the prompt. A word that cannot be read is None.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sorajax.world.physics import BASE, FLOOR, SIDE, TOP
from sorajax.world.reader.motions import Motion, Track, momentum_error, read_motion
from sorajax.world.reader.segmentation import FILM, FLAT, NEON, SKETCH, Layer, Parted, ground_colour, part, shot_starts
from sorajax.world.reader.shapes import FILL, FOLDS, GLOW, OUTLINE, Fit, Poses, fit, grid, poses
from sorajax.world.scenes import BACKGROUNDS, CAMERAS, COLOURS, EVENTS, MOTIONS, PACES, SHAPES, SIZES, STILL, STYLES


@dataclass
class Thing:
    """One object in one shot: words and what was measured."""

    words: dict[str, str | None]
    track: Track
    motion: Motion | None
    floor: float  # y of the floor, units
    sides: tuple[str | None, str | None] = (None, None)  # its shape on either side of the wall


@dataclass
class Reading:
    """What a video shows. `words` has the form of `scenes.attributes`; `relations` holds all that are true."""

    words: dict
    things: list[list[Thing]]
    relations: frozenset[str]
    flicker: float
    momentum: float | None = None
    notes: dict = field(default_factory=dict)


def to_srgb(video) -> Float[np.ndarray, "t h w c"]:
    """uint8, or floats in [-1, 1], as floats in 0..255. Raises ValueError for anything but [t h w 3]."""
    video = np.asarray(video)
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(f"a video of shape {video.shape} cannot be read: it must be [t h w 3]")
    return video.astype(np.float32) if video.dtype == np.uint8 else (video.astype(np.float32) + 1) * 127.5


def read(video, fps: float = 8.0) -> Reading:
    """Reads uint8 or [-1, 1] floats [t h w 3] at `fps` frames per second."""
    frames = to_srgb(video)
    ground = ground_colour(frames)
    starts = [*shot_starts(ground), len(frames)]
    cut = len(starts) > 2
    parted = [part(frames[a:b], ground[a:b], fps) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    looked = [[_look(layer) for layer in shot.layers] for shot in parted]
    style = _style(parted, looked)
    shots, things = [], []
    for shot, looks, start in zip(parted, looked, starts[:-1], strict=True):
        times = (start + np.arange(len(shot.pan))) / fps
        seen = [
            _thing(layer, look, shot, times, style, may_fall=not cut)
            for layer, look in zip(shot.layers, looks, strict=True)
        ]
        things.append(seen)
        shots.append({"background": BACKGROUNDS[shot.background], "objects": [thing.words for thing in seen]})
    event, momentum = _event(parted[0], things[0], fps)
    words = {
        "shots": shots,
        "camera": CAMERAS[parted[0].camera],
        "style": STYLES[style],
        "event": event,
        "relation": "none",
    }
    flicker = float(np.mean([shot.flicker for shot in parted]))
    return Reading(words, things, _relations(things[0]), flicker, momentum)


def _look(layer: Layer) -> tuple[Poses, Fit]:
    """Poses and template errors of one object."""
    pose = poses(layer.alpha, layer.present)
    usable = layer.whole if layer.whole.sum() >= 3 else layer.present
    return pose, fit(layer.alpha, pose, usable if usable.any() else np.ones_like(usable))


def _style(parted: list[Parted], looked) -> int:
    """Film by its colours; otherwise outlines by their templates, neon by its glow and its darkened ground."""
    if np.mean([shot.film for shot in parted]) >= 0.5:
        return FILM
    errors = [look.error.min(1) for looks in looked for _, look in looks]  # [look] each
    error = np.mean(errors, 0) if errors else np.zeros(3)
    ground = np.mean([shot.darkened for shot in parted], 0)
    costs = {
        FLAT: ground[0] / 300 + 8 * error[FILL],
        SKETCH: ground[0] / 300 + 9.5 * error[OUTLINE],  # blur makes a thin ring look like an outline
        NEON: ground[1] / 300 + 8 * error[GLOW],
    }
    return min(costs, key=lambda style: costs[style])


LOOK = {FLAT: FILL, SKETCH: OUTLINE, NEON: GLOW, FILM: FILL}


def _thing(layer: Layer, looked, shot: Parted, times, style: int, may_fall: bool) -> Thing:
    pose, look = looked
    shape = int(look.error[LOOK[style]].argmin())
    radius = pose.radius[:, shape] * look.scale[LOOK[style], shape]
    trusted = layer.whole if layer.whole.sum() >= max(4, 0.3 * len(times)) else layer.present
    centre = pose.centre
    if shot.camera and layer.whole.sum() >= 3:
        centre, trusted = _complete(layer, centre, radius, shape, shot.zoom)
    centre = centre / shot.zoom[:, None] + np.stack([shot.pan, 0 * shot.pan], -1)
    track = Track(times, centre, radius / shot.zoom, pose.angle[:, shape], trusted, FOLDS[shape])
    motion = read_motion(track, may_fall) if len(times) > 1 else None
    size = motion.size if motion else int(np.median(track.radius[trusted]) > 0.12) if trusted.any() else None
    words = {
        "colour": COLOURS[layer.colour],
        "shape": SHAPES[shape],
        "size": None if size is None else SIZES[size],
        "motion": MOTIONS[motion.motion] if motion else None,
        "pace": PACES[motion.pace] if motion else None,
    }
    _, h, w = layer.alpha.shape
    sides = _sides(layer, pose, style, shot.wall) if shot.wall else (None, None)
    return Thing(words, track, motion, h / min(h, w) / 2 - FLOOR, sides)


def _complete(layer: Layer, centre, radius, shape: int, zoom):
    """Centres (units on screen) where the frame cuts an object of constant size off: from the edges still seen."""
    nominal = np.median((radius / zoom)[layer.whole])
    if np.ptp((radius / zoom)[layer.whole]) > 0.1 * nominal:
        return centre, layer.whole
    _, h, w = layer.alpha.shape
    x, y = grid(h, w)
    centre, trusted = centre.copy(), layer.whole.copy()
    reaches = (SIDE[shape], SIDE[shape], TOP[shape], BASE[shape])
    for i in np.flatnonzero(layer.present & ~layer.whole):
        ink = layer.alpha[i] > 0.5
        columns, rows = np.flatnonzero(ink.any(0)), np.flatnonzero(ink.any(1))
        if not len(columns):
            continue
        left, right, top, bottom = (reach * nominal * zoom[i] for reach in reaches)
        half = 0.5 / min(h, w)
        across, along = [], []
        if columns[0] > 0:
            across.append(x[columns[0]] - half + left)
        if columns[-1] < w - 1:
            across.append(x[columns[-1]] + half - right)
        if rows[0] > 0:
            along.append(y[rows[0]] - half + top)
        if rows[-1] < h - 1:
            along.append(y[rows[-1]] + half - bottom)
        if across and along:
            centre[i] = np.mean(across), np.mean(along)
            trusted[i] = True
    return centre, trusted


def _sides(layer: Layer, pose: Poses, style: int, wall: tuple[float, float]) -> tuple[str | None, str | None]:
    """The shape left and right of the wall, None where it was never whole."""
    _, h, w = layer.alpha.shape
    column = pose.centre[:, 0] * min(h, w) + w / 2
    shapes = []
    for side in (column < wall[0], column > wall[1]):
        usable = layer.whole & side
        error = fit(layer.alpha, pose, usable).error[LOOK[style]] if usable.any() else None
        shapes.append(None if error is None else SHAPES[int(error.argmin())])
    return shapes[0], shapes[1]


def _event(shot: Parted, things: list[Thing], fps: float) -> tuple[str, float | None]:
    """Collision: two objects that touch and exchange their velocities. The motions before it replace what was read."""
    if shot.wall:
        return EVENTS[2], None
    if len(things) != 2:
        return EVENTS[0], None
    first, second = (thing.track for thing in things)
    both = first.trusted & second.trusted
    if both.sum() < 6:
        return EVENTS[0], None
    gap = np.linalg.norm(first.centre - second.centre, axis=-1)
    reach = np.median(first.radius[both]) + np.median(second.radius[both])
    early = both & (first.times < 1.6)
    hit = int(np.where(early, gap, np.inf).argmin())
    times = first.times
    level = np.abs(np.median(first.centre[both, 1] - second.centre[both, 1])) < 0.05
    closing = both & (times <= times[hit]) & (times > times[hit] - 0.7)
    if not level or closing.sum() < 3:
        return EVENTS[0], None
    speeds = [np.polyfit(times[closing], track.centre[closing, 0], 1)[0] for track in (first, second)]
    toward = abs(speeds[0] - speeds[1])
    if gap[hit] > reach + toward / fps + 0.03 or toward < 0.1:
        return EVENTS[0], None
    before = both & (times <= times[hit] - 0.5 / fps)
    for thing in things:
        track = thing.track
        if before.sum() < 3:
            continue
        speed = np.polyfit(times[before], track.centre[before, 0], 1)[0]
        moves = abs(speed) > 0.25 * 0.25
        word = MOTIONS[STILL] if not moves else "moves right" if speed > 0 else "moves left"
        reading = Motion(MOTIONS.index(word), abs(speed) / 0.25 if moves else 1.0, float(np.median(track.radius)), 0.0)
        thing.motion = reading
        thing.words |= {"motion": word, "pace": PACES[reading.pace]}
    return EVENTS[1], momentum_error(first, second)


def _relations(things: list[Thing]) -> frozenset[str]:
    """Which relations of the first object to the second hold throughout."""
    if len(things) != 2:
        return frozenset()
    both = things[0].track.trusted & things[1].track.trusted
    if not both.any():
        return frozenset()
    gap = (things[0].track.centre - things[1].track.centre)[both]
    true = {"left of": gap[:, 0] < 0, "right of": gap[:, 0] > 0, "above": gap[:, 1] < 0, "below": gap[:, 1] > 0}
    return frozenset(name for name, holds in true.items() if holds.all())
