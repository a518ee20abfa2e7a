"""Renderer of the world: scenes -> pixels and ground truth, in one jitted function.

Shapes are signed distance functions (negative inside); a pixel's coverage is clip(1/2 - distance/pixel, 0, 1). Those of
box, triangle and star follow I. Quilez, "2D distance functions". Layers are alpha-blended in sRGB. `scenes.py` defines
the scenes, `physics.py` the positions; this module re-exports the names that callers need.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sorajax.world.physics import BOX, CORNER, FLOOR, HOLE, WALL_WIDTH, Truth, trace
from sorajax.world.scenes import (
    BACKGROUND_RGB,
    BACKGROUNDS,
    CAMERAS,
    COLOUR_RGB,
    COLOURS,
    CORE,
    EVENTS,
    FULL,
    MOTIONS,
    PACES,
    RADIUS,
    RELATIONS,
    SHAPES,
    SIZES,
    STYLES,
    WALL,
    Scene,
    WorldMix,
    attributes,
    held_out,
    sample_scenes,
)

DOT_SPACING, DOT_RADIUS, FLOOR_WIDTH = 0.25, 0.018, 0.014
STROKE, GLOW, NEON_DIM, GRAIN = 0.026, 0.022, 0.45, 3.0
WALL_RGB = (200, 200, 192)


class SceneFeatures(NamedTuple):
    """The features of the renderer that a batch needs; a static argument, so that unused ones are not compiled."""

    objects: int = 2
    shots: bool = True
    camera: bool = True
    style: bool = True
    events: bool = True


EVERYTHING = SceneFeatures()


def parts(scene: Scene) -> SceneFeatures:
    """The renderer features that a batch of scenes needs (reads host arrays)."""
    two = len(scene.objects) > 0 and int(np.max(scene.objects)) == 2
    used = [bool(np.any(leaf)) for leaf in (scene.camera, scene.style, scene.event)]
    return SceneFeatures(2 if two else 1, bool(np.any(scene.shots == 2)), *used)


def distance(shape, x, y, radius):
    """Signed distance, in units and negative inside, from (x, y) to an upright shape of this radius at the origin."""
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
    """Signed distance to the upright equilateral triangle with corners at CORNER * radius; `ax` is |x|, by symmetry."""
    k = 3.0**0.5
    r = radius * CORNER * k / 2  # half a side
    px, py = ax - r, up + r / k
    fold_over = px + k * py > 0
    px, py = jnp.where(fold_over, (px - k * py) / 2, px), jnp.where(fold_over, (-k * px - py) / 2, py)
    px = px - jnp.clip(px, -2 * r, 0)
    return -jnp.sqrt(px * px + py * py) * jnp.sign(py)


def _star(x, up, radius):
    """Signed distance to the five-pointed star with tips at CORNER * radius and inner corners half as far."""
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
    """Deterministic noise of unit variance per pixel and frame: the sum of the bytes of an integer hash."""
    h = row * jnp.uint32(0x9E3779B1) ^ column * jnp.uint32(0x85EBCA77) ^ frame * jnp.uint32(0xC2B2AE3D)
    h = h + seed * jnp.uint32(0x27D4EB2F)
    h = (h ^ (h >> 15)) * jnp.uint32(0x2C1B3C6D)
    h = (h ^ (h >> 12)) * jnp.uint32(0x297A2D39)
    h = h ^ (h >> 15)
    total = (h & 255) + ((h >> 8) & 255) + ((h >> 16) & 255) + (h >> 24)
    return (total.astype(jnp.float32) - 510.0) / 147.8


def _grid(height: int, width: int):
    """x [1 1 1 w] and y [1 1 h 1] of the pixel centres, in units."""
    unit = min(height, width)
    return (
        ((jnp.arange(width) + 0.5 - width / 2) / unit)[None, None, None, :],
        ((jnp.arange(height) + 0.5 - height / 2) / unit)[None, None, :, None],
    )


def _cover(gap, scale):
    """Coverage of a pixel, in [0, 1], from its signed distance in units and the number of pixels per unit."""
    return jnp.clip(0.5 - gap * scale, 0, 1)


def backdrop(pan, zoom, height: int, width: int) -> Float[Array, "b t h w"]:
    """Share of white, 0 to 0.28, that dots and floor mix into the background, for cameras [b t] (or scalars)."""
    unit = min(height, width)
    x, y = _grid(height, width)
    pan, zoom = (jnp.asarray(leaf)[..., None, None] for leaf in (pan, zoom))
    x, y = x / zoom + pan, y / zoom
    dot_x, dot_y = (v - DOT_SPACING * (jnp.floor(v / DOT_SPACING) + 0.5) for v in (x, y))
    dots = _cover(jnp.sqrt(dot_x * dot_x + dot_y * dot_y) - DOT_RADIUS, unit * zoom)
    line = height / unit / 2 - FLOOR + FLOOR_WIDTH / 2  # its upper edge is what things rest on
    stripe = _cover(jnp.abs(y - line) - FLOOR_WIDTH / 2, unit * zoom)
    return jnp.maximum(0.12 * dots, 0.28 * stripe)


def ink(style, gap, unit):
    """Opacity of a shape at a signed distance (`gap`) from its contour: filled, outlined (sketch) or glowing (neon)."""
    alpha = jnp.where(style == 1, _cover(jnp.abs(gap + STROKE / 2) - STROKE / 2, unit), _cover(gap, unit))
    return jnp.maximum(alpha, jnp.where(style == 2, 0.7 * jnp.exp(-jnp.maximum(gap, 0) / GLOW), 0.0))


def develop(rgb: Float[Array, "*b n c"], style: Int[Array | np.ndarray, " b"], glows: bool) -> Float[Array, "b n c"]:
    """A palette, sRGB 0..255, in a style: neon dims colours that do not glow, film mutes all colours.

    Blending is affine, so it suffices to transform palettes instead of pixels.
    """
    style = jnp.asarray(style)[:, None, None]
    grey = (rgb * jnp.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True)
    film = 22 + 0.82 * (0.55 * rgb + 0.45 * grey)
    neon = rgb if glows else NEON_DIM * rgb
    return jnp.where(style == 3, film, jnp.where(style == 2, neon, rgb))


def draw(
    scene: Scene, frames: int, height: int, width: int, fps=8.0, first=0, needs: SceneFeatures = EVERYTHING
) -> tuple[Float[Array, "b t h w c"], Truth]:
    """Renders frames `first, first + 1, ...` in [-1, 1], with their ground truth; pure JAX, for use in a jitted
    step."""
    times = (jnp.arange(frames) + first).astype(jnp.float32) / fps
    truth = trace(scene, times, height, width)
    return draw_truth(scene, truth, height, width, first, needs), truth


def draw_truth(
    scene: Scene, truth: Truth, height: int, width: int, first: int | Array = 0, needs: SceneFeatures = EVERYTHING
) -> Float[Array, "b t h w c"]:
    """Renders scenes whose objects are where `truth` says, in [-1, 1]; `first` is the number of its first frame."""
    unit, frames = min(height, width), truth.centre.shape[1]
    pixel = lambda leaf: jnp.asarray(leaf)[..., None, None]  # noqa: E731
    x, y = _grid(height, width)
    style = pixel(scene.style)[:, None]
    background = jnp.asarray(scene.background)
    ground = jnp.where(truth.shot == 1, background[:, 1:], background[:, :1]) if needs.shots else background[:, :1]
    base = jnp.asarray(BACKGROUND_RGB)[ground]  # [b t c]
    light = backdrop(truth.pan, truth.zoom, height, width) if needs.camera else backdrop(0.0, 1.0, height, width)
    lamp, slab_paint = (develop(jnp.asarray(rgb, jnp.float32), scene.style, False) for rgb in ((255,) * 3, WALL_RGB))
    paint = develop(jnp.asarray(COLOUR_RGB)[jnp.asarray(scene.colour)], scene.style, True)
    base = develop(base, scene.style, False)
    colour = [pixel(base[..., c]) * (1 - light) + pixel(lamp[..., c]) * light for c in range(3)]

    def cover_object(o):
        cosine, sine = (pixel(f(truth.angle[..., o])) for f in (jnp.cos, jnp.sin))
        dx, dy = x - pixel(truth.centre[..., o, 0]), y - pixel(truth.centre[..., o, 1])
        kind = pixel(jnp.asarray(scene.shape)[:, o])[:, None]
        gap = distance(kind, cosine * dx + sine * dy, cosine * dy - sine * dx, pixel(truth.radius[..., o]))
        alpha = ink(style if needs.style else 0, gap, unit)
        return jnp.where(pixel(scene.objects)[:, None] > o, alpha, 0.0)

    # A loop, although short: otherwise XLA on CPU fuses the distances into each channel and recomputes them, and it
    # unrolls a loop of one iteration. With two iterations a styled clip renders 10 times as fast.
    alphas = jax.lax.map(cover_object, jnp.arange(2 if needs.style or needs.events else needs.objects))
    for o in reversed(range(needs.objects)):
        colour = [value + alphas[o] * (pixel(paint[:, o, c])[:, None] - value) for c, value in enumerate(colour)]

    if needs.events:
        slab = _cover(jnp.abs(x - pixel(scene.wall)[:, None]) - WALL_WIDTH / 2, unit)
        slab = slab * (pixel(scene.event)[:, None] == WALL)
        colour = [value + slab * (pixel(slab_paint[..., c]) - value) for c, value in enumerate(colour)]
    if needs.style:
        counter = lambda n, axis: jnp.arange(n, dtype=jnp.uint32).reshape([-1 if i == axis else 1 for i in range(4)])  # noqa: E731
        noise = _grain(
            pixel(scene.seed)[:, None].astype(jnp.uint32),
            counter(frames, 1) + jnp.asarray(first).astype(jnp.uint32),
            counter(height, 2),
            counter(width, 3),
        )
        colour = [value + jnp.where(style == 3, GRAIN, 0.0) * noise for value in colour]
    shape = (len(scene.objects), frames, height, width)
    video = jnp.stack([jnp.broadcast_to(value, shape) for value in colour], -1)
    return jnp.clip(video / 127.5 - 1, -1, 1)


_draw = partial(jax.jit, static_argnames=("frames", "height", "width", "needs"))(draw)


def render(
    scene: Scene, frames: int, height: int, width: int, fps: float = 8.0, window: tuple[int, int] | None = None
) -> tuple[Float[Array, "b t h w c"], Truth]:
    """Renders a clip of `frames` frames, or its `window = (first, count)`; pixels [b t h w 3] in [-1, 1] and ground
    truth. Raises ValueError for a window outside the clip."""
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
    "STYLES",
    "Scene",
    "SceneFeatures",
    "Truth",
    "WorldMix",
    "attributes",
    "backdrop",
    "develop",
    "distance",
    "draw",
    "draw_truth",
    "held_out",
    "ink",
    "parts",
    "render",
    "sample_scenes",
    "trace",
]
