"""Positions of all objects at any time, in closed form: without integration, the physics is exact at any clip length.

With tau = seconds since the start of the shot, and fold() the reflection into an interval (a triangle wave):

- moves:    x = fold(x0 + 0.25 * rate * tau) between the frame's edges
- bounces:  y = floor - h + g/2 * s^2, s = time from the nearest highest point, g = 1.6 * pace^2
- falls:    the same until the object reaches the floor, then rest
- collides: equal masses exchange their velocities, so their paths are those of two ghosts that pass through each other:
            the left body is at min(ghosts), the right one at max(ghosts), in coordinates without the bodies' widths.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.world.scenes import (
    BOUNCES,
    CIRCLES,
    COLLIDES,
    DOWN,
    FALLS,
    GROWS,
    LEFT,
    PACE_SCALE,
    RIGHT,
    SHRINKS,
    SPINS,
    UP,
    WALL,
    Scene,
)

SPEED = 0.25
GRAVITY = 1.6
NAMED = 11 / 8  # seconds for which a move keeps the direction that its caption names: 12 frames at 8 fps
TURN, ORBIT, GROWTH = 3.0, 2.5, 4.0  # seconds per spin, per circle, per change of size
SMALLEST, LARGEST = 0.6, 1.5
PAN, PAN_FROM, PAN_TO = 0.16, -0.18, 0.5
ZOOM, ZOOM_TIME = 1.5, 4.0
WALL_WIDTH, BEFORE_WALL = 0.2, 0.05  # least distance to the wall at the start: the object is visible first
FLOOR = 0.08  # above the bottom edge
BOX, CORNER, HOLE = 0.88, 1.25, 0.5
SIDE = np.array((1, BOX, CORNER * np.cos(np.pi / 6), CORNER * np.cos(np.pi / 10), 1), np.float32)  # half widths
TOP = np.array((1, BOX, CORNER, CORNER, 1), np.float32)  # extent above the centre
BASE = np.array((1, BOX, CORNER / 2, CORNER * np.cos(np.pi / 5), 1), np.float32)  # extent below it


class Truth(NamedTuple):
    """Ground truth per frame, in screen coordinates: units of the shorter side, origin at the frame's centre, y
    down."""

    centre: Float[Array, "b t o xy"]
    radius: Float[Array, "b t o"]
    angle: Float[Array, "b t o"]  # radians, clockwise
    visible: Float[Array, "b t o"]  # fraction of the bounding box inside the frame and not behind the wall
    pan: Float[Array, "b t"]  # x of the camera's centre in the world
    zoom: Float[Array, "b t"]
    shot: Int[Array, "b t"]


def fold(x, low, high):
    """Reflects x elastically into [low, high]; the midpoint where the interval is empty."""
    width = jnp.maximum(high - low, 1e-6)
    return jnp.where(high > low, low + width - jnp.abs((x - low) % (2 * width) - width), (low + high) / 2)


def _between(place, low, high):
    """The point at a fraction `place` of an interval; the midpoint where the interval is empty."""
    return jnp.where(high > low, low + place * (high - low), (low + high) / 2)


def _lanes(scene: Scene, half_width, half_height):
    """Left, right, top and bottom limits of each object, [b o]: its half of the frame where there is a relation."""
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
    """World centre [b t s o 2], radius [b t s o] and angle [b t s o] of all objects in all shots."""
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
    """Replaces the paths of colliding objects, and of an object that passes behind the wall."""
    tau = tau[..., None]
    event = jnp.asarray(scene.event)[:, None, None]
    motion, rate = jnp.asarray(scene.motion)[:, None, 0], jnp.asarray(scene.rate)[:, None, 0]
    width = jnp.asarray(SIDE)[jnp.asarray(scene.shape)][:, None] * jnp.asarray(scene.radius)[:, None]
    velocity = SPEED * rate * ((motion == RIGHT).astype(x.dtype) - (motion == LEFT).astype(x.dtype))

    leftmost = velocity[..., :1] > 0  # the first object comes from the left
    a, b = (
        jnp.where(leftmost, velocity, velocity[..., ::-1])[..., 0],
        jnp.where(leftmost, velocity[..., ::-1], velocity)[..., 0],
    )
    room = 2 * half_width - 2 * width.sum(-1)
    moment, spot = jnp.asarray(scene.meeting)[:, 0, None], jnp.asarray(scene.meeting)[:, 1, None]
    last = jnp.minimum(4 / 3, 0.98 * room / jnp.maximum(a - b, 1e-3))
    moment = 2 / 3 + moment * jnp.maximum(last - 2 / 3, 0)
    # After the collision an object takes at least 0.35 s to the frame's edge, where there is room for that.
    meet = _between(
        spot,
        jnp.maximum(a * moment, -b * 0.35),
        room - jnp.maximum(-b * moment, a * 0.35),
    )
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
    slack = jnp.maximum(2.0 * speed - 2 * outside - 2 * BEFORE_WALL, 0)
    low, high = -half_width + width, half_width - width
    wall = jnp.asarray(scene.wall)[:, None, None]
    room = jnp.where(direction > 0, wall - low, high - wall) - outside
    lead = outside + jnp.minimum(BEFORE_WALL + jnp.asarray(scene.place)[:, None, 0, :, 0] * slack, room)
    return jnp.where(event == WALL, fold(wall + direction * (speed * tau - lead), low, high), x), y


def _camera(scene: Scene, times: Float[Array, " t"]):
    """x of the camera in the world [b t], and its zoom [b t]."""
    camera, drift = jnp.asarray(scene.camera)[:, None], jnp.asarray(scene.drift)[:, None]
    travel = fold(PAN_FROM + PAN * drift * times, PAN_FROM, PAN_TO)
    pan = jnp.where(camera == 1, -travel, jnp.where(camera == 2, travel, 0.0))
    progress = jnp.clip(drift * times / ZOOM_TIME, 0, 1)
    zoom = jnp.where(camera == 3, ZOOM**progress, jnp.where(camera == 4, ZOOM ** (1 - progress), 1.0))
    return pan, zoom


def trace(scene: Scene, times: Float[Array, " t"], height: int, width: int) -> Truth:
    """The ground truth at `times`, in seconds, for frames of this size in pixels."""
    unit = min(height, width)
    half_width, half_height = width / unit / 2, height / unit / 2
    first = jnp.broadcast_to(times, (len(scene.cut), *times.shape))
    second = first - jnp.asarray(scene.cut)[:, None]
    shot = ((jnp.asarray(scene.shots)[:, None] == 2) & (second >= 0)).astype(jnp.int32)
    centre, radius, angle = _motion(scene, jnp.stack([first, jnp.maximum(second, 0)], -1), half_width, half_height)
    now = shot[..., None]
    centre = jnp.where(now[..., None] == 1, centre[:, :, 1], centre[:, :, 0])
    radius, angle = (jnp.where(now == 1, leaf[:, :, 1], leaf[:, :, 0]) for leaf in (radius, angle))
    x, y = _events(scene, centre[..., 0], centre[..., 1], first, half_width)
    pan, zoom = _camera(scene, times)
    x, y, radius = (x - pan[..., None]) * zoom[..., None], y * zoom[..., None], radius * zoom[..., None]

    inside = lambda low, high, edge_low, edge_high: jnp.clip(  # noqa: E731
        (jnp.minimum(high, edge_high) - jnp.maximum(low, edge_low)) / jnp.maximum(high - low, 1e-6), 0, 1
    )
    visible_x, visible_y = (
        inside(x - radius, x + radius, -half_width, half_width),
        inside(y - radius, y + radius, -half_height, half_height),
    )
    wall = jnp.asarray(scene.wall)[:, None, None]
    hidden = inside(x - radius, x + radius, wall - WALL_WIDTH / 2, wall + WALL_WIDTH / 2)
    visible_x = jnp.where(jnp.asarray(scene.event)[:, None, None] == WALL, visible_x * (1 - hidden), visible_x)
    visible = visible_x * visible_y * (jnp.arange(2) < jnp.asarray(scene.objects)[:, None, None])
    return Truth(jnp.stack([x, y], -1), radius, angle, visible, pan, zoom, shot)
