"""Segmentation of a video of the world: shots, background, camera, wall, and an alpha matte of each object.

A pixel is modelled as a blend: `pixel = backdrop + alpha * (paint - backdrop)`. Backdrop and paint come from the
world's palettes in one of the styles; `shapes.py` classifies the alpha. The methods are classical: medians, nearest
colours, connected components, and for the camera a correlation with the background's dots.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from sorajax.world.draw import WALL_RGB, backdrop, develop
from sorajax.world.physics import PAN, PAN_FROM, WALL_WIDTH, ZOOM, ZOOM_TIME
from sorajax.world.scenes import BACKGROUND_RGB, COLOUR_RGB, STYLES

FLAT, SKETCH, NEON, FILM = range(4)
DARK = 124  # upper bound of all channels of all backgrounds, dots included; every object colour exceeds it in one
CORRELATED = 0.2  # least correlation of the camera; below it there are no visible dots
VISIBLE = 30  # least distance (sRGB) of an object's pixels from the backdrop


def _palette(rgb, glows: bool) -> Float[np.ndarray, "style n c"]:
    rgb = np.broadcast_to(np.asarray(rgb, np.float32), (len(STYLES), *np.shape(rgb)))
    return np.asarray(jax.jit(develop, static_argnums=2)(rgb, np.arange(len(STYLES)), glows))


@lru_cache
def palettes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Backgrounds [style 5 3], paints [style 8 3], lamps [style 3] and walls [style 3] of every style."""
    lamps, walls = _palette(((255, 255, 255),), False)[:, 0], _palette((WALL_RGB,), False)[:, 0]
    return _palette(BACKGROUND_RGB, False), _palette(COLOUR_RGB, True), lamps, walls


@dataclass
class Layer:
    """One object: the index of its colour, its alpha, and the frames in which it is present and entirely visible."""

    colour: int
    alpha: Float[np.ndarray, "t h w"]
    present: Bool[np.ndarray, " t"]
    whole: Bool[np.ndarray, " t"]  # neither at the frame's edge nor at the wall


@dataclass
class Segmentation:
    """A segmented shot. `film` and `darkened` distinguish styles by their colours; outlines are classified later."""

    background: int
    film: bool
    darkened: Float[np.ndarray, " two"]  # squared distance to the plain and to the neon background colour
    pan: Float[np.ndarray, " t"]
    zoom: Float[np.ndarray, " t"]
    camera: int
    wall: tuple[float, float] | None  # left and right edge in pixels
    layers: list[Layer] = field(default_factory=list)
    flicker: float = 0.0  # mean absolute change of still background pixels from frame to frame, in 0..255


def total(x: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "..."]:
    """The sum over three channels: for so few, several times as fast as numpy's reduction, and equal to it."""
    return x[..., 0] + x[..., 1] + x[..., 2]


def largest(x: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "..."]:
    """The largest of three channels."""
    return np.maximum(np.maximum(x[..., 0], x[..., 1]), x[..., 2])


def distance(x: Float[np.ndarray, "... c"]) -> Float[np.ndarray, "..."]:
    """The Euclidean norm over three channels."""
    return np.sqrt(total(np.square(x)))


def ground_colour(frames: Float[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t c"]:
    """The background colour of each frame: the most frequent dark colour, refined by the mean of similar ones."""
    colours = np.empty((len(frames), 3), np.float32)
    for i, frame in enumerate(frames.reshape(len(frames), -1, 3)):
        dark = frame[largest(frame) < DARK]
        if len(dark) < 32:
            dark = frame
        bins = dark.astype(np.int32) // 12
        codes = bins[:, 0] * 484 + bins[:, 1] * 22 + bins[:, 2]
        peak = dark[codes == np.bincount(codes).argmax()].mean(0)
        for _ in range(2):
            near = dark[np.square(dark - peak) @ np.ones(3, np.float32) < 12**2]
            peak = near.mean(0)
        colours[i] = peak
    return colours


def shot_starts(colours: Float[np.ndarray, "t c"]) -> list[int]:
    """First frame of each shot: where the background's colour changes abruptly and permanently."""
    starts = [0]
    for i in range(1, len(colours)):
        before, after = np.median(colours[starts[-1] : i], 0), np.median(colours[i : i + 3], 0)
        if np.linalg.norm(before - after) > 14 and np.linalg.norm(colours[i] - after) < 8 and i - starts[-1] > 1:
            starts.append(i)
    return starts


@lru_cache(maxsize=8)
def camera_paths(frames: int, height: int, width: int, fps: float):
    """Candidate camera paths: class [n], pan and zoom [n t], the `backdrop` [n t h w] of each, and its square."""
    times = np.arange(frames, dtype=np.float32) / fps
    kinds, pans, zooms = [0], [np.zeros_like(times)], [np.ones_like(times)]
    for drift in np.linspace(0.85, 1.15, 7):
        travel = PAN_FROM + PAN * drift * times
        progress = np.clip(drift * times / ZOOM_TIME, 0, 1)
        kinds += [1, 2, 3, 4]
        pans += [-travel, travel, 0 * times, 0 * times]
        zooms += [0 * times + 1, 0 * times + 1, ZOOM**progress, ZOOM ** (1 - progress)]
    pan, zoom = np.stack(pans).astype(np.float32), np.stack(zooms).astype(np.float32)
    light = np.asarray(jax.jit(backdrop, static_argnums=(2, 3))(pan, zoom, height, width))
    return np.array(kinds), pan, zoom, light, np.square(light)


def find_camera(frames, ground, fps: float) -> int:
    """Index of the candidate camera path whose dots and floor correlate best with the frames minus the background
    colour [c]."""
    if len(frames) == 1:
        return 0
    _, _, _, light, squared = camera_paths(*frames.shape[:3], fps)
    excess = frames - ground
    grey = total(excess) / 3
    is_lit = (largest(np.abs(excess - grey[..., None])) < 16) & (grey > -20) & (grey < 85)
    lit = is_lit.astype(np.float32).ravel()
    grey = np.clip(grey.ravel(), 0, 70) * lit
    light, squared, count = light.reshape(len(light), -1), squared.reshape(len(light), -1), max(lit.sum(), 1)
    mean = light @ lit / count
    spread = np.sqrt(np.maximum(squared @ lit / count - mean**2, 1e-9))
    noise = np.sqrt(max(grey @ grey / count - (grey.sum() / count) ** 2, 1e-9))
    score = (light @ grey / count - mean * grey.sum() / count) / (spread * noise)
    best = int(score.argmax())
    return best if score[best] > max(1.02 * score[0], CORRELATED) else 0


def find_wall(frames: Float[np.ndarray, "t h w c"], colour: Float[np.ndarray, " c"]) -> tuple[float, float] | None:
    """Left and right edge in pixels of a vertical slab of the wall's colour in all frames, or None."""
    near = distance(frames - colour) < 40
    full = near.mean((0, 1)) > 0.75
    runs, count = ndimage.label(full)
    if not count:
        return None
    sizes = ndimage.sum(full, runs, range(1, count + 1))
    columns = np.flatnonzero(runs == 1 + sizes.argmax())
    expected = WALL_WIDTH * min(frames.shape[1:3])
    return (columns[0], columns[-1] + 1.0) if 0.6 * expected < len(columns) < 1.6 * expected else None


def _misfits(excess, directions):
    """Squared distances [n p] of the pixels' excess [p c] to the segments from 0 to each direction [n c], and the
    alphas [n p] of the nearest points."""
    alpha = np.clip(directions @ excess.T / np.square(directions).sum(-1)[:, None], 0, 1)
    left = total(np.square(excess))[None] - 2 * alpha * (directions @ excess.T)
    return left + alpha**2 * np.square(directions).sum(-1)[:, None], alpha


def judge_film(ground, pixels) -> bool:
    """Whether the style is film: whether its muted palette explains background and brightest pixels best."""
    backgrounds, paints, _, _ = palettes()
    costs = {}
    for style in (FLAT, NEON, FILM):
        costs[style] = np.linalg.norm(backgrounds[style] - ground, axis=-1).min() / 8
        if len(pixels):
            directions = paints[style] - ground
            misfit, alpha = _misfits(pixels, directions)
            best = misfit.argmin(0)
            solid = np.take_along_axis(alpha, best[None], 0)[0]
            gap = distance(pixels - solid[:, None] * directions[best])
            costs[style] += (gap.mean() + np.median(gap)) / 14 + 2 * max(0.0, 0.75 - np.quantile(solid, 0.9))
    return bool(costs[FILM] < min(costs[FLAT], costs[NEON]))


def _objects(energy, excess, directions, wall_columns):
    """Area [colour t] and mask [colour t h w] of each colour: connected components, classified by colour."""
    t, h, w = energy.shape
    strong = (energy > max(VISIBLE, 0.3 * np.quantile(energy, 0.995))) & ~wall_columns[None, None, :]
    area = np.zeros((len(directions), t))
    places = np.zeros((len(directions), t, h, w), bool)
    for i in range(t):
        labels, count = ndimage.label(strong[i], np.ones((3, 3)))
        for k in range(1, count + 1):
            spot = labels == k
            if spot.sum() < 6:
                continue
            pixels = excess[i][spot]
            misfit, alpha = _misfits(pixels, directions)
            # Two touching objects form one component: every solid pixel votes for its own colour.
            best = misfit.argmin(0)
            solid = np.take_along_axis(alpha, best[None], 0)[0] > 0.6
            votes = np.bincount(best[solid], minlength=len(directions))
            whole = misfit.sum(1).argmin()
            for c in np.flatnonzero(votes > max(0.3 * votes.sum(), 5)):
                if c == whole or votes[whole] < 0.9 * votes.sum():
                    mine = spot.copy()
                    mine[spot] = (best == c) | ((c == whole) & ~solid)
                    area[c, i] += mine.sum()
                    places[c, i] |= mine
    return area, places


def segment(frames: Float[np.ndarray, "t h w c"], ground, fps: float) -> Segmentation:
    """Segments one shot (sRGB 0..255), given its background colour per frame [t c]."""
    t, h, w, _ = frames.shape
    backgrounds, paints, lamps, walls = palettes()
    base = np.median(ground, 0)
    wall = None
    for style in (FLAT, NEON, FILM):
        if np.linalg.norm(walls[style] - base) > 60:  # a dimmed wall resembles a grey background
            wall = wall or find_wall(frames, walls[style])
    wall_columns = np.zeros(w, bool)
    if wall:
        wall_columns[max(int(wall[0]) - 1, 0) : int(wall[1]) + 1] = True
    without_wall = frames.copy()
    without_wall[:, :, wall_columns] = base
    kinds, pans, zooms, light, _ = camera_paths(t, h, w, fps)
    path = find_camera(without_wall, base, fps)
    light = light[path][..., None]

    residual = without_wall - base - light * (lamps[FLAT] - base)
    energy = distance(residual)
    bright = energy > max(VISIBLE, 0.6 * np.quantile(energy, 0.99))
    film = judge_film(base, residual[bright][:: max(1, bright.sum() // 4000)])
    styles = (FILM,) if film else (FLAT, NEON)
    apart = np.stack([np.square(backgrounds[style] - base).sum(-1) for style in styles])
    background = int(apart.min(0).argmin())
    darkened = np.array([apart[0, background], apart[-1, background]])
    style = FILM if film else styles[int(darkened.argmin())]

    scenery = base + light * (lamps[style] - base)
    excess = without_wall - scenery
    energy = distance(excess)
    directions = paints[style] - base
    area, places = _objects(energy, excess, directions, wall_columns)
    moving = np.diff(frames, axis=0)
    still = ~ndimage.binary_dilation((energy > VISIBLE).any(0), iterations=3) & ~wall_columns[None]
    flicker = float(np.abs(moving[:, still]).mean()) if t > 1 and still.any() else 0.0
    segmented = Segmentation(background, film, darkened, pans[path], zooms[path], int(kinds[path]), wall, [], flicker)

    mass = area.sum(1)
    order = np.argsort(-mass)
    chosen = [c for c in order[:1] if mass[c] > 0]
    for c in order[1:2]:
        seen = area[c] > max(8, 0.04 * np.median(area[chosen[0]][area[chosen[0]] > 0])) if chosen else np.zeros(1)
        if seen.mean() > 0.4:
            chosen.append(c)
    reach = 6 if style == NEON else 3
    gaps = [_gap(places[c]) for c in chosen]
    for n, c in enumerate(chosen):
        toward = directions[c] - (scenery - base)
        alpha = np.clip(total(excess * toward) / total(np.square(toward)), 0, 1.2)
        present = area[c] > 0
        alpha *= (gaps[n] <= reach) & (gaps[n] <= np.min(gaps, 0))
        alpha[:, :, wall_columns] = 0
        edge = np.zeros((h, w), bool)
        edge[[0, -1]] = edge[:, [0, -1]] = True
        edge |= ndimage.binary_dilation(np.broadcast_to(wall_columns, (h, w)))
        whole = present & ~((alpha > 0.25) & edge).any((1, 2))
        segmented.layers.append(Layer(int(c), alpha, present, whole))
    return segmented


def _gap(places: Bool[np.ndarray, "t h w"]) -> Float[np.ndarray, "t h w"]:
    """Distance in pixels to the nearest place in the same frame; 1000 where the clip has none."""
    if not places.any():
        return np.full(places.shape, 1e3)
    return ndimage.distance_transform_edt(~places, sampling=(1e3, 1, 1))
