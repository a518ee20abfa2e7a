"""A second reader, of clips with one object, one shot, a static camera and the flat style: it fits the world's own
equations to the pixels, and has no code in common with the first (`instrument.py`).

With B the background, C the object's colour and m(place, radius, angle) the coverage of a shape, the world draws the
frame B + m (C - B). Each word is the candidate with the least squared error, in this order:

1. background: B over all frames; a pixel's error is limited, so that those of the object count little
2. colour: C, with any coverage from 0 to 1 for each pixel; decided again once the shape is known
3. shape: for each shape and frame, place, radius and angle by Levenberg-Marquardt, from the best of templates at all
   places (by FFT); the shape is that of the least error over all frames
4. motion, pace and size: each motion's equations (`physics.py`) at each pace, fitted to the places, radii and angles of
   all frames. Radii take part because those of `grows` change, angles because those of `spins` do.

Lengths are in units of the shorter side, times in seconds.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from scipy import fft, ndimage

from sorajax.world.draw import backdrop, distance
from sorajax.world.physics import (
    BASE,
    FLOOR,
    GRAVITY,
    GROWTH,
    LARGEST,
    NAMED,
    ORBIT,
    SIDE,
    SMALLEST,
    SPEED,
    TOP,
    TURN,
)
from sorajax.world.scenes import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOUR_RGB,
    COLOURS,
    PACE_SCALE,
    PACES,
    RADIUS,
    SHAPES,
    SIZES,
)

ATTRIBUTES = ("background", "colour", "shape", "size", "motion", "pace")
PERIOD = np.array((0, 1 / 4, 1 / 3, 1 / 5, 0)) * 2 * np.pi
"""Angle after which a shape looks the same; 0 for those that always do."""
LIMIT = 40.0
"""Largest error of a pixel, in levels, that counts in the choice of the background."""
EXPLAINED = 0.3
"""Share of the pixels' deviation from the background that an object explains at least."""
RADII = np.geomspace(0.05, 0.27, 11)
"""Radii of the templates."""
TURNS = (1, 2, 3, 3, 1)
"""Angles from which the fit of each shape starts."""
REACH, STEP = 2.5, 0.02
"""Half width and resolution of the table of distances, in radii."""
OUTLIER = 0.06
"""Largest deviation of one frame from a motion that counts."""


class Fit(NamedTuple):
    """One shape in every frame."""

    shape: int
    x: Float[np.ndarray, " t"]
    y: Float[np.ndarray, " t"]
    radius: Float[np.ndarray, " t"]
    angle: Float[np.ndarray, " t"]
    error: Float[np.ndarray, " t"]


class Path(NamedTuple):
    """What a motion predicts: places, the radius of an object that does not change, and the summed squared error."""

    motion: str
    pace: str
    radius: float
    error: float


def read_by_fitting(frames: UInt8[np.ndarray, "t h w 3"], fps: float = 8.0) -> dict[str, str | None]:
    """The words of a clip: background, colour, shape, size, motion and pace.

    Motion and pace of a single frame are None, and all but the background where no object is found. Raises ValueError
    for frames of another form."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"frames of shape {frames.shape} cannot be read: give [t h w 3], 1 frame or more")
    video = np.asarray(frames, np.float32)
    words: dict[str, str | None] = dict.fromkeys(ATTRIBUTES)
    ground = _background(video)
    words["background"] = BACKGROUNDS[ground]
    change = video - _backgrounds(*video.shape[1:3])[ground]
    colour = _colour_of_any_cover(change, ground)
    contrast = COLOUR_RGB[colour] - BACKGROUND_RGB[ground]
    cover = change @ (contrast / (contrast @ contrast))
    fit = min(_fits(cover), key=lambda fit: float(fit.error.sum()))
    if fit.error.sum() > (1 - EXPLAINED) * np.square(cover).sum():
        return words
    words["colour"] = COLOURS[_colour(change, ground, fit)]
    words["shape"] = SHAPES[fit.shape]
    path = min(paths(fit, np.arange(len(video)) / fps, *video.shape[1:3]), key=lambda path: path.error)
    words["size"] = SIZES[int(path.radius > np.sqrt(RADIUS[0] * RADIUS[1]))]
    if len(video) > 1:
        words |= {"motion": path.motion, "pace": path.pace}
    return words


@lru_cache(maxsize=4)
def _backgrounds(height: int, width: int) -> Float[np.ndarray, "n h w 3"]:
    light = np.asarray(backdrop(0.0, 1.0, height, width))[0, 0, ..., None]
    return (BACKGROUND_RGB[:, None, None] * (1 - light) + 255 * light).astype(np.float32)


def _background(video) -> int:
    still = _backgrounds(*video.shape[1:3])
    errors = [np.minimum(np.square(video - one).sum(-1), LIMIT**2).mean() for one in still]
    return int(np.argmin(errors))


def _colour_of_any_cover(change, ground: int) -> int:
    """The colour whose mixtures with the background are closest to the frames."""
    errors = []
    for contrast in COLOUR_RGB - BACKGROUND_RGB[ground]:
        cover = np.clip(change @ (contrast / (contrast @ contrast)), 0, 1)
        errors.append(np.square(change - cover[..., None] * contrast).sum())
    return int(np.argmin(errors))


def _colour(change, ground: int, fit: Fit) -> int:
    """The colour that is closest to the frames where the shape covers them."""
    states = np.stack([fit.x, fit.y, fit.radius, fit.angle], -1)
    x, y = _places(*change.shape[1:3])
    cover = _cover(fit.shape, states, x[None, None], y[None, :, None], min(change.shape[1:3]))[0]
    errors = [np.square(change - cover[..., None] * contrast).sum() for contrast in COLOUR_RGB - BACKGROUND_RGB[ground]]
    return int(np.argmin(errors))


def _places(height: int, width: int):
    """x [w] and y [h] of the pixel centres."""
    unit = min(height, width)
    return (np.arange(width) + 0.5 - width / 2) / unit, (np.arange(height) + 0.5 - height / 2) / unit


@lru_cache(maxsize=8)
def _distances(shape: int) -> Float[np.ndarray, "3 n n"]:
    """Signed distance to a shape of radius 1 and its derivatives in x and y, on a grid of (y, x). Distances scale with
    the radius, so this table serves all."""
    steps = np.arange(-REACH, REACH + STEP / 2, STEP)
    gap = np.asarray(distance(shape, steps[None, :], steps[:, None], 1.0))
    by_y, by_x = np.gradient(gap, STEP)
    return np.stack([gap, by_x, by_y]).astype(np.float32)


def _cover(shape: int, states: Float[np.ndarray, "n 4"], x, y, unit: float):
    """Coverage at (x, y), broadcast against [n 1 1], and its derivatives [n 4 h w] in place, radius and angle.

    The derivatives are those of an edge three pixels wide, so that a shape that is a little off finds its place."""
    centre_x, centre_y, radius, angle = (column[:, None, None] for column in states.T)
    cosine, sine = np.cos(angle), np.sin(angle)
    dx, dy = (x - centre_x) / radius, (y - centre_y) / radius
    u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
    index = np.stack([v, u]) / STEP + REACH / STEP
    gap, by_u, by_v = (
        ndimage.map_coordinates(table, index, order=1, mode="nearest", output=np.float32) for table in _distances(shape)
    )
    edge = unit * radius * gap
    slope = np.where(np.abs(edge) < 1.5, -unit / 3, 0)
    by_x, by_y = cosine * by_u - sine * by_v, sine * by_u + cosine * by_v
    partial = np.stack([-by_x, -by_y, gap - by_u * u - by_v * v, radius * (by_u * v - by_v * u)], 1)
    return np.clip(0.5 - edge, 0, 1), slope[:, None] * partial


def _fits(cover: Float[np.ndarray, "t h w"]) -> Iterator[Fit]:
    """The best fit of every shape to the coverage of the frames."""
    height, width = cover.shape[1:]
    unit = min(height, width)
    for shape, start in enumerate(_best_templates(cover)):
        turns = np.arange(TURNS[shape]) * PERIOD[shape] / TURNS[shape]
        states = np.concatenate([np.column_stack([start, np.full(len(cover), turn)]) for turn in turns])
        targets = np.tile(np.arange(len(cover)), len(turns))
        window = int(np.ceil((1.3 * start[:, 2].max()) * unit)) + 3
        states, errors = _refine(shape, states, targets, cover, window, 4 if len(turns) > 1 else 8)
        if len(turns) > 1:  # the best angle of each frame goes on
            best = np.argmin(errors.reshape(len(turns), -1), 0) * len(cover) + np.arange(len(cover))
            states, errors = _refine(shape, states[best], targets[best], cover, window, 6)
        x, y, radius, angle = states.T
        yield Fit(shape, x, y, radius, angle, errors)


def _best_templates(cover) -> list[Float[np.ndarray, "t 3"]]:
    """For each shape, place and radius of the upright template with the least squared error in each frame."""
    frames, height, width = cover.shape
    unit = min(height, width)
    margin = int(RADII[-1] * unit)
    size = [fft.next_fast_len(side + margin, real=True) for side in (height, width)]
    spectrum = fft.rfft2(cover, size)
    x, y = _places(height, width)
    column, row = ((np.arange(side) + side // 2) % side - side // 2 for side in reversed(size))
    found = []
    for shape in range(len(SHAPES)):
        best, start = np.full(frames, np.inf), np.zeros((frames, 3))
        for radius in RADII:
            state = np.array([[0.0, 0.0, radius, 0.0]])
            template = _cover(shape, state, column[None, None] / unit, row[None, :, None] / unit, unit)[0][0]
            agreement = fft.irfft2(spectrum * np.conj(fft.rfft2(template)), size)[:, :height, :width]
            errors = np.square(template).sum() - 2 * agreement.reshape(frames, -1)
            place = errors.argmin(1)
            error = errors[np.arange(frames), place]
            new = np.column_stack([x[place % width], y[place // width], np.full(frames, radius)])
            start = np.where((error < best)[:, None], new, start)
            best = np.minimum(error, best)
        found.append(start)
    return found


def _refine(shape: int, states, targets, cover, window: int, rounds: int):
    """Levenberg-Marquardt for a batch of states [n 4] against the frames `targets`, in a window of 2 `window` + 1
    pixels around each; errors [n] are those of whole frames."""
    height, width = cover.shape[1:]
    unit = min(height, width)
    padded = np.pad(cover, ((0, 0), (window, window), (window, window)))
    column = np.rint(states[:, 0] * unit + width / 2 - 0.5).astype(int).clip(0, width - 1)
    row = np.rint(states[:, 1] * unit + height / 2 - 0.5).astype(int).clip(0, height - 1)
    offsets = np.arange(2 * window + 1)
    seen = padded[targets[:, None, None], (row[:, None] + offsets)[:, :, None], (column[:, None] + offsets)[:, None]]
    x = ((column[:, None] + offsets - window + 0.5 - width / 2) / unit)[:, None]
    y = ((row[:, None] + offsets - window + 0.5 - height / 2) / unit)[:, :, None]
    free = 4 if PERIOD[shape] else 3
    limit = np.array([1.5 / unit, 1.5 / unit, 1.5 / unit, 0.3])[:free]
    damping = np.full(len(states), 0.01)
    predicted, partial = _cover(shape, states, x, y, unit)
    errors = np.square(seen - predicted).sum((1, 2))
    for _ in range(rounds):
        jacobian = partial[:, :free].reshape(len(states), free, -1)
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        diagonal = np.einsum("nii->ni", normal)
        damped = normal + np.einsum("ni,ij->nij", damping[:, None] * diagonal + 1e-3, np.eye(free))
        gradient = (jacobian @ (seen - predicted).reshape(len(states), -1, 1))[..., 0]
        step = np.clip(np.linalg.solve(damped, gradient[..., None])[..., 0], -limit, limit)
        trial = states.copy()
        trial[:, :free] += step
        trial[:, 2] = trial[:, 2].clip(0.03, 0.3)
        new_predicted, new_partial = _cover(shape, trial, x, y, unit)
        new_errors = np.square(seen - new_predicted).sum((1, 2))
        better = new_errors < errors
        states, errors = np.where(better[:, None], trial, states), np.where(better, new_errors, errors)
        predicted = np.where(better[:, None, None], new_predicted, predicted)
        partial = np.where(better[:, None, None, None], new_partial, partial)
        damping = np.where(better, damping / 3, damping * 5)
    outside = np.square(cover).sum((1, 2))[targets] - np.square(seen).sum((1, 2))
    return states, errors + outside


def paths(fit: Fit, time: Float[np.ndarray, " t"], height: int, width: int) -> Iterator[Path]:
    """Every motion at every pace, with the best of its other parameters."""
    unit = min(height, width)
    bottom = height / unit / 2
    r = float(np.median(fit.radius))
    resting = {
        "x": _misses(fit.x - np.median(fit.x)),
        "y": _misses(fit.y - np.median(fit.y)),
        "radius": _misses(fit.radius - r),
        "angle": _misses(r * _wrapped(fit.angle, fit.shape)),
    }

    def path(motion: str, pace: int, base: float = r, **errors: float) -> Path:
        return Path(motion, PACES[pace], base, float(sum((resting | errors).values())))

    yield path("stands still", 1)
    for pace, scale in enumerate(PACE_SCALE):
        rates = scale * np.linspace(0.85, 1.15, 13)
        for axis, places, motions, low, high in (
            ("x", fit.x, ("moves left", "moves right"), -width / unit / 2 + r * SIDE[fit.shape], None),
            ("y", fit.y, ("moves up", "moves down"), -bottom + r * TOP[fit.shape], bottom - r * BASE[fit.shape]),
        ):
            for motion, sign in zip(motions, (-1, 1), strict=True):
                yield path(motion, pace, **{axis: _slide(sign * places, time, rates, *_range(sign, low, high))})
        yield path("bounces", pace, y=_flight(fit, time, scale, bottom - FLOOR, r, bounces=True))
        yield path("falls", pace, y=_flight(fit, time, scale, bottom - FLOOR, r, bounces=False))
        yield path("circles", pace, x=0.0, y=_circle(fit, time, rates))
        if PERIOD[fit.shape]:
            yield path("spins", pace, angle=_spin(fit, time, rates, r))
        for motion in ("grows", "shrinks"):
            base, error = _growth(fit.radius, time, rates, motion == "grows")
            yield path(motion, pace, base, radius=error)


def _misses(deviation):
    """Summed squares over frames, the last axis; a frame's deviation counts up to OUTLIER."""
    return np.minimum(np.square(deviation), OUTLIER**2).sum(-1)


def _wrapped(angle, shape: int):
    """An angle modulo the shape's symmetry, around 0; 0 for a shape without angles."""
    period = PERIOD[shape]
    return (angle + period / 2) % period - period / 2 if period else np.zeros_like(angle)


def _range(sign: int, low: float, high: float | None) -> tuple[float, float]:
    """The interval of a motion that goes forward, seen in its direction."""
    high = -low if high is None else high
    return (low, high) if sign > 0 else (-high, -low)


def _fold(place, low, high):
    """Reflects a place into [low, high]."""
    return low + np.abs((place - low + high - low) % (2 * (high - low)) - (high - low))


def _slide(places, time, rates, low: float, high: float) -> float:
    """Forward between two edges, with reflection; NAMED seconds pass before the first."""
    high = max(high, low + 0.05)
    speed = np.minimum(SPEED * rates, (high - low) / NAMED)[:, None]
    start = low + np.linspace(0, 1, 81) * (high - low - speed * NAMED)
    predicted = _fold(start[..., None] + speed[..., None] * time, low, high)
    return float(_misses(places - predicted).min())


def _flight(fit: Fit, time, pace: float, floor: float, radius: float, bounces: bool) -> float:
    """Heights of a bounce, from a phase of its period, or of a fall that ends on the floor."""
    ground, gravity = floor - radius * BASE[fit.shape], GRAVITY * pace**2
    height = np.linspace(0.33, 0.57, 25)[:, None, None]
    half = np.sqrt(2 * height / gravity)
    if bounces:
        since = (time + np.linspace(0, 0.5, 26)[:, None] * half + half) % (2 * half) - half
    else:
        since = np.minimum(time, half)
    return float(_misses(fit.y - (ground - height + gravity / 2 * since**2)).min())


def _circle(fit: Fit, time, rates) -> float:
    """Clockwise around a hub: least squares in the complex plane for each speed."""
    places = fit.x + 1j * fit.y
    turned = np.exp(2j * np.pi * rates[:, None] * time / ORBIT)
    around = turned - turned.mean(-1, keepdims=True)
    arm = (np.conj(around) @ places) / np.maximum(np.square(np.abs(around)).sum(-1), 1e-9)
    arm *= np.clip(np.abs(arm), 0.15, 0.32) / np.maximum(np.abs(arm), 1e-9)
    deviation = places - places.mean() - arm[:, None] * around
    return float(_misses(np.abs(deviation)).min())


def _spin(fit: Fit, time, rates, radius: float) -> float:
    """Clockwise turns from any angle."""
    first = np.linspace(0, PERIOD[fit.shape], 36, endpoint=False)[:, None, None]
    turned = fit.angle - 2 * np.pi * rates[:, None] * time / TURN - first
    return float(_misses(radius * _wrapped(turned, fit.shape)).min())


def _growth(radii, time, rates, grows: bool) -> tuple[float, float]:
    """The object's own radius, and the error, of a change of size."""
    share = np.clip(rates[:, None] * time / GROWTH, 0, 1)
    scale = SMALLEST + (LARGEST - SMALLEST) * (share if grows else 1 - share)
    base = (scale @ radii) / np.square(scale).sum(-1)
    errors = _misses(radii - base[:, None] * scale)
    return float(base[errors.argmin()]), float(errors.min())
