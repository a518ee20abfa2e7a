"""Motion and pace from tracks: fits every motion's closed form over a grid of its free parameters.

Paths are compared up to a translation, so the cost of a candidate is the variance of the residual. Only the first 2.2
seconds of a shot count. Also measures physics, with free fits: gravity, bounce height and momentum.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sorajax.world.physics import GRAVITY, GROWTH, LARGEST, NAMED, ORBIT, SMALLEST, SPEED, TURN
from sorajax.world.scenes import BOUNCES, CIRCLES, DOWN, FALLS, GROWS, LEFT, RADIUS, RIGHT, SHRINKS, SPINS, STILL, UP

SECONDS = 2.2
RATES = np.geomspace(0.5, 2.0, 29)
PACE_EDGES = (0.77, 1.25)  # between the ranges of jitter: 0.69 and 0.85, 1.15 and 1.36
SIZE_EDGE = float(np.sqrt(RADIUS[0] * RADIUS[1]))
SPINNING = np.radians(35)  # per second; the slowest spin has 61 degrees per second
RESIZING = 0.035  # relative change per second; the slowest growth has 0.08, shrinking in its first second 0.09


class Track(NamedTuple):
    """Track of one object in one shot, in world units: centre, radius, angle, and the frames where they are
    reliable."""

    times: Float[np.ndarray, " t"]
    centre: Float[np.ndarray, "t two"]
    radius: Float[np.ndarray, " t"]
    angle: Float[np.ndarray, " t"]  # radians, modulo 2 pi / fold
    trusted: Bool[np.ndarray, " t"]
    fold: int


class Motion(NamedTuple):
    """A motion: its index, rate relative to the nominal speed (1 when still), radius at nominal size."""

    motion: int
    rate: float
    radius: float
    residual: float  # root mean square, units
    impacts: tuple[float, float] = (0.0, 0.0)  # of a bounce: seconds until the first impact, and between impacts

    @property
    def pace(self) -> int:
        return 1 if self.motion == STILL else int(np.digitize(self.rate, PACE_EDGES))

    @property
    def size(self) -> int:
        return int(self.radius > SIZE_EDGE)


@lru_cache(maxsize=64)
def candidates(
    times: tuple[float, ...],
) -> tuple[
    Float[np.ndarray, "n d"], Float[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, " n"], dict[int, tuple]
]:
    """All candidate paths at the given times: (centred paths, squared norms, motions, rates, impacts of bounces)."""
    t = np.asarray(times)
    paths, kinds, rates = [np.zeros((1, len(t), 2))], [np.array([STILL])], [np.ones(1)]

    def add(kind, path_x, path_y, rate):
        x, y = np.broadcast_arrays(path_x, path_y)
        paths.append(np.stack([x, y], -1).reshape(-1, len(t), 2))
        kinds.append(np.full(len(paths[-1]), kind))
        rates.append(np.broadcast_to(rate, x.shape)[..., 0].ravel())

    rate = RATES[:, None, None]
    turn = np.concatenate([np.arange(NAMED - 0.15, SECONDS, 0.08), [1e3]])[None, :, None]
    run = SPEED * rate * np.where(t < turn, t, 2 * turn - t)
    for kind, sign_x, sign_y in ((LEFT, -1, 0), (RIGHT, 1, 0), (UP, 0, -1), (DOWN, 0, 1)):
        add(kind, sign_x * run, sign_y * run, rate)

    rate, phase, size = RATES[:, None, None, None], np.arange(32)[None, :, None, None] / 32, np.arange(0.16, 0.32, 0.02)
    turns = 2 * np.pi * (rate * t / ORBIT + phase)
    size = size[None, None, :, None]
    for sign in (1, -1):
        add(CIRCLES, size * np.cos(turns), sign * size * np.sin(turns), rate)

    gravity, height = GRAVITY * rate**2, np.arange(0.29, 0.6, 0.02)[None, :, None, None]
    half = np.sqrt(2 * height / gravity)
    lead = np.linspace(-0.6, 0.8, 29)[None, None, :, None] * half
    swing = (t + lead + half) % (2 * half) - half
    first = sum(len(path) for path in paths)
    add(BOUNCES, 0.0, gravity / 2 * swing**2, rate)
    ahead, between = (np.broadcast_to(v, swing.shape)[..., 0].ravel() for v in (half - lead, 2 * half))
    impacts = dict(enumerate(zip(ahead.tolist(), between.tolist(), strict=True), first))
    late = np.linspace(-0.15, 0.15, 5)[None, None, :, None]
    drop = gravity / 2 * np.maximum(t - late, 0) ** 2
    add(FALLS, 0.0, np.minimum(drop, height), rate)
    path = np.concatenate(paths).astype(np.float32)
    path = (path - path.mean(1, keepdims=True)).reshape(len(path), -1)
    return path, np.square(path).sum(1), np.concatenate(kinds), np.concatenate(rates), impacts


def read_motion(track: Track, may_fall: bool = True) -> Motion | None:
    """The motion with the least residual; None with fewer than min(4, frames of the track) reliable frames, or than
    2."""
    use = track.trusted & (track.times - track.times[0] <= SECONDS)
    if use.sum() < min(4, len(use)) or use.sum() < 2:
        return None
    t = track.times - track.times[0]
    paths, norms, kinds, rates, impacts = candidates(tuple(np.round(t[use], 4)))
    centre = track.centre[use].astype(np.float32)
    path = (centre - centre.mean(0)).ravel()
    cost = np.maximum(path @ path - 2 * paths @ path + norms, 0) / len(centre)
    if not may_fall:
        cost = np.where(kinds == FALLS, np.inf, cost)
    best = int(cost.argmin())
    error = float(np.sqrt(cost[best]))
    radius = float(np.median(track.radius[use]))
    if np.ptp(centre, axis=0).max() < 0.05:
        still = float(np.sqrt(cost[0]))
        return _in_place(t[use], track.radius[use], track.angle[use], track.fold, still)
    close = cost <= cost[best] + 2e-6  # near-ties, whose mean rate is a more robust estimate
    close &= kinds == kinds[best]
    return Motion(
        int(kinds[best]), float(np.exp(np.log(rates[close]).mean())), radius, error, impacts.get(best, (0.0, 0.0))
    )


def _in_place(t, radius, angle, fold: int, error: float) -> Motion:
    """The motion of an object whose centre does not move: grows, shrinks, spins or stands still."""
    slope, start = np.polyfit(t, radius, 1)
    middle = start + slope * t.mean()
    if abs(slope) / max(middle, 1e-6) > RESIZING:
        sign, first = (1, SMALLEST) if slope > 0 else (-1, LARGEST)
        rates = np.geomspace(0.4, 2.4, 61)
        scale = first + sign * (LARGEST - SMALLEST) * np.clip(rates[:, None] * t / GROWTH, 0, 1)
        nominal = (scale * radius).sum(1) / np.square(scale).sum(1)
        best = int(np.square(radius - nominal[:, None] * scale).sum(1).argmin())
        return Motion(GROWS if slope > 0 else SHRINKS, float(rates[best]), float(nominal[best]), error)
    if fold:
        turned = np.unwrap(angle, period=2 * np.pi / fold)
        speed = abs(np.polyfit(t, turned, 1)[0])
        if speed > SPINNING:
            return Motion(SPINS, float(speed * TURN / (2 * np.pi)), float(np.median(radius)), error)
    return Motion(STILL, 1.0, float(np.median(radius)), error)


def gravity_and_heights(track: Track, motion: Motion, floor: float) -> tuple[float | None, float | None]:
    """Fitted gravity of a bounce, in units / s^2, and the relative change of its height at the first impact.

    A least-squares fit of one acceleration for all flights, and a start and a speed for each; frames within 0.08 s of
    an impact are left out. `floor` is the y of the object's centre when it touches the floor.
    """
    t, y = (track.times - track.times[0])[track.trusted], track.centre[track.trusted, 1]
    first, between = motion.impacts
    if between <= 0:
        return None, None
    flight = np.floor((t - first) / between).astype(int)
    clear = np.abs((t - first) / between - np.round((t - first) / between)) * between > 0.08
    flights = [n for n in range(flight.min(), flight.max() + 1) if (clear & (flight == n)).sum() >= 2]
    rows = clear & np.isin(flight, flights)
    if rows.sum() < 2 * len(flights) + 2:
        return None, None
    belongs = np.stack([flight[rows] == n for n in flights], -1).astype(float)
    design = np.concatenate([t[rows, None] ** 2 / 2, belongs, belongs * t[rows, None]], 1)
    solution = np.linalg.lstsq(design, y[rows], rcond=None)[0]
    gravity, starts, speeds = solution[0], solution[1 : 1 + len(flights)], solution[1 + len(flights) :]
    if gravity <= 0.05 or len(flights) < 2:
        return float(gravity), None
    heights = floor - (starts - speeds**2 / (2 * gravity))
    return float(gravity), float(abs(heights[1] - heights[0]) / max(heights[0], 1e-3))


def fall_gravity(track: Track) -> float | None:
    """Fitted gravity of a fall, in units / s^2, from the parabola until the floor; None for too few frames."""
    t, y = track.times[track.trusted], track.centre[track.trusted, 1]
    if len(t) < 6:
        return None
    floor = np.median(y[-2:])
    flying = y < floor - 0.015
    flying &= np.cumprod(flying).astype(bool)
    if flying.sum() < 4:
        return None
    g = 2 * np.polyfit(t[flying], y[flying], 2)[0]
    return float(g)


def momentum_error(first: Track, second: Track) -> float | None:
    """Change of total momentum (of equal masses) in a collision, relative to the sum of speeds before it; None where it
    cannot be measured."""
    both = first.trusted & second.trusted
    t = first.times[both]
    gap = np.abs(first.centre[both, 0] - second.centre[both, 0])
    if len(t) < 8:
        return None
    hit = int(np.where(t < 1.6, gap, np.inf).argmin())
    before, after = (
        slice(max(hit - 5, 0), hit),
        slice(hit + 1, hit + 3),
    )  # later they may reach the frame's edge and reverse
    if hit < 2 or len(t[after]) < 2:
        return None
    speeds = [
        [np.polyfit(t[part], track.centre[both, 0][part], 1)[0] for track in (first, second)]
        for part in (before, after)
    ]
    total = np.abs(speeds[0]).sum()
    return float(abs(np.sum(speeds[1]) - np.sum(speeds[0])) / total) if total > 0.05 else None
