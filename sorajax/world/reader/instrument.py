"""Recovers the attributes (`scenes.attributes`) of a clip of the world from its pixels alone.

`segmentation.py` segments the video, `shapes.py` classifies silhouettes, `motions.py` tracks. Nothing is learned, and
nothing depends on the prompt. An attribute that cannot be read is None.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sorajax.world.physics import BASE, FLOOR, SIDE, TOP
from sorajax.world.reader.motions import Motion, Track, momentum_error, read_motion
from sorajax.world.reader.segmentation import (
    FILM,
    FLAT,
    NEON,
    SKETCH,
    Layer,
    Segmentation,
    ground_colour,
    segment,
    shot_starts,
)
from sorajax.world.reader.shapes import FILL, FOLDS, GLOW, OUTLINE, Fit, Poses, fit, grid, poses
from sorajax.world.scenes import BACKGROUNDS, CAMERAS, COLOURS, EVENTS, MOTIONS, PACES, SHAPES, SIZES, STILL, STYLES


@dataclass
class Thing:
    """One object in one shot: its attributes in words, and the measurements."""

    words: dict[str, str | None]
    track: Track
    motion: Motion | None
    floor: float  # y of the floor, units
    sides: tuple[str | None, str | None] = (None, None)  # shape left and right of the wall


@dataclass
class Reading:
    """Attributes of a video. `words` has the form of `scenes.attributes`; `relations` are all that hold throughout."""

    words: dict
    things: list[list[Thing]]
    relations: frozenset[str]
    flicker: float
    momentum: float | None = None
    notes: dict = field(default_factory=dict)


def to_srgb(video) -> Float[np.ndarray, "t h w c"]:
    """A video, uint8 or floats in [-1, 1], as floats in 0..255. Raises ValueError for shapes other than [t h w 3]."""
    video = np.asarray(video)
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(f"a video of shape {video.shape} cannot be read: it must be [t h w 3]")
    return video.astype(np.float32) if video.dtype == np.uint8 else (video.astype(np.float32) + 1) * 127.5


def read(video, fps: float = 8.0) -> Reading:
    """The attributes of a video [t h w 3], uint8 or floats in [-1, 1], at `fps` frames per second.

    Raises ValueError for other shapes.
    """
    frames = to_srgb(video)
    ground = ground_colour(frames)
    starts = [*shot_starts(ground), len(frames)]
    cut = len(starts) > 2
    segmented = [segment(frames[a:b], ground[a:b], fps) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    fits = [[_fit_layer(layer) for layer in shot.layers] for shot in segmented]
    style = _style(segmented, fits)
    shots, things = [], []
    for shot, shot_fits, start in zip(segmented, fits, starts[:-1], strict=True):
        times = (start + np.arange(len(shot.pan))) / fps
        objects = [
            _thing(layer, layer_fit, shot, times, style, may_fall=not cut)
            for layer, layer_fit in zip(shot.layers, shot_fits, strict=True)
        ]
        things.append(objects)
        shots.append({"background": BACKGROUNDS[shot.background], "objects": [thing.words for thing in objects]})
    event, momentum = _event(segmented[0], things[0], fps)
    words = {
        "shots": shots,
        "camera": CAMERAS[segmented[0].camera],
        "style": STYLES[style],
        "event": event,
        "relation": "none",
    }
    flicker = float(np.mean([shot.flicker for shot in segmented]))
    return Reading(words, things, _relations(things[0]), flicker, momentum)


def _fit_layer(layer: Layer) -> tuple[Poses, Fit]:
    """Poses of one object, and its template errors."""
    pose = poses(layer.alpha, layer.present)
    usable = layer.whole if layer.whole.sum() >= 3 else layer.present
    return pose, fit(layer.alpha, pose, usable if usable.any() else np.ones_like(usable))


def _style(segmented: list[Segmentation], fits) -> int:
    """The style: film from its muted colours; otherwise sketch from the outline templates, neon from the glow templates
    and the darkened background."""
    if np.mean([shot.film for shot in segmented]) >= 0.5:
        return FILM
    errors = [layer_fit.error.min(1) for shot_fits in fits for _, layer_fit in shot_fits]  # [look] each
    error = np.mean(errors, 0) if errors else np.zeros(3)
    ground = np.mean([shot.darkened for shot in segmented], 0)
    costs = {
        FLAT: ground[0] / 300 + 8 * error[FILL],
        SKETCH: ground[0] / 300 + 9.5 * error[OUTLINE],  # a blurred thin ring resembles an outline
        NEON: ground[1] / 300 + 8 * error[GLOW],
    }
    return min(costs, key=lambda style: costs[style])


LOOK = {FLAT: FILL, SKETCH: OUTLINE, NEON: GLOW, FILM: FILL}


def _thing(layer: Layer, layer_fit, shot: Segmentation, times, style: int, may_fall: bool) -> Thing:
    pose, templates = layer_fit
    shape = int(templates.error[LOOK[style]].argmin())
    radius = pose.radius[:, shape] * templates.scale[LOOK[style], shape]
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
    """Screen centres, in units, also where the frame crops an object of constant size: from its visible edges."""
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
    """The shape left and right of the wall, None where it was never entirely visible."""
    _, h, w = layer.alpha.shape
    column = pose.centre[:, 0] * min(h, w) + w / 2
    shapes = []
    for side in (column < wall[0], column > wall[1]):
        usable = layer.whole & side
        error = fit(layer.alpha, pose, usable).error[LOOK[style]] if usable.any() else None
        shapes.append(None if error is None else SHAPES[int(error.argmin())])
    return shapes[0], shapes[1]


def _event(shot: Segmentation, things: list[Thing], fps: float) -> tuple[str, float | None]:
    """(event, momentum error). A collision is two objects at one height that approach each other and touch; their
    motions before it replace those read from the whole track."""
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
    """The relations of the first object to the second that hold in all frames."""
    if len(things) != 2:
        return frozenset()
    both = things[0].track.trusted & things[1].track.trusted
    if not both.any():
        return frozenset()
    gap = (things[0].track.centre - things[1].track.centre)[both]
    true = {"left of": gap[:, 0] < 0, "right of": gap[:, 0] > 0, "above": gap[:, 1] < 0, "below": gap[:, 1] > 0}
    return frozenset(name for name, holds in true.items() if holds.all())
