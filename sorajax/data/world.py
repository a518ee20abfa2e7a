"""Draws the world: scenes to pixels and their ground truth, in one jitted function.

Every motion is a closed form of the time, so any length, any window and any frame rate show the same physics.
With tau = seconds since the shot began and fold() the reflection into an interval (a triangle wave):

- moves:    x = fold(x0 + 0.25 * rate * tau) between the frame's edges
- bounces:  y = floor - h + g/2 * s^2, s = the time from the nearest highest point, g = 1.6 * pace^2
- falls:    the same until the floor is reached, then rest
- collides: equal masses exchange their velocities, so the two ghosts that pass through one another say everything:
            the left body is at min(ghosts), the right one at max(ghosts), in coordinates with the widths taken out.

Shapes are signed distances in units (negative inside); a pixel's coverage is clip(1/2 - distance/pixel, 0, 1).
The two-dimensional distances to box, triangle and star follow I. Quilez, "2D distance functions".
`scenes.py` says what a scene is and what exists; its names are importable from here.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.data.scenes import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    BOUNCES,
    CAMERAS,
    CIRCLES,
    COLLIDES,
    COLOUR_RGB,
    COLOURS,
    CORE,
    DOWN,
    EVENTS,
    FALLS,
    FULL,
    GROWS,
    LEFT,
    MOTIONS,
    PACE_SCALE,
    PACES,
    RADIUS,
    RELATIONS,
    RIGHT,
    SHAPES,
    SHRINKS,
    SIZES,
    SPINS,
    STILL,
    STYLES,
    UP,
    WALL,
    Scene,
    WorldMix,
    attributes,
    held_out,
    sample_scenes,
)

SPEED = 0.25
GRAVITY = 1.6
NAMED = 11 / 8  # seconds for which a move goes the named way: 12 frames at 8 fps
TURN, ORBIT, GROWTH = 3.0, 2.5, 4.0  # seconds for a spin, a circle, a change of size
SMALLEST, LARGEST = 0.6, 1.5
PAN, PAN_FROM, PAN_TO = 0.16, -0.18, 0.5
ZOOM, ZOOM_TIME = 1.5, 4.0
WALL_WIDTH = 0.2
FLOOR = 0.08  # above the bottom edge
DOT_SPACING, DOT_RADIUS, FLOOR_WIDTH = 0.25, 0.018, 0.014
STROKE, GLOW = 0.026, 0.022
WALL_RGB = (200, 200, 192)
BOX, CORNER, HOLE = 0.88, 1.25, 0.5
SIDE = np.array((1, BOX, CORNER * np.cos(np.pi / 6), CORNER * np.cos(np.pi / 10), 1), np.float32)  # half widths
TOP = np.array((1, BOX, CORNER, CORNER, 1), np.float32)  # reach above the centre
BASE = np.array((1, BOX, CORNER / 2, CORNER * np.cos(np.pi / 5), 1), np.float32)  # reach below it


class Truth(NamedTuple):
    """What a frame shows: on screen, in units of the shorter side, the origin at the frame's centre, y down."""

    centre: Float[Array, "b t o xy"]
    radius: Float[Array, "b t o"]
    angle: Float[Array, "b t o"]  # radians, clockwise
    visible: Float[Array, "b t o"]  # fraction of the bounding box that is in the frame and not behind the wall
    pan: Float[Array, "b t"]  # x of the camera's centre in the world
    zoom: Float[Array, "b t"]
    shot: Int[Array, "b t"]


class Parts(NamedTuple):
    """Which parts of the renderer a batch needs; static, so that nobody pays for what is not there."""

    objects: int = 2
    shots: bool = True
    camera: bool = True
    style: bool = True
    events: bool = True


def parts(scene: Scene) -> Parts:
    """The parts a batch of scenes needs (reads host arrays)."""
    two = len(scene.objects) > 0 and int(np.max(scene.objects)) == 2
    used = [bool(np.any(leaf)) for leaf in (scene.camera, scene.style, scene.event)]
    return Parts(2 if two else 1, bool(np.any(scene.shots == 2)), *used)


def fold(x, low, high):
    """Reflects x into [low, high] as an elastic wall does; the middle where the interval is empty."""
    width = jnp.maximum(high - low, 1e-6)
    return jnp.where(high > low, low + width - jnp.abs((x - low) % (2 * width) - width), (low + high) / 2)


def _between(place, low, high):
    """The point at a fraction of an interval; the middle where the interval is empty."""
    return jnp.where(high > low, low + place * (high - low), (low + high) / 2)


def _lanes(scene: Scene, half_width, half_height):
    """The box each object may touch, [b o] for left, right, top, bottom: its own half when there is a relation."""
    relation = jnp.asarray(scene.relation)[:, None]
    second = jnp.arange(2)[None, :] == 1
    is_left = ((relation == 1) & ~second) | ((relation == 2) & second)
    is_right = ((relation == 2) & ~second) | ((relation == 1) & second)
    is_above = ((relation == 3) & ~second) | ((relation == 4) & second)
    is_below = ((relation == 4) & ~second) | ((relation == 3) & second)
    gap = 0.01
    return (
        jnp.where(is_right, gap, -half_width),
        jnp.where(is_left, -gap, half_width),
        jnp.where(is_below, gap, -half_height),
        jnp.where(is_above, -gap, half_height),
    )


def _motion(scene: Scene, tau: Float[Array, "b t s"], half_width: float, half_height: float):
    """World centre [b t s o 2], radius [b t s o] and angle [b t s o] of every object in every shot."""
    tau = tau[..., None]
    expand = lambda leaf: jnp.asarray(leaf)[:, None, None, :]  # [b o] -> [b t s o]  # noqa: E731
    shots = lambda leaf: jnp.asarray(leaf)[:, None]  # [b s o] -> [b t s o]  # noqa: E731
    motion, rate, phase = shots(scene.motion), shots(scene.rate), shots(scene.phase)
    place = shots(scene.place)
    shape, radius = expand(scene.shape), expand(scene.radius)
    left, right, top, bottom = (expand(side) for side in _lanes(scene, half_width, half_height))
    floor = half_height - FLOOR
    camera = jnp.asarray(scene.camera)[:, None, None, None]
    inset = jnp.where(camera > 2, 0.12, jnp.where(camera > 0, 0.1, 0.0))

    clock = rate * tau
    growth = jnp.clip(clock / GROWTH, 0, 1)
    growth = jnp.where(motion == SHRINKS, 1 - growth, growth)
    resizes = (motion == GROWS) | (motion == SHRINKS)
    scale = jnp.where(resizes, SMALLEST + (LARGEST - SMALLEST) * growth, 1.0)
    reach = radius * jnp.where(resizes, LARGEST, 1.0)
    spins = motion == SPINS
    side = jnp.where(spins, CORNER, jnp.asarray(SIDE)[shape]) * reach
    above = jnp.where(spins, CORNER, jnp.asarray(TOP)[shape]) * reach
    below = jnp.where(spins, CORNER, jnp.asarray(BASE)[shape]) * reach
    low_x, high_x, low_y, high_y = left + side, right - side, top + above, bottom - below

    rest_x = _between(place[..., 0], low_x + inset, high_x - inset)
    rest_y = _between(place[..., 1], low_y + inset, jnp.minimum(high_y, floor - below) - inset)

    def slide(axis, low, high, forward):
        speed = jnp.minimum(SPEED * rate, jnp.maximum(high - low, 0) / NAMED)
        start = low + place[..., axis] * (high - low - speed * NAMED)
        start = jnp.where(forward, start, low + high - start)
        return fold(start + jnp.where(forward, speed, -speed) * tau, low, high)

    x = jnp.where((motion == LEFT) | (motion == RIGHT), slide(0, low_x, high_x, motion == RIGHT), rest_x)
    y = jnp.where((motion == UP) | (motion == DOWN), slide(1, low_y, high_y, motion == DOWN), rest_y)

    gravity = GRAVITY * jnp.asarray(PACE_SCALE)[shots(scene.pace)] ** 2
    ground = floor - below
    height = jnp.minimum(shots(scene.height), ground - low_y)
    half_period = jnp.sqrt(2 * height / gravity)
    cut = jnp.asarray(scene.shots)[:, None, None, None] == 2
    lead = jnp.where(cut, 0.3 + 0.3 * phase, 0.5 * phase) * half_period  # seconds since the highest point
    swing = (tau + lead + half_period) % (2 * half_period) - half_period
    y = jnp.where(motion == BOUNCES, ground - height + gravity / 2 * swing**2, y)
    y = jnp.where(motion == FALLS, jnp.minimum(ground - height + gravity / 2 * tau**2, ground), y)

    orbit = jnp.minimum(shots(scene.orbit), jnp.minimum(high_x - low_x, high_y - low_y) / 2)
    turn = 2 * jnp.pi * (clock / ORBIT + phase)
    inner_y = jnp.minimum(high_y, ground)
    room_y = jnp.minimum(orbit, jnp.maximum(inner_y - low_y, 0) / 2)
    orbit = jnp.minimum(orbit, room_y)
    hub_x = _between(place[..., 0], low_x + orbit, high_x - orbit)
    hub_y = _between(place[..., 1], low_y + orbit, inner_y - orbit)
    x = jnp.where(motion == CIRCLES, hub_x + orbit * jnp.cos(turn), x)
    y = jnp.where(motion == CIRCLES, hub_y + orbit * jnp.sin(turn), y)
    angle = jnp.where(spins, 2 * jnp.pi * (clock / TURN + phase), 0.0)
    return jnp.stack([x, y], -1), radius * scale, angle


def _events(scene: Scene, x: Float[Array, "b t o"], y: Float[Array, "b t o"], tau: Float[Array, "b t"], half_width):
    """Overrides the paths of colliding objects and of one that passes behind the wall."""
    tau = tau[..., None]
    event = jnp.asarray(scene.event)[:, None, None]
    motion, rate = jnp.asarray(scene.motion)[:, None, 0], jnp.asarray(scene.rate)[:, None, 0]
    width = jnp.asarray(SIDE)[jnp.asarray(scene.shape)][:, None] * jnp.asarray(scene.radius)[:, None]
    velocity = SPEED * rate * ((motion == RIGHT).astype(x.dtype) - (motion == LEFT).astype(x.dtype))

    leftmost = velocity[..., :1] > 0  # the first object comes from the left
    a, b = jnp.where(leftmost, velocity, velocity[..., ::-1])[..., 0], jnp.where(
        leftmost, velocity[..., ::-1], velocity
    )[..., 0]
    room = 2 * half_width - 2 * width.sum(-1)
    moment, spot = jnp.asarray(scene.meeting)[:, 0, None], jnp.asarray(scene.meeting)[:, 1, None]
    last = jnp.minimum(4 / 3, 0.98 * room / jnp.maximum(a - b, 1e-3))
    moment = 2 / 3 + moment * jnp.maximum(last - 2 / 3, 0)
    meet = jnp.maximum(a, 0) * moment + spot * jnp.maximum(room - (a - b) * moment, 0)
    ghosts = [fold(meet + v * (tau[..., 0] - moment), 0.0, room) for v in (a, b)]
    order = jnp.where(leftmost[..., 0], 0, 1)
    widths = jnp.take_along_axis(width, jnp.stack([order, 1 - order], -1), -1)
    from_left = -half_width + widths[..., 0] + jnp.minimum(*ghosts)
    from_right = -half_width + 2 * widths[..., 0] + widths[..., 1] + jnp.maximum(*ghosts)
    bodies = jnp.stack([from_left, from_right], -1)
    x = jnp.where(event == COLLIDES, jnp.where(leftmost, bodies, bodies[..., ::-1]), x)
    y = jnp.where(event == COLLIDES, y[..., :1], y)

    outside = WALL_WIDTH / 2 + width
    direction, speed = jnp.sign(velocity), jnp.abs(velocity)
    slack = jnp.maximum(2.0 * speed - 2 * outside, 0)
    low, high = -half_width + width, half_width - width
    wall = jnp.asarray(scene.wall)[:, None, None]
    room = jnp.where(direction > 0, wall - low, high - wall) - outside
    lead = outside + jnp.asarray(scene.place)[:, None, 0, :, 0] * jnp.clip(room, 0, slack)
    return jnp.where(event == WALL, fold(wall + direction * (speed * tau - lead), low, high), x), y


def _camera(scene: Scene, times: Float[Array, " t"]):
    """The camera's x [b t] in the world and its zoom [b t]."""
    camera, drift = jnp.asarray(scene.camera)[:, None], jnp.asarray(scene.drift)[:, None]
    travel = fold(PAN_FROM + PAN * drift * times, PAN_FROM, PAN_TO)
    pan = jnp.where(camera == 1, -travel, jnp.where(camera == 2, travel, 0.0))
    progress = jnp.clip(drift * times / ZOOM_TIME, 0, 1)
    zoom = jnp.where(camera == 3, ZOOM**progress, jnp.where(camera == 4, ZOOM ** (1 - progress), 1.0))
    return pan, zoom


def trace(scene: Scene, times: Float[Array, " t"], height: int, width: int) -> Truth:
    """The ground truth at the given times (seconds) for a frame of this size."""
    unit = min(height, width)
    half_width, half_height = width / unit / 2, height / unit / 2
    first = jnp.broadcast_to(times, (len(scene.cut), *times.shape))
    second = first - jnp.asarray(scene.cut)[:, None]
    shot = ((jnp.asarray(scene.shots)[:, None] == 2) & (second >= 0)).astype(jnp.int32)
    centre, radius, angle = _motion(
        scene, jnp.stack([first, jnp.maximum(second, 0)], -1), half_width, half_height
    )
    now = shot[..., None]
    centre = jnp.where(now[..., None] == 1, centre[:, :, 1], centre[:, :, 0])
    radius, angle = (jnp.where(now == 1, leaf[:, :, 1], leaf[:, :, 0]) for leaf in (radius, angle))
    x, y = _events(scene, centre[..., 0], centre[..., 1], first, half_width)
    pan, zoom = _camera(scene, times)
    x, y, radius = (x - pan[..., None]) * zoom[..., None], y * zoom[..., None], radius * zoom[..., None]

    inside = lambda low, high, edge_low, edge_high: jnp.clip(  # noqa: E731
        (jnp.minimum(high, edge_high) - jnp.maximum(low, edge_low)) / jnp.maximum(high - low, 1e-6), 0, 1
    )
    seen_x, seen_y = (
        inside(x - radius, x + radius, -half_width, half_width),
        inside(y - radius, y + radius, -half_height, half_height),
    )
    wall = jnp.asarray(scene.wall)[:, None, None]
    hidden = inside(x - radius, x + radius, wall - WALL_WIDTH / 2, wall + WALL_WIDTH / 2)
    seen_x = jnp.where(jnp.asarray(scene.event)[:, None, None] == WALL, seen_x * (1 - hidden), seen_x)
    visible = seen_x * seen_y * (jnp.arange(2) < jnp.asarray(scene.objects)[:, None, None])
    return Truth(jnp.stack([x, y], -1), radius, angle, visible, pan, zoom, shot)


def distance(shape, x, y, radius):
    """Signed distance (units, negative inside) from (x, y), in the upright frame of a shape of this radius."""
    length = jnp.sqrt(x * x + y * y)
    ball = length - radius
    ring = jnp.abs(length - radius * (1 + HOLE) / 2) - radius * (1 - HOLE) / 2
    ax, up = jnp.abs(x), -y
    qx, qy = ax - BOX * radius, jnp.abs(y) - BOX * radius
    outer_x, outer_y = jnp.maximum(qx, 0), jnp.maximum(qy, 0)
    box = jnp.sqrt(outer_x * outer_x + outer_y * outer_y) + jnp.minimum(jnp.maximum(qx, qy), 0)
    return jnp.where(
        shape == 0,
        ball,
        jnp.where(
            shape == 1,
            box,
            jnp.where(shape == 2, _triangle(ax, up, radius), jnp.where(shape == 3, _star(x, up, radius), ring)),
        ),
    )


def _triangle(ax, up, radius):
    """Distance to the upright equilateral triangle with corners at CORNER * radius, by its mirror half."""
    k = 3.0**0.5
    r = radius * CORNER * k / 2  # half a side
    px, py = ax - r, up + r / k
    fold_over = px + k * py > 0
    px, py = jnp.where(fold_over, (px - k * py) / 2, px), jnp.where(fold_over, (-k * px - py) / 2, py)
    px = px - jnp.clip(px, -2 * r, 0)
    return -jnp.sqrt(px * px + py * py) * jnp.sign(py)


def _star(x, up, radius):
    """Distance to the five-pointed star with tips at CORNER * radius and inner corners half as far."""
    r = radius * CORNER
    k1x, k1y = 0.809016994375, -0.587785252292
    px = jnp.abs(x)
    turn = 2 * jnp.maximum(k1x * px + k1y * up, 0)
    px, py = px - turn * k1x, up - turn * k1y
    turn = 2 * jnp.maximum(-k1x * px + k1y * py, 0)
    px, py = jnp.abs(px + turn * k1x), py - turn * k1y
    py = py - r
    bax, bay = 0.5 * -k1y - 0.0, 0.5 * k1x - 1.0
    along = jnp.clip((px * bax + py * bay) / (r * (bax * bax + bay * bay)), 0, 1)
    dx, dy = px - bax * r * along, py - bay * r * along
    return jnp.sqrt(dx * dx + dy * dy) * jnp.sign(py * bax - px * bay)


def _grain(seed, frame, row, column):
    """Deterministic noise of unit variance per pixel and frame: the bytes of an integer hash, summed."""
    h = row * jnp.uint32(0x9E3779B1) ^ column * jnp.uint32(0x85EBCA77) ^ frame * jnp.uint32(0xC2B2AE3D)
    h = h + seed * jnp.uint32(0x27D4EB2F)
    h = (h ^ (h >> 15)) * jnp.uint32(0x2C1B3C6D)
    h = (h ^ (h >> 12)) * jnp.uint32(0x297A2D39)
    h = h ^ (h >> 15)
    total = (h & 255) + ((h >> 8) & 255) + ((h >> 16) & 255) + (h >> 24)
    return (total.astype(jnp.float32) - 510.0) / 147.8


def draw(
    scene: Scene, frames: int, height: int, width: int, fps=8.0, first=0, needs: Parts = Parts()
) -> tuple[Float[Array, "b t h w c"], Truth]:
    """Renders frames `first, first + 1, ...` in [-1, 1], with their truth: pure JAX, for use inside a jitted step."""
    unit = min(height, width)
    times = (jnp.arange(frames) + first).astype(jnp.float32) / fps
    truth = trace(scene, times, height, width)
    pixel = lambda leaf: jnp.asarray(leaf)[..., None, None]  # noqa: E731
    x = ((jnp.arange(width) + 0.5 - width / 2) / unit)[None, None, None, :]
    y = ((jnp.arange(height) + 0.5 - height / 2) / unit)[None, None, :, None]
    world_x, world_y, sharpness = x, y, float(unit)
    if needs.camera:
        zoom = pixel(truth.zoom)
        world_x, world_y = x / zoom + pixel(truth.pan), y / zoom
        sharpness = unit * zoom
    cover = lambda gap, scale: jnp.clip(0.5 - gap * scale, 0, 1)  # noqa: E731

    style = pixel(scene.style)[:, None]
    background = jnp.asarray(scene.background)
    ground = jnp.where(truth.shot == 1, background[:, 1:], background[:, :1]) if needs.shots else background[:, :1]
    base = jnp.asarray(BACKGROUND_RGB)[ground]  # [b t c]
    dot_x, dot_y = (v % DOT_SPACING - DOT_SPACING / 2 for v in (world_x, world_y))
    dots = cover(jnp.sqrt(dot_x * dot_x + dot_y * dot_y) - DOT_RADIUS, sharpness)
    line = height / unit / 2 - FLOOR + FLOOR_WIDTH / 2  # its upper edge is what things rest on
    stripe = cover(jnp.abs(world_y - line) - FLOOR_WIDTH / 2, sharpness)
    light = jnp.maximum(0.12 * dots, 0.28 * stripe)
    colour = [pixel(base[..., c]) * (1 - light) + 255.0 * light for c in range(3)]
    if needs.style:
        neon, film = style == 2, style == 3
        colour = [jnp.where(neon, 0.45 * value, value) for value in colour]

    for o in reversed(range(needs.objects)):
        cosine, sine = (pixel(f(truth.angle[..., o])) for f in (jnp.cos, jnp.sin))
        dx, dy = x - pixel(truth.centre[..., o, 0]), y - pixel(truth.centre[..., o, 1])
        kind = pixel(scene.shape[:, o])[:, None]
        gap = distance(kind, cosine * dx + sine * dy, cosine * dy - sine * dx, pixel(truth.radius[..., o]))
        paint = jnp.asarray(COLOUR_RGB)[jnp.asarray(scene.colour)[:, o]]
        alpha = cover(gap, unit)
        glow = 0.0
        if needs.style:
            alpha = jnp.where(style == 1, cover(jnp.abs(gap + STROKE / 2) - STROKE / 2, unit), alpha)
            glow = jnp.where(neon, 0.7 * jnp.exp(-jnp.maximum(gap, 0) / GLOW), 0.0)
        if needs.objects == 2:
            exists = pixel(scene.objects > o)[:, None]
            alpha, glow = jnp.where(exists, alpha, 0.0), jnp.where(exists, glow, 0.0)
        alpha = jnp.maximum(alpha, glow)
        colour = [value + alpha * (pixel(paint[:, c])[:, None] - value) for c, value in enumerate(colour)]

    if needs.events:
        slab = cover(jnp.abs(x - pixel(scene.wall)[:, None]) - WALL_WIDTH / 2, unit)
        slab = slab * (pixel(scene.event)[:, None] == WALL)
        dim = jnp.where(style == 2, 0.45, 1.0)
        colour = [value + slab * (dim * WALL_RGB[c] - value) for c, value in enumerate(colour)]
    if needs.style:
        grey = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        counter = lambda n, axis: jnp.arange(n, dtype=jnp.uint32).reshape([-1 if i == axis else 1 for i in range(4)])  # noqa: E731
        noise = _grain(
            pixel(scene.seed)[:, None].astype(jnp.uint32),
            counter(frames, 1) + jnp.asarray(first).astype(jnp.uint32),
            counter(height, 2),
            counter(width, 3),
        )
        colour = [jnp.where(film, 22 + 0.82 * (0.55 * value + 0.45 * grey) + 3 * noise, value) for value in colour]
    shape = (len(scene.objects), frames, height, width)
    video = jnp.stack([jnp.broadcast_to(value, shape) for value in colour], -1)
    return jnp.clip(video / 127.5 - 1, -1, 1), truth


_draw = partial(jax.jit, static_argnames=("frames", "height", "width", "needs"))(draw)


def render(
    scene: Scene, frames: int, height: int, width: int, fps: float = 8.0, window: tuple[int, int] | None = None
) -> tuple[Float[Array, "b t h w c"], Truth]:
    """Renders a clip of `frames` frames, or only its `window = (first, count)`, compiled for the parts in use."""
    first, count = window or (0, frames)
    if not 0 <= first < first + count <= frames:
        raise ValueError(f"window {window} lies outside the clip: it has frames 0 to {frames - 1}")
    return _draw(scene, count, height, width, fps, first, parts(scene))


__all__ = [
    "BACKGROUNDS",
    "CAMERAS",
    "COLOURS",
    "CORE",
    "EVENTS",
    "FULL",
    "MOTIONS",
    "PACES",
    "RADIUS",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "STILL",
    "STYLES",
    "Parts",
    "Scene",
    "Truth",
    "WorldMix",
    "attributes",
    "draw",
    "held_out",
    "parts",
    "render",
    "sample_scenes",
    "trace",
]
